//! File servers: coming to be, failing, going away.
//!
//! ```text
//!   no node ──▶ export written ──▶ its node serves ──▶ deletion asked for,  ──▶ its node has ──▶ erased
//!  (creating)   (phase serve)      (succeeded)         no job mounts it         withdrawn it
//!                                                      (phase withdraw)
//! ```
//!
//! The node is chosen once ([`choice`]) and stored in the status, because the files lie there:
//! it never changes by itself. What the status says is a function of that node, of its report and
//! of the wishes of the user ([`outlook`], [`withdrawal`]), and is written when it changes.

mod choice;
mod errors;
mod outlook;
mod withdrawal;

use std::collections::BTreeMap;

use jiff::Timestamp;
use lote_model::export::{Export, ExportPhase, ExportReport};
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::id::{NodeName, UnixId};
use lote_model::key;
use lote_model::state::ProvisioningState;
use lote_store::{StoreError, Transaction};

use crate::actions::{Action, Change, Subject};
use crate::decide::Pass;
use crate::snapshot::{
    FileServerPlace, FileServerState, NodeState, Snapshot, Stored, StoredExport,
};

/// How many file servers each node has or is to have.
pub(crate) fn serving(snapshot: &Snapshot) -> BTreeMap<&NodeName, usize> {
    let mut serving = BTreeMap::new();
    let nodes = snapshot.file_servers().values();
    for node in nodes.filter_map(FileServerState::node) {
        *serving.entry(node).or_default() += 1;
    }
    serving
}

/// Takes the next step of every file server.
pub(crate) fn settle(pass: &mut Pass<'_>) {
    let snapshot = pass.snapshot;
    let idle = snapshot.file_servers().iter();
    for (place, state) in idle.filter(|(_, state)| !state.in_flight) {
        let Some(record) = &state.record else {
            continue;
        };
        let server = Server::new(snapshot, place, state, record);
        let step = if record.delete_requested_at.is_some() {
            withdrawal::next_step(pass, &server)
        } else {
            provide(pass, &server)
        };
        take(pass, &server, step);
    }
}

/// A file server, and all that is known of its node.
struct Server<'a> {
    place: &'a FileServerPlace,
    state: &'a FileServerState,
    record: &'a FileServerRecord,
    /// Its own status, not that of an older one of the same name.
    status: Option<&'a FileServerStatus>,
    home: Option<Home<'a>>,
}

/// The node of a file server.
struct Home<'a> {
    name: &'a NodeName,
    /// None if nothing is known of it.
    node: Option<&'a NodeState>,
    export: Option<&'a StoredExport>,
    report: Option<&'a Stored<ExportReport>>,
}

impl<'a> Server<'a> {
    fn new(
        snapshot: &'a Snapshot,
        place: &'a FileServerPlace,
        state: &'a FileServerState,
        record: &'a FileServerRecord,
    ) -> Self {
        let status = state.own_status();
        let name = status.and_then(|status| status.node.as_ref());
        Self {
            place,
            state,
            record,
            status,
            home: name.map(|name| Home {
                name,
                node: snapshot.node(name),
                export: snapshot.export(&record.uid, name),
                report: snapshot.exported(&record.uid, name),
            }),
        }
    }

    /// The status that it has, or had if there was one.
    fn status_or_new(&self) -> FileServerStatus {
        self.status.cloned().unwrap_or_else(|| FileServerStatus {
            uid: self.record.uid.clone(),
            state: ProvisioningState::Creating,
            state_since: self.record.created_at,
            node: None,
            errors: Vec::new(),
            mount_settings: None,
        })
    }
}

impl Home<'_> {
    /// Whether its node was removed from the cluster.
    fn is_removed(&self) -> bool {
        self.node.is_none_or(|node| node.record.is_none())
    }
}

/// What shall be written about a file server.
#[derive(Default)]
struct Step {
    status: Option<FileServerStatus>,
    export: Option<Export>,
    /// It was deleted, and nothing is left of it.
    erase: bool,
}

impl Step {
    fn status(status: FileServerStatus) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }
}

