//! Tokens as resources: `/v1/tokens`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::response::IntoResponse;
use jiff::{SignedDuration, Timestamp};
use lote_model::access::token::{JoinToken, TokenId, TokenRecord, TokenRequest};
use lote_model::access::{Permission, Role, Scope};
use lote_model::key;
use lote_model::membership::ClusterIdentity;
use lote_model::problem::Problem;
use lote_model::workspace::{GroupRecord, WorkspaceRecord};
use lote_store::{Entry, ListRequest, StoreError, Transaction, get_json, list_json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::auth::{Principal, secret};
use crate::error::{Answer, ApiError};
use crate::page::{PageRequest, page_of};
use crate::records::{ATTEMPTS_MAX, contended};
use crate::request::{Body, Caller, Parameters, Segments};
use crate::state::ApiState;
use crate::tls::Tls;

/// How long a token that is of no more use stays in the list.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The mark that the door is closed. It is also rewritten by whoever revokes an
/// administrator, so that no two of them revoke each other at the same time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DoorRecord {
    closed_at: Timestamp,
}

fn view(record: &TokenRecord, now: Timestamp) -> Value {
    let mut properties = json!({
        "displayName": record.name,
        "role": record.role,
        "state": record.state(now),
        "lastFour": record.last_four,
        "createdAt": record.created_at,
        "createdBy": record.created_by,
    });
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            properties[name] = value;
        }
    };
    add("scope", scope_view(&record.scope));
    add("usesLeft", record.uses_left.map(|uses| json!(uses)));
    add("expiresAt", record.expires_at.map(|time| json!(time)));
    add("revokedAt", record.revoked_at.map(|time| json!(time)));
    json!({
        "id": format!("/v1/tokens/{}", record.id),
        "name": record.id,
        "type": "Lote/tokens",
        "properties": properties,
    })
}

/// None for the whole installation.
fn scope_view(scope: &Scope) -> Option<Value> {
    match scope {
        Scope::Everything => None,
        Scope::Group(group) => Some(json!({"group": group})),
        Scope::Workspace(path) => Some(json!({"group": path.group, "workspace": path.workspace})),
    }
}

fn missing(id: &str) -> ApiError {
    let shown: String = id.chars().take(20).collect();
    let message = format!("there is no token '{shown}'; GET /v1/tokens lists them");
    ApiError::not_found("TokenNotFound", message)
}

async fn read(state: &ApiState, id: &str) -> Result<Entry<TokenRecord>, ApiError> {
    let parsed = TokenId::parse(id).ok_or_else(|| missing(id))?;
    let found = get_json(state.store(), &key::token(&parsed)).await?;
    found.ok_or_else(|| missing(id))
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    principal: Principal,
    Segments(id): Segments<String>,
) -> Answer {
    let found = read(&state, &id).await?;
    principal.require(Permission::TokensRead, &found.value.scope.target())?;
    Ok(Json(view(&found.value, state.now())).into_response())
}

/// Those within the caller's own scope.
pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    parameters: Parameters,
) -> Answer {
    let request = PageRequest::of(&parameters)?;
    let listing = list_json::<TokenRecord>(state.store(), request.list(key::TOKENS)).await?;
    let now = state.now();
    let values = listing
        .items
        .iter()
        .filter(|entry| principal.scope().contains(&entry.value.scope))
        .map(|entry| view(&entry.value, now))
        .collect();
    Ok(page_of(&caller, &parameters, key::TOKENS, &listing, values))
}

/// Makes a token and shows it, this once.
pub(crate) async fn create(
    State(state): State<ApiState>,
    principal: Principal,
    Body(request_body): Body,
) -> Answer {
    let wanted = TokenRequest::parse(&request_body)?;
    principal.require(Permission::TokensWrite, &wanted.scope.target())?;
    check_first(&principal, &wanted)?;
    check_scope(&state, &wanted.scope).await?;
    for _ in 0..ATTEMPTS_MAX {
        let door = get_json::<DoorRecord>(state.store(), key::DOOR).await?;
        if door.is_some() && principal.is_open() {
            let message = "somebody else has made the first token meanwhile; use a token";
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "AuthenticationFailed",
                message,
            ));
        }
        let (record, text) = make(&state, &principal, &wanted)?;
        let own_key = key::token(&record.id);
        let mut transaction = Transaction::new()
            .require_absent(&own_key)
            .put_json(&own_key, &record)?;
        if door.is_none() {
            let closed_at = record.created_at;
            transaction = transaction
                .require_absent(key::DOOR)
                .put_json(key::DOOR, &DoorRecord { closed_at })?;
        }
        if state.store().commit(transaction).await?.is_applied() {
            forget_old(&state).await?;
            let text = shown(&state, &record, text).await?;
            return Ok(created(&record, &text, state.now()));
        }
    }
    Err(contended())
}

/// What the owner of a new token gets. Machines also get the id of the cluster, and
/// the name of the certificate that this daemon shows, so that they can believe it.
async fn shown(state: &ApiState, record: &TokenRecord, text: String) -> Result<String, StoreError> {
    if record.role != Role::Node {
        return Ok(text);
    }
    let identity = get_json::<ClusterIdentity>(state.store(), key::CLUSTER_IDENTITY).await?;
    let token = JoinToken {
        bearer: text,
        cluster_id: identity.map(|identity| identity.value.id),
        fingerprint: state.config.tls.as_ref().map(Tls::fingerprint),
    };
    Ok(token.compose())
}

