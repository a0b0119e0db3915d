//! File servers: what users want, what the leader has stored about them, and what their nodes say.

use lote_model::export::{Export, ExportReport, ExportState};
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::id::{FileServerUid, NodeName};
use lote_model::key;
use lote_model::path::ChildPath;
use lote_model::state::ProvisioningState;
use lote_store::{Entry, Revision, StoreError, Versioned};

use super::{Snapshot, Stored};

/// A file server's place in the store: the part of its keys after the prefix.
pub type FileServerPlace = std::sync::Arc<str>;

/// Of which file server on which node an export or a report is.
pub(super) type ExportPlace = (FileServerUid, NodeName);

/// The place of a file server.
pub fn place_of(path: &ChildPath) -> FileServerPlace {
    let key = key::file_server(path);
    key.strip_prefix(key::FILE_SERVERS)
        .unwrap_or_default()
        .into()
}

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
    /// The node that is being stored as its node.
    pub pending_node: Option<NodeName>,
    /// Whether jobs can mount it.
    pub availability: Availability,
}

/// Whether jobs can mount a file server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Availability {
    /// It is there.
    Ready,
    /// It will be, or its node is to come back: jobs wait for it.
    Pending,
    /// It is missing, has failed, or is being deleted: jobs that mount it fail.
    #[default]
    Unavailable,
}

/// What a node is to export, as stored.
#[derive(Clone, Debug)]
pub struct StoredExport {
    /// What is stored.
    pub export: Export,
    /// Its revision.
    pub revision: Revision,
    /// Whether its clients are known to be all nodes there are. Saves comparing thousands of
    /// addresses in every pass.
    pub has_all_clients: bool,
}

impl FileServerState {
    /// The status in force; that of an older file server of the same name is void.
    pub fn own_status(&self) -> Option<&FileServerStatus> {
        let record = self.record.as_ref()?;
        let status = self.status.as_ref();
        status.filter(|status| status.uid == record.uid)
    }

    /// The node that has its files, or is to have them.
    pub fn node(&self) -> Option<&NodeName> {
        let stored = self.own_status().and_then(|status| status.node.as_ref());
        stored.or(self.pending_node.as_ref())
    }
}

impl Snapshot {
    /// What a node is to export for a file server.
    pub fn export(&self, uid: &FileServerUid, node: &NodeName) -> Option<&StoredExport> {
        self.exports.get(&(uid.clone(), node.clone()))
    }

    /// What a node says about an export.
    pub fn exported(&self, uid: &FileServerUid, node: &NodeName) -> Option<&Stored<ExportReport>> {
        self.exported.get(&(uid.clone(), node.clone()))
    }

    /// The addresses of all nodes, sorted.
    pub fn addresses(&self) -> impl Iterator<Item = &String> {
        self.addresses.keys()
    }

    /// Whether jobs can mount the file server at a place.
    pub fn availability(&self, place: &str) -> Availability {
        let state = self.file_servers.get(place);
        state.map_or(Availability::Unavailable, |state| state.availability)
    }

    fn find_availability(&self, state: &FileServerState) -> Availability {
        let Some(record) = &state.record else {
            return Availability::Unavailable;
        };
        if record.delete_requested_at.is_some() {
            return Availability::Unavailable;
        }
        let Some(status) = state.own_status() else {
            return Availability::Pending;
        };
        match (status.state, &status.node) {
            (ProvisioningState::Failed, _) => Availability::Unavailable,
            (ProvisioningState::Succeeded, Some(node)) if self.serves(record, node) => {
                Availability::Ready
            }
            _ => Availability::Pending,
        }
    }

    fn serves(&self, record: &FileServerRecord, node: &NodeName) -> bool {
        let is_there = self
            .nodes
            .get(node)
            .is_some_and(|node| node.record.is_some() && node.absent_since.is_none());
        let report = self.exported(&record.uid, node);
        is_there && report.is_some_and(|it| matches!(it.value.state, ExportState::Serving(_)))
    }

    /// Changes a file server, and everything that depends on whether it can be mounted.
    fn with_file_server(&mut self, place: &str, change: impl FnOnce(&mut FileServerState)) {
        let before = self.availability(place);
        change(self.file_servers.entry(place.into()).or_default());
        self.refresh_file_server(place, before);
    }

