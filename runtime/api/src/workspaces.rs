//! Workspaces: create, update tags, read, list, delete.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use lote_model::access::{Permission, Scope, Target};
use lote_model::body;
use lote_model::id::UnixId;
use lote_model::key;
use lote_model::name::GroupName;
use lote_model::path::{IdStyle, WorkspacePath};
use lote_model::problem::Problem;
use lote_model::workspace::{GroupRecord, WorkspaceRecord};
use lote_store::{Transaction, get_json, list_json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Principal;
use crate::error::{Answer, ApiError};
use crate::groups::LOCATION;
use crate::operation;
use crate::page::{PageRequest, page, page_of};
use crate::records::{self, ATTEMPTS_MAX, Kind, contended, provisioning};
use crate::request::{At, Body, Caller, Parameters};
use crate::state::ApiState;

/// The members of a workspace that a user sets; they stand outside `properties`.
#[derive(Debug, Deserialize)]
struct WorkspaceRequest {
    location: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

fn parse(request_body: &[u8]) -> Result<WorkspaceRequest, Problem> {
    let mut members = body::object(request_body)?;
    members.retain(|_, value| !value.is_null());
    body::typed(Value::Object(members), "")
}

fn view(record: &WorkspaceRecord, style: &IdStyle) -> Value {
    json!({
        "id": record.path.id(style),
        "name": record.path.workspace,
        "type": "Microsoft.BatchAI/workspaces",
        "location": record.location,
        "tags": record.tags,
        "properties": provisioning(record.created_at, record.delete_requested_at),
    })
}

pub(crate) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    At(path): At<WorkspacePath>,
    Body(request_body): Body,
) -> Answer {
    let wanted = parse(&request_body)?;
    let location = location(&wanted, &caller)?;
    for _ in 0..ATTEMPTS_MAX {
        if let Some(found) =
            get_json::<WorkspaceRecord>(state.store(), &key::workspace(&path)).await?
        {
            accept_again(&found.value, &wanted, &location)?;
            return Ok(Json(view(&found.value, &caller.style)).into_response());
        }
        let group = Target::Group(path.group.clone());
        principal.require(Permission::WorkspacesCreate, &group)?;
        let tags = wanted.tags.clone().unwrap_or_default();
        if let Some(record) = create(&state, &caller, &principal, &path, &location, tags).await? {
            return Ok(Json(view(&record, &caller.style)).into_response());
        }
    }
    Err(contended())
}

fn location(wanted: &WorkspaceRequest, caller: &Caller) -> Result<String, Problem> {
    match &wanted.location {
        Some(location) if !location.trim().is_empty() => Ok(location.clone()),
        None if !caller.is_old_client() => Ok(LOCATION.to_owned()),
        _ => Err(Problem::invalid(
            "/location",
            "location must name a region; Lote has one, any name will do",
        )),
    }
}

/// A second PUT answers the first one's workspace, unless it wants another one.
fn accept_again(
    found: &WorkspaceRecord,
    wanted: &WorkspaceRequest,
    location: &str,
) -> Result<(), ApiError> {
    let name = &found.path.workspace;
    if found.delete_requested_at.is_some() {
        return Err(Kind::Workspace.being_deleted(name));
    }
    if wanted.location.is_some() && !found.location.eq_ignore_ascii_case(location) {
        let advice = format!("its location is '{}' and cannot be changed", found.location);
        return Err(Kind::Workspace.exists(name, &advice).at("/location"));
    }
    if wanted.tags.as_ref().is_some_and(|tags| *tags != found.tags) {
        return Err(Kind::Workspace
            .exists(name, "change its tags with PATCH")
            .at("/tags"));
    }
    Ok(())
}

/// Creates a workspace with a user id of its own. None if others changed what
/// this was based on.
async fn create(
    state: &ApiState,
    caller: &Caller,
    principal: &Principal,
    path: &WorkspacePath,
    location: &str,
    tags: BTreeMap<String, String>,
) -> Result<Option<WorkspaceRecord>, ApiError> {
    let group_key = key::group(&path.group);
    let group = get_json::<GroupRecord>(state.store(), &group_key).await?;
    if group.is_none() && !caller.is_old_client() {
        return Err(Kind::Group.missing(&path.group));
    }
    if group.is_none() {
        let target = Target::Group(path.group.clone());
        principal.require(Permission::GroupsCreate, &target)?;
    }
    crate::quota::check_workspaces(state, &path.group, &path.workspace).await?;
    let counter = get_json::<UnixId>(state.store(), key::NEXT_UNIX_ID).await?;
    let unix_id = counter
        .as_ref()
        .map_or(UnixId::FIRST, |counter| counter.value);
    let next = unix_id.0.checked_add(1).map(UnixId);
    let next = next.ok_or_else(|| ApiError::internal(&"no user ids are left for workspaces"))?;
    let now = state.now();
    let record = WorkspaceRecord {
        path: path.clone(),
        location: location.to_owned(),
        tags,
        unix_id,
        created_at: now,
        delete_requested_at: None,
    };
    // The group's record is rewritten so that its deletion at the same time fails.
    let (group_revision, group) = match group {
        Some(group) => (group.mod_revision, group.value),
        None => (
            0,
            GroupRecord {
                name: path.group.clone(),
                created_at: now,
            },
        ),
    };
    let key = key::workspace(path);
    let transaction = Transaction::new()
        .require_absent(&key)
        .require_revision(&group_key, group_revision)
        .require_revision(
            key::NEXT_UNIX_ID,
            counter.map_or(0, |counter| counter.mod_revision),
        )
        .put_json(group_key, &group)?
        .put_json(key::NEXT_UNIX_ID, &next)?
        .put_json(key, &record)?;
    Ok(state
        .store()
        .commit(transaction)
        .await?
        .is_applied()
        .then_some(record))
}

pub(crate) async fn patch(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<WorkspacePath>,
    Body(request_body): Body,
) -> Answer {
    let wanted = parse(&request_body)?;
    let change = |record: &mut WorkspaceRecord| {
        if record.delete_requested_at.is_some() {
            return Err(Kind::Workspace.being_deleted(&path.workspace));
        }
        let Some(tags) = &wanted.tags else {
            return Ok(false);
        };
        record.tags.clone_from(tags);
        Ok(true)
    };
    let updated = records::update(state.store(), &key::workspace(&path), change).await?;
    match updated {
        Some(updated) => Ok(Json(view(&updated.value, &caller.style)).into_response()),
        None => Err(records::missing_workspace(state.store(), &path).await),
    }
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<WorkspacePath>,
) -> Answer {
    let found = records::workspace(state.store(), &path).await?;
    Ok(Json(view(&found.value, &caller.style)).into_response())
}

pub(crate) async fn list_by_group(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    At(group): At<GroupName>,
    parameters: Parameters,
) -> Answer {
    records::group(state.store(), &group).await?;
    if let Scope::Workspace(path) = principal.scope() {
        return list_one(&state, &caller, &parameters, path).await;
    }
    list(&state, &caller, &parameters, &key::workspaces_of(&group)).await
}

pub(crate) async fn list_all(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    parameters: Parameters,
) -> Answer {
    match principal.scope() {
        Scope::Everything => list(&state, &caller, &parameters, key::WORKSPACES).await,
        Scope::Group(group) => list(&state, &caller, &parameters, &key::workspaces_of(group)).await,
        Scope::Workspace(path) => list_one(&state, &caller, &parameters, path).await,
    }
}

/// The list of a caller who sees one workspace only.
async fn list_one(
    state: &ApiState,
    caller: &Caller,
    parameters: &Parameters,
    path: &WorkspacePath,
) -> Answer {
    PageRequest::of(parameters)?;
    let found = get_json::<WorkspaceRecord>(state.store(), &key::workspace(path)).await?;
    let values = found.iter().map(|entry| view(&entry.value, &caller.style));
    Ok(page(caller, parameters, values.collect(), None))
}

async fn list(state: &ApiState, caller: &Caller, parameters: &Parameters, prefix: &str) -> Answer {
    let request = PageRequest::of(parameters)?;
    let listing = list_json::<WorkspaceRecord>(state.store(), request.list(prefix)).await?;
    let values = listing
        .items
        .iter()
        .map(|entry| view(&entry.value, &caller.style))
        .collect();
    Ok(page_of(caller, parameters, prefix, &listing, values))
}

pub(crate) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<WorkspacePath>,
) -> Answer {
    let erase = crate::janitor::erase_empty_workspace(state.store(), &path);
    operation::delete(
        &state,
        &caller,
        key::workspace(&path),
        |record: &mut WorkspaceRecord| &mut record.delete_requested_at,
        erase,
    )
    .await
}
