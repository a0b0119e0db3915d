//! Where the files of a file server are.

use axum::http::StatusCode;
use lote_model::export::{Export, ExportPhase, ExportReport, ExportState};
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::id::{FileServerUid, NodeName};
use lote_model::key;
use lote_model::path::ChildPath;
use lote_store::get_json;

use crate::error::ApiError;
use crate::files::Directory;
use crate::records::{self, Kind};
use crate::state::ApiState;

/// A file server that has a node.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) path: ChildPath,
    pub(super) uid: FileServerUid,
    pub(super) node: NodeName,
}

/// The file server of that name, which must be there, stay, and have a node.
pub(super) async fn server(state: &ApiState, path: ChildPath) -> Result<Server, ApiError> {
    let store = state.store();
    let found = get_json::<FileServerRecord>(store, &key::file_server(&path)).await?;
    let Some(found) = found else {
        let missing = Kind::FileServer.missing(&path.name);
        return Err(records::missing_child(store, &path.workspace, missing).await);
    };
    if found.value.delete_requested_at.is_some() {
        return Err(Kind::FileServer.being_deleted(&path.name));
    }
    let uid = found.value.uid;
    let status = get_json::<FileServerStatus>(store, &key::file_server_status(&path)).await?;
    // The status of an older file server of the same name is void.
    let status = status.filter(|status| status.value.uid == uid);
    match status.and_then(|status| status.value.node) {
        Some(node) => Ok(Server { path, uid, node }),
        None => Err(no_node(&path)),
    }
}

fn no_node(path: &ChildPath) -> ApiError {
    let name = &path.name;
    let message = format!(
        "the file server {name} has no node yet, so there are no files; `lote file-server show \
         {name}` says how far it is"
    );
    ApiError::conflict("FileServerNotReady", message)
}

/// What this node exports for a file server.
#[derive(Clone, Debug)]
pub(super) struct Exported {
    pub(super) directory: Directory,
    /// How much may be written until the file server has the size that it was made
    /// with, in bytes; none if the file system sees to that, or nobody has looked yet.
    pub(super) left: Option<u64>,
}

/// What this node exports for the file server. Decided from the
/// records of this node alone, whoever asks.
pub(super) async fn exported(state: &ApiState, uid: &FileServerUid) -> Result<Exported, ApiError> {
    let (store, node) = (state.store(), &state.config.node);
    let export = get_json::<Export>(store, &key::export(node, uid)).await?;
    let Some(export) = export.filter(|export| export.value.uid == *uid) else {
        let message = format!("node {node} does not serve this file server");
        return Err(ApiError::conflict("FileServerNotHere", message));
    };
    if export.value.phase != ExportPhase::Serve {
        return Err(Kind::FileServer.being_deleted(&export.value.file_server.name));
    }
    let report = get_json::<ExportReport>(store, &key::exported(node, uid)).await?;
    let report = report.filter(|report| report.value.uid == *uid);
    let usage = report.as_ref().and_then(|report| report.value.usage);
    match report.map(|report| report.value.state) {
        Some(ExportState::Serving(point)) => Ok(Exported {
            directory: Directory {
                path: point.path.into(),
                within: None,
                owner: Some(export.value.owner).filter(|_| state.config.read_as_job_user),
            },
            left: usage.filter(|_| !point.size_limit.in_force).map(|usage| {
                export
                    .value
                    .size_limit_bytes
                    .saturating_sub(usage.used_bytes)
            }),
        }),
        Some(ExportState::Failed(error)) => Err(not_serving(node, &error.message)),
        Some(ExportState::Withdrawn) | None => Err(not_serving(node, "it has not begun to")),
    }
}

/// 503, because it may well work a little later: the node goes on trying.
fn not_serving(node: &NodeName, why: &str) -> ApiError {
    let message = format!("node {node} does not serve the file server at the moment: {why}");
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "FileServerNotServing",
        message,
    )
}
