//! How a file server goes away: jobs that mount it end first, then its node withdraws it, and
//! only then is it erased.

use lote_model::export::{Export, ExportPhase, ExportState};
use lote_model::file_server::FileServerStatus;
use lote_model::job::ErrorRecord;
use lote_model::key;
use lote_store::Transaction;

use super::{Home, Server, Step, errors};
use crate::decide::Pass;
use crate::planted::Fault;
use crate::snapshot::{Gang, InFlight, LiveJob};

/// The next step of one that the user wants deleted.
pub(super) fn next_step(pass: &Pass<'_>, server: &Server<'_>) -> Step {
    let erase = Step {
        erase: true,
        ..Step::default()
    };
    let Some(home) = &server.home else {
        return erase;
    };
    let Some(stored) = home.export else {
        return erase;
    };
    // What lay on a machine that was removed is beyond reach.
    if home.is_removed() {
        return erase;
    }
    let is_served = stored.export.phase == ExportPhase::Serve;
    let report = home.report.map(|report| &report.value.state);
    if !is_served && report == Some(&ExportState::Withdrawn) {
        return erase;
    }
    let users: Vec<_> = if is_served && !Fault::EarlyWithdrawal.is_planted() {
        users(pass, server).collect()
    } else {
        Vec::new()
    };
    let withdrawn = || Export {
        phase: ExportPhase::Withdraw {
            erase: server.record.erase_data,
        },
        ..stored.export.clone()
    };
    Step {
        status: Some(FileServerStatus {
            errors: what_it_waits_for(pass, server, home, &users),
            ..server.status_or_new()
        }),
        export: (is_served && users.is_empty()).then(withdrawn),
        erase: false,
    }
}

/// The jobs that have it mounted, or are about to.
fn users<'a>(pass: &Pass<'a>, server: &Server<'_>) -> impl Iterator<Item = &'a LiveJob> {
    let snapshot = pass.snapshot;
    let has_it = |job: &&LiveJob| {
        let gang = snapshot.gang(&job.record.uid);
        matches!(job.in_flight, Some(InFlight::Start { .. }))
            || gang.is_some_and(Gang::has_allocations)
    };
    snapshot.jobs_that_mount(server.place).filter(has_it)
}

fn what_it_waits_for(
    pass: &Pass<'_>,
    server: &Server<'_>,
    home: &Home<'_>,
    users: &[&LiveJob],
) -> Vec<ErrorRecord> {
    if pass.lost.contains(home.name) {
        return vec![errors::deletion_waits_for_node(server.record, home.name)];
    }
    if !users.is_empty() {
        // The names of jobs of other workspaces are not told.
        let own = |job: &&&LiveJob| job.record.path.workspace == server.record.path.workspace;
        let named = users.iter().filter(own).map(|job| &job.record.path.job);
        let named = named.min().map(ToString::to_string);
        return vec![errors::in_use(server.record, users.len(), named)];
    }
    match home.report.map(|report| &report.value.state) {
        Some(ExportState::Failed(error)) => vec![error.clone()],
        _ => Vec::new(),
    }
}

/// Erases all that is stored about one whose node is done with it, or is no more. Its node's
/// report too: that node does not write it again.
pub(super) fn erase(server: &Server<'_>) -> Transaction {
    let (record, state) = (server.record, server.state);
    let record_key = key::file_server(&record.path);
    let status_key = key::file_server_status(&record.path);
    let mut transaction = Transaction::new()
        .require_revision(&record_key, state.record_revision)
        .require_revision(&status_key, state.status_revision);
    if let Some(home) = &server.home {
        let (export, report) = (
            key::export(home.name, &record.uid),
            key::exported(home.name, &record.uid),
        );
        let export_revision = home.export.map_or(0, |stored| stored.revision);
        let report_revision = home.report.map_or(0, |stored| stored.revision);
        transaction = transaction
            .require_revision(&export, export_revision)
            .require_revision(&report, report_revision)
            .delete(export)
            .delete(report);
        if home.is_removed() {
            // One that comes back has it again.
            transaction = transaction.require_absent(key::node(home.name));
        }
    }
    transaction.delete(status_key).delete(record_key)
}
