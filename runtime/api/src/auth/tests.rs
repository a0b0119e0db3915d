//! The table of permissions and the router name the same operations.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use jiff::Timestamp;
use lote_model::access::operations::{self, OPERATIONS};
use lote_model::framework::{
    Frameworks, PlanError, PlannedLaunch, PluginRequest, PluginSummary, ValidatedSettings,
};
use lote_model::id::NodeName;
use lote_model::job::{ErrorRecord, FrameworkSettings};
use lote_model::plan::{AllocationInput, JobInput};
use lote_model::problem::Problem;
use lote_store::{EmbeddedOptions, EmbeddedStore};
use tower::ServiceExt;

use crate::routes;
use crate::state::{ApiConfig, ApiState};

/// Every method that a route can have.
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "PATCH", "DELETE"];

struct NoPlugins;

impl Frameworks for NoPlugins {
    fn settings_members(&self) -> Vec<String> {
        Vec::new()
    }

    fn plugins(&self) -> Vec<PluginSummary> {
        Vec::new()
    }

    fn validate(&self, _: &PluginRequest, _: &JobInput) -> Result<ValidatedSettings, Problem> {
        Err(Problem::new("None", "there are no plugins here"))
    }

    fn plan(
        &self,
        _: &FrameworkSettings,
        _: &JobInput,
        _: &AllocationInput,
    ) -> Result<PlannedLaunch, PlanError> {
        Err(PlanError::Failed(ErrorRecord::new(
            "None",
            "there are no plugins here",
        )))
    }
}

fn state(folder: &std::path::Path) -> ApiState {
    let store = EmbeddedStore::open(folder, &EmbeddedOptions::default()).unwrap();
    let config = ApiConfig::new(NodeName::new("here"), [7; 32]);
    let clock = Arc::new(|| Timestamp::UNIX_EPOCH);
    ApiState::new(Arc::new(store), Arc::new(NoPlugins), config, clock)
}

/// The patterns of all routes. A router tells them only to whoever prints it.
fn patterns() -> Vec<String> {
    let printed = format!("{:?}", routes::assembled(true));
    let paths = printed.split("paths: {").nth(1).unwrap();
    let paths = paths.split("} }").next().unwrap();
    let mut quoted: Vec<String> = paths
        .split('"')
        .filter(|text| text.starts_with('/'))
        .map(str::to_owned)
        .collect();
    quoted.sort();
    quoted
}

async fn status(router: &Router, method: &str, path: &str) -> StatusCode {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap().status()
}

/// Operations for which a handler exists, whatever it answers.
async fn routed() -> Vec<(&'static str, String)> {
    let folder = tempfile::tempdir().unwrap();
    let router = crate::router(state(folder.path()));
    let mut found = Vec::new();
    for pattern in patterns() {
        let path = pattern.replace(['{', '}'], "") + "?api-version=2018-05-01";
        for method in METHODS {
            if status(&router, method, &path).await != StatusCode::METHOD_NOT_ALLOWED {
                found.push((method, pattern.clone()));
            }
        }
    }
    found
}

#[tokio::test]
async fn every_route_has_a_permission() {
    let routed = routed().await;
    assert!(routed.len() > 40, "routes are found: {routed:?}");
    let missing: Vec<_> = routed
        .iter()
        .filter(|(method, pattern)| operations::find(method, pattern).is_none())
        .collect();
    assert!(
        missing.is_empty(),
        "add rows to lote_model::access::operations and to the table of tests/it/access: {missing:?}"
    );
}

#[tokio::test]
async fn every_permission_has_a_route() {
    let routed = routed().await;
    let stale: Vec<_> = OPERATIONS
        .iter()
        .filter(|row| {
            let mut routes = routed.iter();
            !routes.any(|(method, pattern)| {
                operations::find(method, pattern)
                    .is_some_and(|found| (found.method, found.pattern) == (row.method, row.pattern))
            })
        })
        .collect();
    assert!(stale.is_empty(), "no route has {stale:?}");
}

#[tokio::test]
async fn a_route_without_a_permission_is_closed_to_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let state = state(folder.path());
    let guard = axum::middleware::from_fn_with_state(state.clone(), super::guard::guard);
    let forgotten = Router::new()
        .route("/v1/forgotten", axum::routing::get(|| async { "secret" }))
        .route_layer(guard);
    let reply = status(&forgotten, "GET", "/v1/forgotten").await;
    assert_eq!(reply, StatusCode::FORBIDDEN);
    // And a route that needs somebody lets nobody in, should the door be left open.
    let guard = axum::middleware::from_fn_with_state(state, super::guard::guard);
    let unattended = Router::new()
        .route("/v1/nodes", axum::routing::get(|| async { "secret" }))
        .route_layer(guard);
    let reply = status(&unattended, "GET", "/v1/nodes").await;
    assert_eq!(reply, StatusCode::UNAUTHORIZED);
}
