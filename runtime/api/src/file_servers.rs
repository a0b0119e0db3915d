//! File servers: create, read, list, delete. They cannot be changed.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use lote_model::export::{ExportPoint, ExportReport, ExportState};
use lote_model::file_server::{FileServerProperties, FileServerRecord, FileServerStatus};
use lote_model::id::FileServerUid;
use lote_model::key;
use lote_model::path::{ChildPath, IdStyle, WorkspacePath};
use lote_model::state::ProvisioningState;
use lote_model::workspace::WorkspaceRecord;
use lote_store::{Commit, Entry, Revision, Store, Transaction, get_json, list_json};
use serde_json::{Map, Value, json};

use crate::error::{Answer, ApiError};
use crate::operation::{self, Awaited};
use crate::page::{PageRequest, page_of};
use crate::records::{self, ATTEMPTS_MAX, Kind, contended};
use crate::request::{At, AtFileServer, Body, Caller, Parameters};
use crate::state::ApiState;

/// A file server, and what the leader and its node say of it.
struct Told {
    record: FileServerRecord,
    status: Option<FileServerStatus>,
    report: Option<ExportReport>,
}

impl Told {
    async fn read(store: &dyn Store, record: FileServerRecord) -> Result<Self, ApiError> {
        let key = key::file_server_status(&record.path);
        let status = get_json::<FileServerStatus>(store, &key).await?;
        // The status of an older file server of the same name is void.
        let status = status.filter(|status| status.value.uid == record.uid);
        let status = status.map(|status| status.value);
        let mut report = None;
        if let Some(node) = status.as_ref().and_then(|status| status.node.as_ref()) {
            let key = key::exported(node, &record.uid);
            report = get_json::<ExportReport>(store, &key).await?;
        }
        Ok(Self {
            record,
            status,
            report: report.map(|report| report.value),
        })
    }

    fn view(&self, style: &IdStyle) -> Value {
        let record = &self.record;
        let mut properties = match serde_json::to_value(&record.properties) {
            Ok(Value::Object(properties)) => properties,
            _ => Map::new(),
        };
        let size = record.properties.vm_size.to_uppercase();
        properties.insert("vmSize".into(), json!(size));
        let status = self.status.as_ref();
        properties.extend(life(record, status));
        properties.insert("lote".into(), self.extras());
        if let Some(mount) = status.and_then(|status| status.mount_settings.as_ref()) {
            properties.insert("mountSettings".into(), json!(mount));
        }
        json!({
            "id": record.path.id(style, "fileservers"),
            "name": record.path.name,
            "type": "Microsoft.BatchAI/workspaces/fileservers",
            "properties": properties,
        })
    }

    /// What Batch AI has no word for: the user's own `lote` settings and ours.
    fn extras(&self) -> Value {
        let settings = serde_json::to_value(&self.record.properties.lote);
        let mut lote = settings.unwrap_or_default();
        let status = self.status.as_ref();
        lote["uid"] = json!(self.record.uid);
        lote["errors"] = json!(status.map_or(&[][..], |status| status.errors.as_slice()));
        if let Some(node) = status.and_then(|status| status.node.as_ref()) {
            lote["node"] = json!(node);
        }
        let bytes = self.record.properties.size_limit_bytes();
        lote["sizeLimit"] = json!({"bytes": bytes});
        let Some(report) = &self.report else {
            return lote;
        };
        if let ExportState::Serving(point) = &report.state {
            self.add_point(&mut lote, point);
        }
        if let Some(usage) = &report.usage {
            lote["usage"] = json!(usage);
        }
        lote
    }

    /// How it is reached.
    fn add_point(&self, lote: &mut Value, point: &ExportPoint) {
        lote["server"] = json!(point.server);
        lote["nfsPort"] = json!(point.nfs_port);
        if let Some(port) = point.mount_port {
            lote["mountPort"] = json!(port);
        }
        lote["versions"] = json!(point.versions);
        let limit = &point.size_limit;
        lote["sizeLimit"]["inForce"] = json!(limit.in_force);
        lote["sizeLimit"]["note"] = json!(limit.note);
        let mount = self
            .status
            .as_ref()
            .and_then(|it| it.mount_settings.as_ref());
        if let Some(mount) = mount {
            let address = &mount.file_server_internal_ip;
            lote["mountCommand"] = json!(point.mount_command(address));
        }
    }
}

/// Its coming and going: what the user asked last, else what the leader says.
fn life(record: &FileServerRecord, status: Option<&FileServerStatus>) -> Map<String, Value> {
    let mut members = records::provisioning(record.created_at, record.delete_requested_at);
    if record.delete_requested_at.is_none() {
        let (state, since) = status
            .map_or((ProvisioningState::Creating, record.created_at), |status| {
                (status.state, status.state_since)
            });
        members.insert("provisioningState".into(), json!(state));
        members.insert("provisioningStateTransitionTime".into(), json!(since));
    }
    members
}

