//! File servers: coming to be, failing, going away.
//!
//! [`provision`] is the one decision that needs machinery: which node shares its
//! disks, and whether that is done yet. Everything around it stays the same
//! whatever it answers: who writes the status, how a deletion ends, what users
//! and their operations see.

use jiff::Timestamp;
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::job::ErrorRecord;
use lote_model::key;
use lote_model::state::ProvisioningState;
use lote_store::{StoreError, Transaction};

use crate::actions::Subject;
use crate::decide::Pass;
use crate::snapshot::{FileServerPlace, FileServerState};

/// What shall be written about a file server.
enum Step {
    /// It has come further.
    Status(FileServerStatus),
    /// It was deleted, and nothing of it is left.
    Erase,
}

/// Takes the next step of every file server.
pub(crate) fn settle(pass: &mut Pass<'_>) {
    let idle = pass.snapshot.file_servers().iter();
    for (place, state) in idle.filter(|(_, state)| !state.in_flight) {
        let Some(record) = &state.record else {
            continue;
        };
        if let Some(step) = next_step(record, state, pass.now) {
            take(pass, place, state, record, step);
        }
    }
}

fn next_step(record: &FileServerRecord, state: &FileServerState, now: Timestamp) -> Option<Step> {
    if record.delete_requested_at.is_some() {
        return Some(Step::Erase);
    }
    // The status of an older file server of the same name is void.
    let status = state.status.as_ref();
    let status = status.filter(|status| status.uid == record.uid);
    provision(record, status, now).map(Step::Status)
}

/// What a file server becomes next; none if it stays as it is. No node of this
/// version can share its disks, so each new one fails and says so.
fn provision(
    record: &FileServerRecord,
    status: Option<&FileServerStatus>,
    now: Timestamp,
) -> Option<FileServerStatus> {
    if status.is_some() {
        return None;
    }
    let message = format!(
        "file server '{}' cannot be made: no node of this version of Lote can share its disks over NFS; \
         delete it, and mount the site's own file system on the nodes instead",
        record.path.name
    );
    Some(FileServerStatus {
        uid: record.uid.clone(),
        state: ProvisioningState::Failed,
        state_since: now,
        errors: vec![
            ErrorRecord::new("FileServerNotSupported", message)
                .with("vmSize", &record.properties.vm_size),
        ],
        mount_settings: None,
        node: None,
    })
}

fn take(
    pass: &mut Pass<'_>,
    place: &FileServerPlace,
    state: &FileServerState,
    record: &FileServerRecord,
    step: Step,
) {
    let subject = Subject::FileServer(place.clone());
    match step {
        Step::Erase => pass.change(subject, "erase file server", Ok(vec![erase(record, state)])),
        Step::Status(status) => {
            let transaction = write(record, state, &status);
            pass.change(subject, "file server", transaction.map(|one| vec![one]));
        }
    }
}

/// The record is compared too: nothing is said about one that was replaced.
fn write(
    record: &FileServerRecord,
    state: &FileServerState,
    status: &FileServerStatus,
) -> Result<Transaction, StoreError> {
    let key = key::file_server_status(&record.path);
    Transaction::new()
        .require_revision(key::file_server(&record.path), state.record_revision)
        .require_revision(&key, state.status_revision)
        .put_json(key, status)
}

fn erase(record: &FileServerRecord, state: &FileServerState) -> Transaction {
    let key = key::file_server(&record.path);
    Transaction::new()
        .require_revision(&key, state.record_revision)
        .delete(key::file_server_status(&record.path))
        .delete(key)
}

#[cfg(test)]
mod tests;
