//! Clusters: create, scale, read, list, delete.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use lote_model::cluster::{
    ClusterProperties, ClusterRecord, ClusterStatus, ScaleSettings, parse_scale_update,
};
use lote_model::id::ClusterUid;
use lote_model::key;
use lote_model::path::{ChildPath, IdStyle, WorkspacePath};
use lote_model::state::AllocationState;
use lote_store::{Store, Transaction, get_json, list_json};
use serde_json::{Map, Value, json};

use crate::error::{Answer, ApiError};
use crate::fleet::Fleet;
use crate::operation;
use crate::page::{PageRequest, page_of};
use crate::quota;
use crate::records::{self, ATTEMPTS_MAX, Kind, contended, provisioning};
use crate::request::{At, AtCluster, Body, Caller, Parameters};
use crate::state::ApiState;

fn view(
    record: &ClusterRecord,
    status: Option<&ClusterStatus>,
    fleet: &Fleet,
    style: &IdStyle,
) -> Value {
    let mut properties = match serde_json::to_value(&record.properties) {
        Ok(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    properties.insert(
        "vmSize".into(),
        json!(record.properties.vm_size.to_uppercase()),
    );
    properties.extend(provisioning(record.created_at, record.delete_requested_at));
    properties.extend(nodes(record, status, fleet));
    json!({
        "id": record.path.id(style, "clusters"),
        "name": record.path.name,
        "type": "Microsoft.BatchAI/workspaces/clusters",
        "properties": properties,
    })
}

fn nodes(
    record: &ClusterRecord,
    status: Option<&ClusterStatus>,
    fleet: &Fleet,
) -> Map<String, Value> {
    let unseen = ClusterStatus {
        allocation_state: state_before_leader(record),
        ..ClusterStatus::default()
    };
    let status = status.unwrap_or(&unseen);
    let mut members = Map::new();
    members.insert("allocationState".into(), json!(status.allocation_state));
    let since = status.allocation_state_since.unwrap_or(record.created_at);
    members.insert("allocationStateTransitionTime".into(), json!(since));
    members.insert("currentNodeCount".into(), json!(status.nodes.len()));
    members.insert("nodeStateCounts".into(), json!(fleet.counts(status)));
    if !status.errors.is_empty() {
        members.insert("errors".into(), json!(status.errors));
    }
    members.insert(
        "lote".into(),
        json!({"nodes": status.nodes, "leaving": status.leaving}),
    );
    members
}

/// What a new cluster does until the leader has looked at it.
fn state_before_leader(record: &ClusterRecord) -> AllocationState {
    let wanted = match &record.properties.scale_settings {
        ScaleSettings::Manual(manual) => manual.target_node_count,
        ScaleSettings::AutoScale(auto) => auto.minimum_node_count.max(auto.initial_node_count),
    };
    if wanted == 0 {
        AllocationState::Steady
    } else {
        AllocationState::Resizing
    }
}

async fn answer(state: &ApiState, caller: &Caller, record: &ClusterRecord) -> Answer {
    let status =
        get_json::<ClusterStatus>(state.store(), &key::cluster_status(&record.path)).await?;
    let fleet = Fleet::read(state.store()).await?;
    let status = status.as_ref().map(|status| &status.value);
    Ok(Json(view(record, status, &fleet, &caller.style)).into_response())
}

pub(crate) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    AtCluster(path): AtCluster,
    Body(request_body): Body,
) -> Answer {
    let properties = parse(&request_body)?;
    let key = key::cluster(&path);
    for _ in 0..ATTEMPTS_MAX {
        if let Some(found) = get_json::<ClusterRecord>(state.store(), &key).await? {
            accept_again(&found.value, &properties)?;
            return answer(&state, &caller, &found.value).await;
        }
        let workspace = records::lasting_workspace(state.store(), &path.workspace).await?;
        quota::check_nodes(&state, &path.name, &properties.scale_settings)?;
        let place = quota::Place::for_cluster(&state, &path.name).await?;
        let record = ClusterRecord {
            path: path.clone(),
            uid: ClusterUid::new(uuid::Uuid::new_v4().to_string()),
            created_at: state.now(),
            properties: properties.clone(),
            delete_requested_at: None,
        };
        let transaction = Transaction::new()
            .require_absent(&key)
            .require_revision(workspace.key, workspace.mod_revision)
            .put_json(&key, &record)?;
        let transaction = place.take(transaction)?;
        if state.store().commit(transaction).await?.is_applied() {
            return answer(&state, &caller, &record).await;
        }
    }
    Err(contended())
}

fn parse(request_body: &[u8]) -> Result<ClusterProperties, ApiError> {
    let mut properties = ClusterProperties::parse(request_body)?;
    // Write-only: it is neither kept nor compared.
    properties.user_account_settings.admin_user_password = None;
    Ok(properties)
}

fn accept_again(found: &ClusterRecord, wanted: &ClusterProperties) -> Result<(), ApiError> {
    let name = &found.path.name;
    if found.delete_requested_at.is_some() {
        return Err(Kind::Cluster.being_deleted(name));
    }
    let same_size = found
        .properties
        .vm_size
        .eq_ignore_ascii_case(&wanted.vm_size);
    let as_found = ClusterProperties {
        vm_size: found.properties.vm_size.clone(),
        ..wanted.clone()
    };
    if same_size && as_found == found.properties {
        return Ok(());
    }
    Err(Kind::Cluster.exists(
        name,
        "change its scale settings with PATCH, or delete it first",
    ))
}

pub(crate) async fn patch(
    State(state): State<ApiState>,
    caller: Caller,
    AtCluster(path): AtCluster,
    Body(request_body): Body,
) -> Answer {
    let scale = parse_scale_update(&request_body)?;
    quota::check_nodes(&state, &path.name, &scale)?;
    let change = |record: &mut ClusterRecord| {
        if record.delete_requested_at.is_some() {
            return Err(Kind::Cluster.being_deleted(&path.name));
        }
        let changed = record.properties.scale_settings != scale;
        record.properties.scale_settings = scale.clone();
        Ok(changed)
    };
    match records::update(state.store(), &key::cluster(&path), change).await? {
        Some(updated) => answer(&state, &caller, &updated.value).await,
        None => Err(missing(state.store(), &path).await),
    }
}

async fn missing(store: &dyn Store, path: &ChildPath) -> ApiError {
    records::missing_child(store, &path.workspace, Kind::Cluster.missing(&path.name)).await
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    AtCluster(path): AtCluster,
) -> Answer {
    match get_json::<ClusterRecord>(state.store(), &key::cluster(&path)).await? {
        Some(found) => answer(&state, &caller, &found.value).await,
        None => Err(missing(state.store(), &path).await),
    }
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<WorkspacePath>,
    parameters: Parameters,
) -> Answer {
    let request = PageRequest::of(&parameters)?;
    records::workspace(state.store(), &path).await?;
    let prefix = key::clusters_of(&path);
    let listing = list_json::<ClusterRecord>(state.store(), request.list(&prefix)).await?;
    let fleet = Fleet::read(state.store()).await?;
    let mut values = Vec::with_capacity(listing.items.len());
    for entry in &listing.items {
        let status =
            get_json::<ClusterStatus>(state.store(), &key::cluster_status(&entry.value.path))
                .await?;
        values.push(view(
            &entry.value,
            status.as_ref().map(|status| &status.value),
            &fleet,
            &caller.style,
        ));
    }
    Ok(page_of(&caller, &parameters, &prefix, &listing, values))
}

/// Marks it; the leader ends its jobs, frees its nodes and erases it.
pub(crate) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    AtCluster(path): AtCluster,
) -> Answer {
    let erase = operation::left_to_the_leader();
    operation::delete(
        &state,
        &caller,
        key::cluster(&path),
        |record: &mut ClusterRecord| &mut record.delete_requested_at,
        erase,
    )
    .await
}
