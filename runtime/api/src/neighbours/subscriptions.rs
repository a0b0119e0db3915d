//! The one subscription and the one tenant: Lote has neither and serves all.

use axum::Json;
use serde_json::{Value, json};

use crate::request::{Caller, Segments};

/// The subscription that clients are told about; any other one works as well.
const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000001";

/// The tenant that clients are told about.
const TENANT: &str = "adfs";

fn view(subscription: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{subscription}"),
        "subscriptionId": subscription,
        "tenantId": TENANT,
        "displayName": "Lote",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {"spendingLimit": "Off"},
    })
}

pub(crate) async fn list() -> Json<Value> {
    Json(json!({"value": [view(SUBSCRIPTION)]}))
}

/// As the request spells it, which was checked on the way here.
pub(crate) async fn get(_: Caller, Segments(subscription): Segments<String>) -> Json<Value> {
    Json(view(&subscription))
}

pub(crate) async fn tenants() -> Json<Value> {
    let tenant =
        json!({"id": format!("/tenants/{TENANT}"), "tenantId": TENANT, "displayName": "Lote"});
    Json(json!({"value": [tenant]}))
}
