//! Clusters: create, scale, read, list, delete.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use jiff::Timestamp;
use lote_model::cluster::{ClusterProperties, ClusterRecord, ClusterStatus, ScaleSettings};
use lote_model::cluster_request::{ClusterRequest, ClusterUpdate};
use lote_model::id::ClusterUid;
use lote_model::key;
use lote_model::path::{ChildPath, IdStyle, WorkspacePath};
use lote_model::spending::{Budget, Spending};
use lote_model::state::AllocationState;
use lote_store::{Store, Transaction, get_json, list_json};
use serde_json::{Map, Value, json};

use crate::auth::Principal;
use crate::error::{Answer, ApiError};
use crate::fleet::Fleet;
use crate::mounts::require_file_servers;
use crate::operation;
use crate::page::{PageRequest, page_of};
use crate::quota;
use crate::records::{self, ATTEMPTS_MAX, Kind, contended, provisioning, subscription};
use crate::request::{At, AtCluster, Body, Caller, Parameters};
use crate::secrets;
use crate::state::ApiState;

fn view(
    record: &ClusterRecord,
    status: Option<&ClusterStatus>,
    fleet: &Fleet,
    style: &IdStyle,
    now: Timestamp,
) -> Value {
    let mut properties = match serde_json::to_value(&record.properties) {
        Ok(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    properties.insert(
        "vmSize".into(),
        json!(record.properties.vm_size.to_uppercase()),
    );
    if let Some(suffix) = &record.setup_output_suffix
        && let Some(setup) = properties.get_mut("nodeSetup")
    {
        setup["setupTask"]["stdOutErrPathSuffix"] = json!(suffix);
    }
    properties.extend(provisioning(record.created_at, record.delete_requested_at));
    properties.extend(nodes(record, status, fleet));
    properties.insert("lote".into(), extras(record, status, now));
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
    members
}

/// What Batch AI has no word for: the user's own `lote` settings and ours.
fn extras(record: &ClusterRecord, status: Option<&ClusterStatus>, now: Timestamp) -> Value {
    let settings = &record.properties.lote;
    let mut members = match serde_json::to_value(settings) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let nothing = ClusterStatus::default();
    let status = status.unwrap_or(&nothing);
    members.insert("nodes".into(), json!(status.nodes));
    members.insert("leaving".into(), json!(status.leaving));
    if !status.withdrawn.is_empty() {
        members.insert("withdrawn".into(), json!(status.withdrawn));
    }
    if let Some(stored) = &status.spending {
        let spending = stored.until(now, status.nodes.len(), settings.period());
        members.insert(
            "spending".into(),
            spent(&spending, settings.budget.as_ref()),
        );
    }
    Value::Object(members)
}

/// `lote.spending`: what the nodes have cost in the period, and what is left of the budget.
fn spent(spending: &Spending, budget: Option<&Budget>) -> Value {
    let spent = spending.spent();
    let mut members = json!({
        "spent": spent,
        "nodeHours": spending.node_hours(),
        "periodStart": spending.period_start,
    });
    if let Some(budget) = budget {
        members["period"] = json!(budget.period);
        members["rest"] = json!(budget.amount.minus(spent));
        if let Some(end) = budget.period.end(spending.period_start) {
            members["periodEnd"] = json!(end);
        }
    }
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
    let value = view(record, status, &fleet, &caller.style, state.now());
    Ok(Json(value).into_response())
}

pub(crate) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    AtCluster(path): AtCluster,
    Body(request_body): Body,
) -> Answer {
    let request = ClusterRequest::parse(&request_body)?;
    let setup = request.properties.node_setup.as_ref();
    let volumes = setup.and_then(|setup| setup.mount_volumes.as_ref());
    require_file_servers(&principal, volumes, "/properties/nodeSetup/mountVolumes")?;
    let key = key::cluster(&path);
    for _ in 0..ATTEMPTS_MAX {
        if let Some(found) = get_json::<ClusterRecord>(state.store(), &key).await? {
            accept_again(&state, &found.value, &request).await?;
            return answer(&state, &caller, &found.value).await;
        }
        let workspace = records::lasting_workspace(state.store(), &path.workspace).await?;
        quota::check_nodes(&state, &path.name, &request.properties.scale_settings)?;
        let place = quota::Place::for_cluster(&state, &path.name).await?;
        if subscription(&caller.style).is_some() {
            // Lote makes no accounts on nodes, so people and our own command line need
            // not give a key; the original insisted on it.
            request.check_login()?;
        }
        let record = record(&state, &caller, &path, &request);
        let transaction = Transaction::new()
            .require_absent(&key)
            .require_revision(workspace.key, workspace.mod_revision)
            .put_json(&key, &record)?;
        let transaction = place.take(transaction)?;
        let secrets_key = key::cluster_secrets(&record.uid);
        let transaction = secrets::put(&state, transaction, &secrets_key, &request.secrets)?;
        if state.store().commit(transaction).await?.is_applied() {
            return answer(&state, &caller, &record).await;
        }
    }
    Err(contended())
}

fn record(
    state: &ApiState,
    caller: &Caller,
    path: &ChildPath,
    request: &ClusterRequest,
) -> ClusterRecord {
    let uid = ClusterUid::new(uuid::Uuid::new_v4().to_string());
    let setup = request.properties.node_setup.as_ref();
    let has_task = setup.is_some_and(|setup| setup.setup_task.is_some());
    ClusterRecord {
        path: path.clone(),
        created_at: state.now(),
        properties: request.properties.clone(),
        setup_output_suffix: has_task.then(|| setup_output_suffix(path, &uid, &caller.style)),
        uid,
        delete_requested_at: None,
    }
}

/// `stdOutErrPathSuffix` of the set-up task (capabilities §7.3). Outside the resource
/// manager there is no subscription to begin with.
fn setup_output_suffix(path: &ChildPath, uid: &ClusterUid, style: &IdStyle) -> String {
    let WorkspacePath { group, workspace } = &path.workspace;
    let tail = format!(
        "{group}/workspaces/{workspace}/clusters/{}/{uid}",
        path.name
    );
    match subscription(style) {
        Some(subscription) => format!("{subscription}/{tail}"),
        None => tail,
    }
}

async fn accept_again(
    state: &ApiState,
    found: &ClusterRecord,
    request: &ClusterRequest,
) -> Result<(), ApiError> {
    let wanted = &request.properties;
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
    let is_same = same_size && as_found == found.properties;
    let secrets_key = key::cluster_secrets(&found.uid);
    if is_same && secrets::are_stored(state, &secrets_key, &request.secrets).await? {
        return Ok(());
    }
    Err(Kind::Cluster.exists(
        name,
        "change its scale settings and what is under lote with PATCH, or delete it first",
    ))
}

pub(crate) async fn patch(
    State(state): State<ApiState>,
    caller: Caller,
    AtCluster(path): AtCluster,
    Body(request_body): Body,
) -> Answer {
    let update = ClusterUpdate::parse(&request_body)?;
    if let Some(scale) = &update.scale_settings {
        quota::check_nodes(&state, &path.name, scale)?;
    }
    let change = |record: &mut ClusterRecord| {
        if record.delete_requested_at.is_some() {
            return Err(Kind::Cluster.being_deleted(&path.name));
        }
        let properties = update.apply(&record.properties)?;
        let changed = record.properties != properties;
        record.properties = properties;
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
            state.now(),
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