fn created(record: &TokenRecord, text: &str, now: Timestamp) -> axum::response::Response {
    let mut body = view(record, now);
    body["properties"]["token"] = json!(text);
    let location = format!("/v1/tokens/{}", record.id);
    let headers = [(LOCATION, location.as_str()), (CACHE_CONTROL, "no-store")];
    (StatusCode::CREATED, headers, Json(body)).into_response()
}

/// With the first token the door closes; whoever holds it must be able to open
/// it for others.
fn check_first(principal: &Principal, wanted: &TokenRequest) -> Result<(), Problem> {
    let administers = wanted.role == Role::Admin && wanted.scope == Scope::Everything;
    if !principal.is_open() || administers {
        return Ok(());
    }
    let message = "the first token must have the role admin and no scope: from then on only \
                   administrators can make tokens, and there would be none";
    Err(Problem::new("FirstTokenMustBeAdmin", message).at("/properties/role"))
}

/// A scope that does not exist is a slip more often than foresight.
async fn check_scope(state: &ApiState, scope: &Scope) -> Result<(), ApiError> {
    let store = state.store();
    let wrong = |code: &str, what: String, target: &str| {
        let message = format!("there is no {what}; make it before a token for it");
        Err(ApiError::bad_request(code, message).at(target))
    };
    match scope {
        Scope::Everything => Ok(()),
        Scope::Group(group) => {
            let found = get_json::<GroupRecord>(store, &key::group(group)).await?;
            let what = format!("resource group {group}");
            found.map_or_else(
                || wrong("ResourceGroupNotFound", what, "/properties/scope/group"),
                |_| Ok(()),
            )
        }
        Scope::Workspace(path) => {
            let found = get_json::<WorkspaceRecord>(store, &key::workspace(path)).await?;
            let what = format!("workspace {path}");
            found.map_or_else(
                || wrong("WorkspaceNotFound", what, "/properties/scope/workspace"),
                |_| Ok(()),
            )
        }
    }
}

fn make(
    state: &ApiState,
    principal: &Principal,
    wanted: &TokenRequest,
) -> Result<(TokenRecord, String), ApiError> {
    let new = secret::generate().map_err(|error| ApiError::internal(&error))?;
    let now = state.now();
    let record = TokenRecord {
        id: new.id,
        name: wanted.name.clone(),
        role: wanted.role,
        scope: wanted.scope.clone(),
        secret_hash: new.secret_hash,
        last_four: new.last_four,
        created_at: now,
        created_by: principal.who.to_string(),
        uses_left: wanted.uses,
        expires_at: wanted.expires_at(now),
        revoked_at: None,
    };
    Ok((record, new.text))
}

/// Removes tokens that have been of no use for long.
async fn forget_old(state: &ApiState) -> Result<(), StoreError> {
    let now = state.now();
    let all = all(state).await?;
    let old = all.values().filter(|entry| {
        let ended = entry.value.ended_at(now);
        ended.is_some_and(|ended| now.duration_since(ended) > REMEMBERED)
    });
    for entry in old {
        let transaction = Transaction::new()
            .require_revision(&entry.key, entry.mod_revision)
            .delete(&entry.key);
        state.store().commit(transaction).await?;
    }
    Ok(())
}

async fn all(state: &ApiState) -> Result<BTreeMap<TokenId, Entry<TokenRecord>>, StoreError> {
    let listing = list_json::<TokenRecord>(state.store(), ListRequest::prefix(key::TOKENS)).await?;
    let by_id = |entry: Entry<TokenRecord>| (entry.value.id.clone(), entry);
    Ok(listing.items.into_iter().map(by_id).collect())
}

/// Takes a token back. Its record stays in the list for a while.
pub(crate) async fn revoke(
    State(state): State<ApiState>,
    principal: Principal,
    Segments(id): Segments<String>,
) -> Answer {
    let Some(id) = TokenId::parse(&id) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let own_key = key::token(&id);
    for _ in 0..ATTEMPTS_MAX {
        let Some(mut found) = get_json::<TokenRecord>(state.store(), &own_key).await? else {
            return Ok(StatusCode::NO_CONTENT.into_response());
        };
        principal.require(Permission::TokensDelete, &found.value.scope.target())?;
        let now = state.now();
        if found.value.revoked_at.is_some() {
            return Ok(StatusCode::OK.into_response());
        }
        let mut transaction = Transaction::new().require_revision(&own_key, found.mod_revision);
        if found.value.administers(now) {
            transaction = leave_another(&state, &id, transaction).await?;
        }
        found.value.revoked_at = Some(now);
        let transaction = transaction.put_json(&own_key, &found.value)?;
        if state.store().commit(transaction).await?.is_applied() {
            return Ok(StatusCode::OK.into_response());
        }
    }
    Err(contended())
}

/// 409 unless somebody else can administer; holds the door while it looks.
async fn leave_another(
    state: &ApiState,
    id: &TokenId,
    transaction: Transaction,
) -> Result<Transaction, ApiError> {
    let door = get_json::<DoorRecord>(state.store(), key::DOOR).await?;
    let now = state.now();
    let others = all(state).await?;
    let mut others = others.values().filter(|other| other.value.id != *id);
    let another = others.any(|other| other.value.administers(now));
    if !another && state.config.operator_tokens.is_empty() {
        let message = "this is the last token that can administer the whole installation; make \
                       another one first";
        return Err(ApiError::conflict("LastAdministrator", message));
    }
    match door {
        None => Ok(transaction),
        Some(door) => Ok(transaction
            .require_revision(key::DOOR, door.mod_revision)
            .put_json(key::DOOR, &door.value)?),
    }
}
