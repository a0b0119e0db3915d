//! Resource providers: always registered, for every subscription.

use axum::Json;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::error::{Answer, ApiError};
use crate::front::API_VERSIONS;
use crate::groups::LOCATION;
use crate::request::Segments;

/// A provider and the types of resources that it has here.
const PROVIDERS: [(&str, &[&str]); 3] = [
    (
        "Microsoft.BatchAI",
        &[
            "workspaces",
            "workspaces/clusters",
            "workspaces/fileservers",
            "workspaces/experiments",
            "workspaces/experiments/jobs",
        ],
    ),
    ("Microsoft.Resources", &["subscriptions", "resourceGroups"]),
    ("Microsoft.Storage", &["storageAccounts"]),
];

fn view(subscription: &str, (namespace, types): (&str, &[&str])) -> Value {
    let of_type = |name: &&str| json!({"resourceType": name, "locations": [LOCATION], "apiVersions": API_VERSIONS});
    json!({
        "id": format!("/subscriptions/{subscription}/providers/{namespace}"),
        "namespace": namespace,
        "registrationState": "Registered",
        "resourceTypes": types.iter().map(of_type).collect::<Vec<_>>(),
    })
}

pub(crate) async fn list(Segments(subscription): Segments<String>) -> Json<Value> {
    let values = PROVIDERS
        .iter()
        .map(|&provider| view(&subscription, provider));
    Json(json!({"value": values.collect::<Vec<_>>()}))
}

/// The state of a provider; also the answer to its registration, which finds
/// nothing to do.
pub(crate) async fn get(Segments((subscription, namespace)): Segments<(String, String)>) -> Answer {
    let found = PROVIDERS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(&namespace));
    let missing = || {
        let known = PROVIDERS.map(|(name, _)| name).join(", ");
        let message = format!("there is no such resource provider here; there are {known}");
        ApiError::not_found("InvalidResourceNamespace", message)
    };
    let provider = *found.ok_or_else(missing)?;
    Ok(Json(view(&subscription, provider)).into_response())
}
