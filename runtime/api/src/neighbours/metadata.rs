//! The description of a cloud, which clients read once to find the rest.

use axum::Json;
use serde_json::{Value, json};

use crate::request::{Caller, Parameters};

/// From this version on the answer is a list of clouds.
const LIST_SINCE: &str = "2019";

/// The name of this cloud.
const NAME: &str = "Lote";

pub(crate) async fn endpoints(caller: Caller, parameters: Parameters) -> Json<Value> {
    let version = parameters.get("api-version").unwrap_or_default();
    Json(if version < LIST_SINCE {
        first_form(&caller.base)
    } else {
        Value::Array(vec![list_form(&caller.base)])
    })
}

fn audience(base: &str) -> String {
    format!("{base}/")
}

/// The directory ends with `/adfs`: clients then do not ask a public host
/// whether they may trust it.
fn directory(base: &str) -> String {
    format!("{base}/adfs")
}

fn first_form(base: &str) -> Value {
    json!({
        "galleryEndpoint": audience(base),
        "graphEndpoint": audience(base),
        "portalEndpoint": audience(base),
        "authentication": {"loginEndpoint": directory(base), "audiences": [audience(base)]},
    })
}

fn list_form(base: &str) -> Value {
    json!({
        "name": NAME,
        "resourceManager": audience(base),
        "portal": audience(base),
        "gallery": audience(base),
        "graph": audience(base),
        "authentication": {
            "loginEndpoint": directory(base),
            "audiences": [audience(base)],
            "tenant": "adfs",
            "identityProvider": "ADFS",
        },
        "suffixes": {},
    })
}
