//! The few things that other daemons may ask for: what lies on this node.
//!
//! Files of file servers that this node serves: `/peer/v1/fileservers/{group}/{workspace}/{file
//! server}/…`, in the words of the API ([`server_files`]).
//!
//! | GET | What |
//! | --- | --- |
//! | `/peer/v1/files/{token}/{name}` | the file of a signed link |
//! | `/peer/v1/jobs/{group}/{workspace}/{experiment}/{job}/files` | one page of an output directory |
//! | `/peer/v1/jobs/{group}/{workspace}/{experiment}/{job}/logs` | an output file, on request while it is written |
//! | `/peer/v1/jobs/{group}/{workspace}/{experiment}/{job}/samples` | what the job's part here did of late |
//!
//! A POST to `/peer/v1/remote-starts` makes the connection a channel for one remote start inside a
//! gang ([`remote`]).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use lote_model::key;
use lote_model::path::JobPath;

use super::door::FromNode;
use super::remote::{self, RemoteStartDoor};
use crate::error::{Answer, ApiError};
use crate::files::{link, output};
use crate::jobs::{Job, logs, samples};
use crate::page::PageRequest;
use crate::request::{At, Parameters};
use crate::server_files;
use crate::state::ApiState;

/// Where the paths of jobs begin, with names in braces.
const JOB: &str = "/peer/v1/jobs/{group}/{workspace}/{experiment}/{job}";

/// The same of file servers.
const FILE_SERVER: &str = "/peer/v1/fileservers/{group}/{workspace}/{fileServer}";

pub(super) fn router(state: ApiState, starts: Arc<dyn RemoteStartDoor>) -> Router {
    Router::new()
        .route(remote::PATH, post(remote::open).layer(Extension(starts)))
        .route("/peer/v1/files/{token}/{name}", get(link::download_here))
        .route(&format!("{JOB}/files"), get(list))
        .route(&format!("{JOB}/logs"), get(read))
        .route(&format!("{JOB}/samples"), get(measured))
        .route(
            &format!("{FILE_SERVER}/{{what}}"),
            get(server_files::peer)
                .put(server_files::peer)
                .delete(server_files::peer),
        )
        .route(
            &format!("{FILE_SERVER}/uploads/{{upload}}"),
            get(server_files::peer_upload)
                .put(server_files::peer_upload)
                .post(server_files::peer_upload)
                .delete(server_files::peer_upload),
        )
        .fallback(|| async { refused("there is no such operation between daemons") })
        .layer(from_fn_with_state(state.clone(), only_members))
        .with_state(state)
}

/// Lets a request through if its node is still a part of the cluster: a machine
/// that was removed still has its certificate.
async fn only_members(
    State(state): State<ApiState>,
    Extension(FromNode(node)): Extension<FromNode>,
    request: Request,
    next: Next,
) -> Response {
    match state.store().get(&key::node(&node)).await {
        Ok(Some(_)) => next.run(request).await,
        Ok(None) => {
            tracing::warn!(%node, "a daemon that is not in this cluster any more was turned away");
            refused("this node is not in the cluster any more").into_response()
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// 401, which nothing else here answers.
pub(super) fn refused(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "PeerRefused", message)
}

/// The job that is meant, and not another one that has taken its name.
async fn job(state: &ApiState, path: &JobPath, parameters: &Parameters) -> Result<Job, ApiError> {
    let job = Job::read(state.store(), path).await?;
    if parameters.get("uid") == Some(job.record.value.uid.as_str()) {
        return Ok(job);
    }
    let message = format!("the job {} is another one by now", path.job);
    Err(ApiError::not_found("JobNotFound", message))
}

async fn list(
    State(state): State<ApiState>,
    At(path): At<JobPath>,
    parameters: Parameters,
) -> Answer {
    let job = job(&state, &path, &parameters).await?;
    let id = parameters.get("directory").unwrap_or_default();
    let below = output::path_parameter(&parameters, "below")?;
    let request = PageRequest::of(&parameters)?;
    let page = output::page_here(&state, &job, id, &below, request).await?;
    Ok(Json(page).into_response())
}

async fn read(
    State(state): State<ApiState>,
    At(path): At<JobPath>,
    parameters: Parameters,
) -> Answer {
    let job = job(&state, &path, &parameters).await?;
    logs::here(state, job, &parameters).await
}

async fn measured(
    State(state): State<ApiState>,
    At(path): At<JobPath>,
    parameters: Parameters,
) -> Answer {
    let job = job(&state, &path, &parameters).await?;
    Ok(samples::here(&state, &job))
}
