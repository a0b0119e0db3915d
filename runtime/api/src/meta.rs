//! What the daemon says about itself, and about paths that lead nowhere.

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use lote_model::framework::PluginSummary;
use serde_json::{Value, json};

use crate::error::{Answer, ApiError};
use crate::front::API_VERSIONS;
use crate::request::Caller;
use crate::state::ApiState;

/// The daemon answers.
pub(crate) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The daemon and its store answer.
pub(crate) async fn ready(State(state): State<ApiState>) -> Answer {
    state.store().revision().await?;
    Ok(Json(json!({"status": "ok"})).into_response())
}

pub(crate) async fn version() -> Json<Value> {
    Json(json!({"name": "lote", "version": env!("CARGO_PKG_VERSION"), "apiVersions": API_VERSIONS}))
}

/// The framework plugins that are loaded, and those that are not.
pub(crate) async fn plugins(State(state): State<ApiState>) -> Json<Value> {
    let view = |plugin: &PluginSummary| {
        json!({
            "id": format!("/v1/plugins/{}@{}", plugin.name, plugin.version),
            "name": plugin.name,
            "type": "Lote/plugins",
            "properties": plugin,
        })
    };
    let loaded: Vec<Value> = state.frameworks.plugins().iter().map(view).collect();
    Json(json!({"value": loaded, "rejected": state.frameworks.rejected()}))
}

pub(crate) async fn unknown(caller: Caller) -> ApiError {
    ApiError::not_found(
        "ResourceNotFound",
        format!("there is nothing at {}; check the URL", caller.path),
    )
}

pub(crate) async fn method_not_allowed(method: Method, caller: Caller) -> ApiError {
    let message = format!("{method} is not possible at {}", caller.path);
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}