/// The next step of one that shall be there.
fn provide<'a>(pass: &mut Pass<'a>, server: &Server<'a>) -> Step {
    let Some(owner) = server.record.unix_id else {
        let errors = vec![errors::outdated(server.record)];
        return Step::status(outlook::failed(server, errors, pass.now));
    };
    let Some(home) = &server.home else {
        return match choice::choose(pass, server.record) {
            Ok(name) => {
                *pass.serving.entry(name).or_default() += 1;
                Step {
                    status: Some(outlook::placed(server, name, pass.now)),
                    export: Some(export(pass, server.record, owner)),
                    erase: false,
                }
            }
            Err(choice::Lack::Never(error)) => {
                Step::status(outlook::failed(server, vec![error], pass.now))
            }
            Err(choice::Lack::Now(error)) => {
                Step::status(outlook::waits(server, vec![error], pass.now))
            }
        };
    };
    Step {
        status: Some(outlook::of(pass, server, home)),
        export: kept_up(pass, server, home, owner),
        erase: false,
    }
}

/// What its node shall export, if that is something else than before.
fn kept_up(pass: &Pass<'_>, server: &Server<'_>, home: &Home<'_>, owner: UnixId) -> Option<Export> {
    let stored = home.export;
    if stored.is_some_and(|stored| stored.has_all_clients) {
        return None;
    }
    let wanted = export(pass, server.record, owner);
    stored
        .is_none_or(|stored| stored.export != wanted)
        .then_some(wanted)
}

fn export(pass: &Pass<'_>, record: &FileServerRecord, owner: UnixId) -> Export {
    Export {
        file_server: record.path.clone(),
        uid: record.uid.clone(),
        owner,
        storage: record.properties.lote.storage(),
        size_limit_bytes: record.properties.size_limit_bytes(),
        clients: pass.snapshot.addresses().cloned().collect(),
        phase: ExportPhase::Serve,
    }
}

/// Decides to write what is new.
fn take(pass: &mut Pass<'_>, server: &Server<'_>, step: Step) {
    let subject = Subject::FileServer(server.place.clone());
    if step.erase {
        let transaction = withdrawal::erase(server);
        return pass.change(subject, "erase file server", Ok(vec![transaction]));
    }
    let status = step.status.filter(|status| server.status != Some(status));
    if status.is_none() && step.export.is_none() {
        return;
    }
    let node = status.as_ref().and_then(|status| status.node.clone());
    match write(server, status.as_ref(), step.export.as_ref()) {
        Ok(transaction) => pass.decisions.actions.push(Action::Change(Change {
            subject,
            what: "file server",
            transactions: vec![transaction],
            cluster_status: None,
            file_server_node: node,
        })),
        Err(error) => {
            tracing::error!(file_server = %server.record.path, %error, "a file server cannot be written");
        }
    }
}

/// Record and status are compared even where they are not written: nothing is done about a file
/// server that was replaced, or that another leader has brought further.
fn write(
    server: &Server<'_>,
    status: Option<&FileServerStatus>,
    export: Option<&Export>,
) -> Result<Transaction, StoreError> {
    let (record, state) = (server.record, server.state);
    let status_key = key::file_server_status(&record.path);
    let mut transaction = Transaction::new()
        .require_revision(key::file_server(&record.path), state.record_revision)
        .require_revision(&status_key, state.status_revision);
    let stored = server.status.and_then(|status| status.node.as_ref());
    let node = status.and_then(|status| status.node.as_ref()).or(stored);
    if let (Some(export), Some(node)) = (export, node) {
        let export_key = key::export(node, &record.uid);
        let stored = server.home.as_ref().and_then(|home| home.export);
        let revision = stored.map_or(0, |stored| stored.revision);
        transaction = transaction
            .require_revision(&export_key, revision)
            .put_json(export_key, export)?;
    }
    match status {
        Some(status) => transaction.put_json(status_key, status),
        None => Ok(transaction),
    }
}

/// The status with another state, and since when.
fn moved(status: FileServerStatus, state: ProvisioningState, now: Timestamp) -> FileServerStatus {
    FileServerStatus {
        state_since: if status.state == state {
            status.state_since
        } else {
            now
        },
        state,
        ..status
    }
}

#[cfg(test)]
mod tests;
