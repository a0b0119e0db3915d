//! Which handler answers which path.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post, put};

use crate::auth::guard::guard;
use crate::files::{link, output};
use crate::front::{self, Front};
use crate::jobs::{create, events as job_events, logs, plan, samples};
use crate::state::ApiState;
use crate::{
    catalogue, clusters, daily_usage, events, experiments, export, file_servers, groups, jobs,
    join, meta, metrics, neighbours, nodes, openapi, operation, remote_login, server_files, tokens,
    usages, workspaces,
};

/// Routes, and a list of their paths, by which the description is held against them.
struct Routes {
    router: Router<ApiState>,
    paths: Vec<String>,
}

impl Routes {
    fn new() -> Self {
        Self {
            router: Router::new(),
            paths: Vec::new(),
        }
    }

    fn route(mut self, path: &str, methods: MethodRouter<ApiState>) -> Self {
        self.paths.push(path.to_owned());
        self.router = self.router.route(path, methods);
        self
    }

    fn merge(mut self, other: Self) -> Self {
        self.paths.extend(other.paths);
        self.router = self.router.merge(other.router);
        self
    }
}

/// The whole HTTP interface. [`serve`](crate::serve) also runs what works behind
/// it; a router alone answers requests.
pub fn router(state: ApiState) -> Router {
    let front = Front {
        state: state.clone(),
        routes: behind_front(state),
    };
    Router::new().fallback(front::answer).with_state(front)
}

/// The routes alone, for paths in their own form.
fn behind_front(state: ApiState) -> Router {
    assembled(state.config.neighbours)
        .route_layer(from_fn_with_state(state.clone(), guard))
        .fallback(meta::unknown)
        .method_not_allowed_fallback(meta::method_not_allowed)
        .with_state(state)
}

/// All routes, before anything is put around them.
pub(crate) fn assembled(with_neighbours: bool) -> Router<ApiState> {
    let router = all().router;
    if with_neighbours {
        router.merge(neighbours::routes())
    } else {
        router
    }
}

/// All of our own. The neighbours' are described by those whose they are.
fn all() -> Routes {
    resources().merge(daemon())
}

/// The paths of all routes.
#[cfg(test)]
pub(crate) fn paths() -> Vec<String> {
    all().paths
}

const WORKSPACES: &str = "/v1/groups/{group}/workspaces";

/// The resources. Requests under the resource manager's prefix arrive in this
/// form as well.
fn resources() -> Routes {
    let at = |rest: &str| format!("{WORKSPACES}/{{workspace}}{rest}");
    Routes::new()
        .route("/v1/groups", get(groups::list))
        .route(
            "/v1/groups/{group}",
            get(groups::get)
                .head(groups::head)
                .put(groups::put)
                .delete(groups::delete),
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
            post(remote_login::of_cluster),
        )
        .route(&at("/fileservers"), get(file_servers::list))
        .route(
            &at("/fileservers/{fileServer}"),
            get(file_servers::get)
                .put(file_servers::put)
                .delete(file_servers::delete),
        )
        .merge(server_file_routes(&at("/fileservers/{fileServer}")))
        .route(&at("/experiments"), get(experiments::list))
        .route(
            &at("/experiments/{experiment}"),
            get(experiments::get)
                .put(experiments::put)
                .delete(experiments::delete),
        )
        .merge(job_routes(&at("/experiments/{experiment}/jobs")))
}

fn server_file_routes(file_server: &str) -> Routes {
    let at = |rest: &str| format!("{file_server}{rest}");
    Routes::new()
        .route(
            &at("/files"),
            get(server_files::files).delete(server_files::files),
        )
        .route(
            &at("/content"),
            get(server_files::content).put(server_files::content),
        )
        .route(&at("/directories"), put(server_files::directories))
        .route(&at("/links"), put(server_files::links))
        .route(
            &at("/uploads/{upload}"),
            get(server_files::upload)
                .put(server_files::upload)
                .post(server_files::upload)
                .delete(server_files::upload),
        )
}

fn job_routes(jobs: &str) -> Routes {
    let at = |rest: &str| format!("{jobs}/{{job}}{rest}");
    Routes::new()
        .route(jobs, get(jobs::list))
        .route(
            &at(""),
            get(jobs::get).put(create::put).delete(jobs::delete),
        )
        .route(&at("/terminate"), post(jobs::terminate))
        .route(&at("/listoutputfiles"), post(output::list))
        .route(&at("/plan"), get(plan::get).post(plan::dry_run))
        .route(&at("/events"), get(job_events::get))
        .route(&at("/logs"), get(logs::get))
        .route(&at("/samples"), get(samples::get))
        .route(
            &at("/listremotelogininformation"),
            post(remote_login::of_job),
        )
}

/// What belongs to no workspace.
fn daemon() -> Routes {
    Routes::new()
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/nodes/{node}", get(nodes::get).delete(nodes::remove))
        .route("/v1/nodes/{node}/drain", post(nodes::drain))
        .route("/v1/nodes/{node}/resume", post(nodes::resume))
        .route("/v1/join", post(join::join))
        .route("/v1/export", post(export::export))
        .route("/v1/plugins", get(meta::plugins))
        .route("/v1/version", get(meta::version))
        .route("/v1/events", get(events::get))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route(
            "/v1/tokens/{token}",
            get(tokens::get).delete(tokens::revoke),
        )
        .route("/v1/openapi.json", get(openapi::get))
        .route("/v1/operations/{id}", get(operation::status))
        .route("/v1/operations/{id}/result", get(operation::result))
        .route("/v1/usages", get(usages::list))
        .route("/v1/usage", get(daily_usage::list))
        .route("/metrics", get(metrics::get))
        .route("/v1/catalogue", get(catalogue::list))
        .route("/files/{token}/{name}", get(link::download))
        .route("/healthz", get(meta::health))
        .route("/readyz", get(meta::ready))
}