async fn answer(state: &ApiState, caller: &Caller, record: FileServerRecord) -> Answer {
    let told = Told::read(state.store(), record).await?;
    Ok(Json(told.view(&caller.style)).into_response())
}

/// 202 for a new one, because it takes time; 200 for the same request again.
pub(crate) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    AtFileServer(path): AtFileServer,
    Body(request_body): Body,
) -> Answer {
    let properties = FileServerProperties::parse(&request_body)?;
    let key = key::file_server(&path);
    for _ in 0..ATTEMPTS_MAX {
        if let Some(found) = get_json::<FileServerRecord>(state.store(), &key).await? {
            let told = Told::read(state.store(), found.value).await?;
            accept_again(&told, &properties)?;
            return Ok(Json(told.view(&caller.style)).into_response());
        }
        let workspace = records::lasting_workspace(state.store(), &path.workspace).await?;
        let record = FileServerRecord {
            path: path.clone(),
            uid: FileServerUid::new(uuid::Uuid::new_v4().to_string()),
            created_at: state.now(),
            unix_id: Some(workspace.value.unix_id),
            properties: properties.clone(),
            delete_requested_at: None,
            erase_data: false,
        };
        if let Some(revision) = create(state.store(), &key, &record, &workspace).await? {
            let awaited = Awaited::file_server(key, revision, record.created_at);
            return Ok(operation::accepted(&state, &caller, &awaited));
        }
    }
    Err(contended())
}

/// Stores a new one: at which revision, or none if others were faster.
async fn create(
    store: &dyn Store,
    key: &str,
    record: &FileServerRecord,
    workspace: &Entry<WorkspaceRecord>,
) -> Result<Option<Revision>, ApiError> {
    let transaction = Transaction::new()
        .require_absent(key)
        .require_revision(&workspace.key, workspace.mod_revision)
        .put_json(key, record)?;
    match store.commit(transaction).await? {
        Commit::Applied { revision } => Ok(Some(revision)),
        Commit::Conflict { .. } => Ok(None),
    }
}

fn accept_again(told: &Told, wanted: &FileServerProperties) -> Result<(), ApiError> {
    let found = &told.record;
    let name = &found.path.name;
    if found.delete_requested_at.is_some() {
        return Err(Kind::FileServer.being_deleted(name));
    }
    let mut asked = found.properties.clone();
    if asked.lote.node.is_none() {
        // An answer that is sent back names the node that was chosen.
        let chosen = told.status.as_ref().and_then(|status| status.node.clone());
        asked.lote.node = chosen.filter(|node| wanted.lote.node.as_ref() == Some(node));
    }
    if asked.is_same_request(wanted) {
        return Ok(());
    }
    Err(Kind::FileServer.exists(
        name,
        "file servers cannot be changed: take another name, or delete it first",
    ))
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    AtFileServer(path): AtFileServer,
) -> Answer {
    let store = state.store();
    if let Some(found) = get_json::<FileServerRecord>(store, &key::file_server(&path)).await? {
        return answer(&state, &caller, found.value).await;
    }
    let missing = Kind::FileServer.missing(&path.name);
    Err(records::missing_child(store, &path.workspace, missing).await)
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<WorkspacePath>,
    parameters: Parameters,
) -> Answer {
    let request = PageRequest::of(&parameters)?;
    records::workspace(state.store(), &path).await?;
    let prefix = key::file_servers_of(&path);
    let listing = list_json::<FileServerRecord>(state.store(), request.list(&prefix)).await?;
    let mut values = Vec::with_capacity(listing.items.len());
    for entry in &listing.items {
        let told = Told::read(state.store(), entry.value.clone()).await?;
        values.push(told.view(&caller.style));
    }
    Ok(page_of(&caller, &parameters, &prefix, &listing, values))
}

/// Marks it; the leader takes down what there is of it, and erases it. What becomes of the files
/// is decided by the first request.
pub(crate) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    AtFileServer(path): AtFileServer,
    parameters: Parameters,
) -> Answer {
    let erase_data = parameters.flag("erasedata")?;
    let mark = |record: &mut FileServerRecord, now| {
        let is_new = records::mark(&mut record.delete_requested_at, now);
        if is_new {
            record.erase_data = erase_data;
        } else if erase_data && !record.erase_data {
            return Err(kept(&record.path));
        }
        Ok(is_new)
    };
    let key = key::file_server(&path);
    let erase = operation::left_to_the_leader();
    operation::delete_with(&state, &caller, key, mark, erase).await
}

/// 409: it is too late to ask for the files to be erased.
fn kept(path: &ChildPath) -> ApiError {
    let message = format!(
        "the file server {} is being deleted already, and its files are kept as asked then: remove them on its node, or \
         create a file server in the same directory again and delete that with erasedata=true",
        path.name
    );
    ApiError::conflict("FileServerBeingDeleted", message)
}
