//! Which handler answers which path.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};

use crate::auth::guard::guard;
use crate::files::{link, output};
use crate::front::{self, Front};
use crate::jobs::{create, events, logs, plan};
use crate::state::ApiState;
use crate::{clusters, experiments, groups, jobs, meta, nodes, operation, tokens, workspaces};

/// The whole HTTP interface. [`serve`](crate::serve) also runs what works behind
/// it; a router alone answers requests.
pub fn router(state: ApiState) -> Router {
    let routes = all()
        .route_layer(from_fn_with_state(state.clone(), guard))
        .fallback(meta::unknown)
        .method_not_allowed_fallback(meta::method_not_allowed);
    let front = Front {
        state: state.clone(),
        routes: routes.with_state(state),
    };
    Router::new().fallback(front::answer).with_state(front)
}

/// All routes, as they are before anything is put around them.
pub(crate) fn all() -> Router<ApiState> {
    resources().merge(daemon())
}

const WORKSPACES: &str = "/v1/groups/{group}/workspaces";

/// The resources. Requests under the resource manager's prefix arrive in this
/// form as well.
fn resources() -> Router<ApiState> {
    let at = |rest: &str| format!("{WORKSPACES}/{{workspace}}{rest}");
    Router::new()
        .route("/v1/groups", get(groups::list))
        .route(
            "/v1/groups/{group}",
            get(groups::get).put(groups::put).delete(groups::delete),
        )
        .route("/v1/workspaces", get(workspaces::list_all))
        .route(WORKSPACES, get(workspaces::list_by_group))
        .route(
            &at(""),
            get(workspaces::get)
                .put(workspaces::put)
                .patch(workspaces::patch)
                .delete(workspaces::delete),
        )
        .route(&at("/clusters"), get(clusters::list))
        .route(
            &at("/clusters/{cluster}"),
            get(clusters::get)
                .put(clusters::put)
                .patch(clusters::patch)
                .delete(clusters::delete),
        )
        .route(
            &at("/clusters/{cluster}/listremotelogininformation"),
            any(meta::unsupported),
        )
        .route(&at("/fileservers"), any(meta::unsupported))
        .route(&at("/fileservers/{fileserver}"), any(meta::unsupported))
        .route(&at("/experiments"), get(experiments::list))
        .route(
            &at("/experiments/{experiment}"),
            get(experiments::get)
                .put(experiments::put)
                .delete(experiments::delete),
        )
        .merge(job_routes(&at("/experiments/{experiment}/jobs")))
}

fn job_routes(jobs: &str) -> Router<ApiState> {
    let at = |rest: &str| format!("{jobs}/{{job}}{rest}");
    Router::new()
        .route(jobs, get(jobs::list))
        .route(
            &at(""),
            get(jobs::get).put(create::put).delete(jobs::delete),
        )
        .route(&at("/terminate"), post(jobs::terminate))
        .route(&at("/listoutputfiles"), post(output::list))
        .route(&at("/plan"), get(plan::get).post(plan::dry_run))
        .route(&at("/events"), get(events::get))
        .route(&at("/logs"), get(logs::get))
        .route(&at("/listremotelogininformation"), any(meta::unsupported))
}

/// What belongs to no workspace.
fn daemon() -> Router<ApiState> {
    Router::new()
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/nodes/{node}", get(nodes::get))
        .route("/v1/plugins", get(meta::plugins))
        .route("/v1/version", get(meta::version))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route(
            "/v1/tokens/{token}",
            get(tokens::get).delete(tokens::revoke),
        )
        .route("/v1/operations/{id}", get(operation::status))
        .route("/v1/operations/{id}/result", get(operation::result))
        .route("/v1/usages", any(meta::unsupported))
        .route("/v1/catalogue", any(meta::unsupported))
        .route("/files/{token}/{name}", get(link::download))
        .route("/healthz", get(meta::health))
        .route("/readyz", get(meta::ready))
}
