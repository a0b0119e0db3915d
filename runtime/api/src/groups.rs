//! Resource groups: namespaces of workspaces.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use lote_model::access::{Permission, Scope, Target};
use lote_model::key;
use lote_model::name::GroupName;
use lote_model::path::IdStyle;
use lote_model::workspace::GroupRecord;
use lote_store::{ListRequest, Transaction, get_json, list_json};
use serde_json::{Value, json};

use crate::auth::Principal;
use crate::error::{Answer, ApiError};
use crate::page::{PageRequest, page, page_of};
use crate::records::{self, ATTEMPTS_MAX, contended};
use crate::request::{At, Body, Caller, Parameters};
use crate::state::ApiState;

/// The one region of a Lote installation, where a client must be told one.
pub(crate) const LOCATION: &str = "local";

fn view(record: &GroupRecord, style: &IdStyle) -> Value {
    json!({
        "id": style.group(&record.name),
        "name": record.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": LOCATION,
        "properties": {"provisioningState": "Succeeded"},
    })
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    At(name): At<GroupName>,
) -> Answer {
    let record = records::group(state.store(), &name).await?;
    Ok(Json(view(&record.value, &caller.style)).into_response())
}

/// Whether it exists: 204 rather than 200, as old clients insist.
pub(crate) async fn head(State(state): State<ApiState>, At(name): At<GroupName>) -> Answer {
    records::group(state.store(), &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    parameters: Parameters,
) -> Answer {
    let request = PageRequest::of(&parameters)?;
    let only = match principal.scope() {
        Scope::Everything => None,
        Scope::Group(group) => Some(group),
        Scope::Workspace(path) => Some(&path.group),
    };
    if let Some(group) = only {
        let found = get_json::<GroupRecord>(state.store(), &key::group(group)).await?;
        let values = found.iter().map(|entry| view(&entry.value, &caller.style));
        return Ok(page(&caller, &parameters, values.collect(), None));
    }
    let listing = list_json::<GroupRecord>(state.store(), request.list(key::GROUPS)).await?;
    let values = listing
        .items
        .iter()
        .map(|entry| view(&entry.value, &caller.style))
        .collect();
    Ok(page_of(&caller, &parameters, key::GROUPS, &listing, values))
}

/// The location and tags that clients send mean nothing here: Lote has one region.
pub(crate) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    At(name): At<GroupName>,
    body: Body,
) -> Answer {
    lote_model::body::optional_object(&body.0)?;
    let key = key::group(&name);
    for _ in 0..ATTEMPTS_MAX {
        if let Some(found) = get_json::<GroupRecord>(state.store(), &key).await? {
            return Ok(Json(view(&found.value, &caller.style)).into_response());
        }
        principal.require(Permission::GroupsCreate, &Target::Group(name.clone()))?;
        let record = GroupRecord {
            name: name.clone(),
            created_at: state.now(),
        };
        let transaction = Transaction::new()
            .require_absent(&key)
            .put_json(&key, &record)?;
        if state.store().commit(transaction).await?.is_applied() {
            return Ok(Json(view(&record, &caller.style)).into_response());
        }
    }
    Err(contended())
}

/// Deletes an empty group. A workspace made at the same time rewrites the
/// group's record, so that one of the two fails.
pub(crate) async fn delete(State(state): State<ApiState>, At(name): At<GroupName>) -> Answer {
    let key = key::group(&name);
    for _ in 0..ATTEMPTS_MAX {
        let Some(found) = get_json::<GroupRecord>(state.store(), &key).await? else {
            return Ok(StatusCode::NO_CONTENT.into_response());
        };
        let inside = ListRequest {
            limit: Some(1),
            keys_only: true,
            ..ListRequest::prefix(key::workspaces_of(&name))
        };
        if !state.store().list(inside).await?.items.is_empty() {
            let message =
                format!("the resource group {name} still has workspaces; delete them first");
            return Err(ApiError::conflict("ResourceGroupNotEmpty", message));
        }
        let transaction = Transaction::new()
            .require_revision(&key, found.mod_revision)
            .delete(&key);
        if state.store().commit(transaction).await?.is_applied() {
            return Ok(StatusCode::OK.into_response());
        }
    }
    Err(contended())
}
