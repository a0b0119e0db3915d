//! File servers: create, read, list, delete. They cannot be changed.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use lote_model::file_server::{FileServerProperties, FileServerRecord, FileServerStatus};
use lote_model::id::FileServerUid;
use lote_model::key;
use lote_model::path::{ChildPath, IdStyle, WorkspacePath};
use lote_model::state::ProvisioningState;
use lote_store::{Commit, Entry, Revision, Store, Transaction, get_json, list_json};
use serde_json::{Map, Value, json};

use crate::error::{Answer, ApiError};
use crate::operation::{self, Awaited};
use crate::page::{PageRequest, page_of};
use crate::records::{self, ATTEMPTS_MAX, Kind, contended};
use crate::request::{At, AtFileServer, Body, Caller, Parameters};
use crate::state::ApiState;

fn view(record: &FileServerRecord, status: Option<&FileServerStatus>, style: &IdStyle) -> Value {
    let mut properties = match serde_json::to_value(&record.properties) {
        Ok(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    let size = record.properties.vm_size.to_uppercase();
    properties.insert("vmSize".into(), json!(size));
    // The status of an older file server of the same name is void.
    let status = status.filter(|status| status.uid == record.uid);
    properties.extend(life(record, status));
    let errors = status.map_or(&[][..], |status| status.errors.as_slice());
    properties.insert("lote".into(), json!({"uid": record.uid, "errors": errors}));
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

async fn status(
    store: &dyn Store,
    path: &ChildPath,
) -> Result<Option<Entry<FileServerStatus>>, ApiError> {
    Ok(get_json(store, &key::file_server_status(path)).await?)
}

async fn answer(state: &ApiState, caller: &Caller, record: &FileServerRecord) -> Answer {
    let status = status(state.store(), &record.path).await?;
    let status = status.as_ref().map(|status| &status.value);
    Ok(Json(view(record, status, &caller.style)).into_response())
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
            accept_again(&found.value, &properties)?;
            return answer(&state, &caller, &found.value).await;
        }
        let record = FileServerRecord {
            path: path.clone(),
            uid: FileServerUid::new(uuid::Uuid::new_v4().to_string()),
            created_at: state.now(),
            properties: properties.clone(),
            delete_requested_at: None,
        };
        if let Some(revision) = create(state.store(), &key, &record).await? {
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
) -> Result<Option<Revision>, ApiError> {
    let workspace = records::lasting_workspace(store, &record.path.workspace).await?;
    let transaction = Transaction::new()
        .require_absent(key)
        .require_revision(workspace.key, workspace.mod_revision)
        .put_json(key, record)?;
    match store.commit(transaction).await? {
        Commit::Applied { revision } => Ok(Some(revision)),
        Commit::Conflict { .. } => Ok(None),
    }
}

fn accept_again(found: &FileServerRecord, wanted: &FileServerProperties) -> Result<(), ApiError> {
    let name = &found.path.name;
    if found.delete_requested_at.is_some() {
        return Err(Kind::FileServer.being_deleted(name));
    }
    if found.properties.is_same_request(wanted) {
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
        return answer(&state, &caller, &found.value).await;
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
        let status = status(state.store(), &entry.value.path).await?;
        let status = status.as_ref().map(|status| &status.value);
        values.push(view(&entry.value, status, &caller.style));
    }
    Ok(page_of(&caller, &parameters, &prefix, &listing, values))
}

/// Marks it; the leader takes down what there is of it, and erases it.
pub(crate) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    AtFileServer(path): AtFileServer,
) -> Answer {
    operation::delete(
        &state,
        &caller,
        key::file_server(&path),
        |record: &mut FileServerRecord| &mut record.delete_requested_at,
        operation::left_to_the_leader(),
    )
    .await
}
