//! What is said of a file server that shall be there.

use jiff::Timestamp;
use lote_model::export::{ExportPoint, ExportState};
use lote_model::file_server::{FileServerStatus, MountSettings};
use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;
use lote_model::node::NodeRecord;
use lote_model::state::ProvisioningState;

use super::{Home, Server, errors, moved};
use crate::decide::Pass;

/// It cannot be made as it was asked for.
pub(super) fn failed(
    server: &Server<'_>,
    errors: Vec<ErrorRecord>,
    now: Timestamp,
) -> FileServerStatus {
    with(server, ProvisioningState::Failed, errors, now)
}

/// It will be made when there is what it waits for.
pub(super) fn waits(
    server: &Server<'_>,
    errors: Vec<ErrorRecord>,
    now: Timestamp,
) -> FileServerStatus {
    with(server, ProvisioningState::Creating, errors, now)
}

/// It gets a node.
pub(super) fn placed(server: &Server<'_>, node: &NodeName, now: Timestamp) -> FileServerStatus {
    FileServerStatus {
        node: Some(node.clone()),
        ..waits(server, Vec::new(), now)
    }
}

fn with(
    server: &Server<'_>,
    state: ProvisioningState,
    errors: Vec<ErrorRecord>,
    now: Timestamp,
) -> FileServerStatus {
    let status = moved(server.status_or_new(), state, now);
    FileServerStatus { errors, ..status }
}

/// What one with a node is, by what that node reports. One that was ready once stays so: whether
/// it can be mounted now, its errors tell.
pub(super) fn of(pass: &Pass<'_>, server: &Server<'_>, home: &Home<'_>) -> FileServerStatus {
    let status = server.status_or_new();
    let was_ready = status.mount_settings.is_some();
    let report = home.report.map(|report| &report.value.state);
    let node = home.node.and_then(|node| node.record.as_deref());
    let mount_settings = match (report, node) {
        (Some(ExportState::Serving(point)), Some(node)) => Some(mount_settings(point, node)),
        _ => status.mount_settings.clone(),
    };
    let state = match report {
        _ if was_ready || mount_settings.is_some() => ProvisioningState::Succeeded,
        Some(ExportState::Failed(_)) => ProvisioningState::Failed,
        _ => ProvisioningState::Creating,
    };
    let errors = if home.is_removed() {
        vec![errors::node_removed(server.record, home.name)]
    } else if pass.lost.contains(home.name) {
        vec![errors::node_lost(server.record, home.name)]
    } else if let Some(ExportState::Failed(error)) = report {
        vec![error.clone()]
    } else {
        Vec::new()
    };
    FileServerStatus {
        errors,
        mount_settings,
        ..moved(status, state, pass.now)
    }
}

/// Nodes have one address, for people as well.
fn mount_settings(point: &ExportPoint, node: &NodeRecord) -> MountSettings {
    MountSettings {
        mount_point: point.path.clone(),
        file_server_public_ip: node.address.clone(),
        file_server_internal_ip: node.address.clone(),
    }
}