    fn refresh_file_server(&mut self, place: &str, before: Availability) {
        let Some(state) = self.file_servers.get(place) else {
            return;
        };
        let availability = self.find_availability(state);
        if state.record.is_none() && state.status.is_none() && !state.in_flight {
            self.file_servers.remove(place);
        } else if let Some(state) = self.file_servers.get_mut(place) {
            state.availability = availability;
        }
        if availability != before {
            self.refresh_jobs_that_mount(place);
        }
    }

    /// Looks again at the file servers that a predicate finds.
    fn refresh_file_servers(&mut self, concerns: impl Fn(&FileServerState) -> bool) {
        let of_concern = self
            .file_servers
            .iter()
            .filter(|(_, state)| concerns(state));
        let places: Vec<_> = of_concern
            .map(|(place, state)| (place.clone(), state.availability))
            .collect();
        for (place, before) in places {
            self.refresh_file_server(&place, before);
        }
    }

    /// A node came, went, or was written again.
    pub(super) fn refresh_file_servers_on(&mut self, node: &NodeName) {
        if !self.file_servers.is_empty() {
            self.refresh_file_servers(|state| state.node() == Some(node));
        }
    }

    pub(super) fn put_file_server(&mut self, versioned: &Versioned) -> Result<(), StoreError> {
        let Entry::<FileServerRecord> { value, .. } = versioned.clone().try_into()?;
        let place = versioned.key.strip_prefix(key::FILE_SERVERS);
        self.with_file_server(place.unwrap_or_default(), |state| {
            state.record = Some(value);
            state.record_revision = versioned.mod_revision;
        });
        Ok(())
    }

    pub(super) fn put_file_server_status(
        &mut self,
        versioned: &Versioned,
    ) -> Result<(), StoreError> {
        let Entry::<FileServerStatus> { value, .. } = versioned.clone().try_into()?;
        let place = versioned.key.strip_prefix(key::FILE_SERVER_STATUS);
        self.with_file_server(place.unwrap_or_default(), |state| {
            state.status = Some(value);
            state.status_revision = versioned.mod_revision;
        });
        Ok(())
    }

    pub(super) fn delete_file_server(&mut self, place: &str) {
        self.with_file_server(place, |state| state.record = None);
    }

    pub(super) fn delete_file_server_status(&mut self, place: &str) {
        self.with_file_server(place, |state| {
            state.status = None;
            state.status_revision = 0;
        });
    }

    pub(super) fn set_export(&mut self, place: ExportPlace, stored: Option<Stored<Export>>) {
        let Some(Stored { value, revision }) = stored else {
            self.exports.remove(&place);
            return;
        };
        let has_all_clients = value.clients.iter().eq(self.addresses.keys());
        let stored = StoredExport {
            export: value,
            revision,
            has_all_clients,
        };
        self.exports.insert(place, stored);
    }

    pub(super) fn set_exported(
        &mut self,
        place: ExportPlace,
        report: Option<Stored<ExportReport>>,
    ) {
        let uid = place.0.clone();
        match report {
            Some(report) => self.exported.insert(place, report),
            None => self.exported.remove(&place),
        };
        self.refresh_file_servers(|state| state.record.as_ref().is_some_and(|it| it.uid == uid));
    }

    /// Keeps count of who has an address: the addresses of all nodes are the clients of every
    /// export.
    pub(super) fn move_address(&mut self, old: Option<&str>, new: Option<&str>) {
        if old == new {
            return;
        }
        let mut is_changed = false;
        if let Some(old) = old
            && let Some(count) = self.addresses.get_mut(old)
        {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(old);
                is_changed = true;
            }
        }
        if let Some(new) = new {
            let count = self.addresses.entry(new.to_owned()).or_default();
            *count += 1;
            is_changed |= *count == 1;
        }
        if is_changed {
            for export in self.exports.values_mut() {
                export.has_all_clients = false;
            }
        }
    }

    /// Notes that something about a file server is being stored, and which node it gets by that.
    pub(super) fn begin_file_server(&mut self, place: &str, node: Option<NodeName>) {
        self.with_file_server(place, |state| {
            state.in_flight = true;
            state.pending_node = node;
        });
    }

    /// Notes that nothing about a file server is being stored any more.
    pub(super) fn finish_file_server(&mut self, place: &str) {
        self.with_file_server(place, |state| {
            state.in_flight = false;
            state.pending_node = None;
        });
    }
}
