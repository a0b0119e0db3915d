//! File servers: what users want and what the leader has stored about them.

use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::key;
use lote_store::{Entry, Revision, StoreError, Versioned};

use super::Snapshot;

/// A file server's place in the store: the part of its keys after the prefix.
pub type FileServerPlace = std::sync::Arc<str>;

/// A file server as the leader sees it.
#[derive(Clone, Debug, Default)]
pub struct FileServerState {
    /// What the user wants; none if only a status is left.
    pub record: Option<FileServerRecord>,
    /// The revision of the record.
    pub record_revision: Revision,
    /// What the leader has stored about it.
    pub status: Option<FileServerStatus>,
    /// The revision of the status; 0 for none.
    pub status_revision: Revision,
    /// Whether something is being stored.
    pub in_flight: bool,
}

impl Snapshot {
    fn file_server_mut(&mut self, place: &str) -> &mut FileServerState {
        self.file_servers.entry(place.into()).or_default()
    }

    pub(super) fn put_file_server(&mut self, versioned: &Versioned) -> Result<(), StoreError> {
        let Entry::<FileServerRecord> { value, .. } = versioned.clone().try_into()?;
        let place = versioned.key.strip_prefix(key::FILE_SERVERS);
        let state = self.file_server_mut(place.unwrap_or_default());
        state.record = Some(value);
        state.record_revision = versioned.mod_revision;
        Ok(())
    }

    pub(super) fn put_file_server_status(
        &mut self,
        versioned: &Versioned,
    ) -> Result<(), StoreError> {
        let Entry::<FileServerStatus> { value, .. } = versioned.clone().try_into()?;
        let place = versioned.key.strip_prefix(key::FILE_SERVER_STATUS);
        let state = self.file_server_mut(place.unwrap_or_default());
        state.status = Some(value);
        state.status_revision = versioned.mod_revision;
        Ok(())
    }

    pub(super) fn delete_file_server(&mut self, place: &str) {
        self.file_server_mut(place).record = None;
        self.drop_needless_file_server(place);
    }

    pub(super) fn delete_file_server_status(&mut self, place: &str) {
        let state = self.file_server_mut(place);
        state.status = None;
        state.status_revision = 0;
        self.drop_needless_file_server(place);
    }

    /// Notes whether something about a file server is being stored.
    pub(super) fn set_file_server_in_flight(&mut self, place: &str, in_flight: bool) {
        self.file_server_mut(place).in_flight = in_flight;
        self.drop_needless_file_server(place);
    }

    fn drop_needless_file_server(&mut self, place: &str) {
        let is_needless = |state: &FileServerState| {
            state.record.is_none() && state.status.is_none() && !state.in_flight
        };
        if self.file_servers.get(place).is_some_and(is_needless) {
            self.file_servers.remove(place);
        }
    }
}
