//! Storage accounts from the operator's table (`[storage-accounts]` in the
//! daemon's configuration), so that clients find the key of an account that a
//! job mounts.
//!
//! Who may list keys may use them: [`keys`] needs the right to change things
//! (role *contributor*), like every POST. A reader sees the names only.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::error::{Answer, ApiError};
use crate::groups::LOCATION;
use crate::request::Segments;
use crate::state::ApiState;

/// The resource group in which the accounts are said to stand.
const GROUP: &str = "default";

const NAMESPACE: &str = "Microsoft.Storage";

/// Subscription, group, namespace of the provider, account.
type AccountPath = (String, String, String, String);

fn view(subscription: &str, account: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{subscription}/resourceGroups/{GROUP}/providers/{NAMESPACE}/storageAccounts/{account}"),
        "name": account,
        "type": "Microsoft.Storage/storageAccounts",
        "location": LOCATION,
        "kind": "Storage",
        "sku": {"name": "Standard_LRS", "tier": "Standard"},
        "properties": {"provisioningState": "Succeeded"},
    })
}

fn missing(what: &str) -> ApiError {
    let message = format!(
        "there is no {what}; the operator names storage accounts and their keys in the table \
         [storage-accounts] of the daemon's configuration file"
    );
    ApiError::not_found("ResourceNotFound", message)
}

fn check_namespace(namespace: &str) -> Result<(), ApiError> {
    if namespace.eq_ignore_ascii_case(NAMESPACE) {
        return Ok(());
    }
    Err(missing(
        "provider of storage accounts but Microsoft.Storage",
    ))
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    Segments((subscription, namespace)): Segments<(String, String)>,
) -> Answer {
    check_namespace(&namespace)?;
    let accounts = state.config.storage_accounts.names();
    let values: Vec<Value> = accounts.map(|name| view(&subscription, name)).collect();
    Ok(Json(json!({ "value": values })).into_response())
}

pub(crate) async fn list_of_group(
    state: State<ApiState>,
    Segments((subscription, group, namespace)): Segments<(String, String, String)>,
) -> Answer {
    if group.eq_ignore_ascii_case(GROUP) {
        return list(state, Segments((subscription, namespace))).await;
    }
    check_namespace(&namespace)?;
    Ok(Json(json!({"value": []})).into_response())
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    Segments(path): Segments<AccountPath>,
) -> Answer {
    let (name, _) = find(&state, &path)?;
    Ok(Json(view(&path.0, name)).into_response())
}

pub(crate) async fn keys(
    State(state): State<ApiState>,
    Segments(path): Segments<AccountPath>,
) -> Answer {
    let (_, key) = find(&state, &path)?;
    let key = json!({"keyName": "key1", "permissions": "FULL", "value": key});
    Ok(Json(json!({"keys": [key]})).into_response())
}

/// Name and key of the account that a path names.
fn find<'a>(state: &'a ApiState, path: &AccountPath) -> Result<(&'a str, &'a str), ApiError> {
    let (_, group, namespace, account) = path;
    check_namespace(namespace)?;
    let found = state.config.storage_accounts.find(account);
    found
        .filter(|_| group.eq_ignore_ascii_case(GROUP))
        .ok_or_else(|| missing("such storage account in this resource group"))
}
