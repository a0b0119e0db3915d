//! `GET …/jobs/{job}/samples`: what a running job does on each of its nodes, from the last hour or
//! so. Each node keeps its own samples in memory; those of others are asked for there.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use lote_model::id::NodeName;
use lote_model::path::JobPath;
use lote_model::sample::JobSample;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Job;
use crate::error::{Answer, ApiError};
use crate::peers::{self, Errand};
use crate::request::At;
use crate::state::ApiState;

/// The most that is read of another daemon's answer, in bytes: some thousand samples of a machine
/// with many GPUs.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What one node tells, and why not if it does not.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeSeries {
    node: NodeName,
    samples: Vec<JobSample>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a daemon tells another.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Series {
    samples: Vec<JobSample>,
}

pub(crate) async fn get(State(state): State<ApiState>, At(path): At<JobPath>) -> Answer {
    let job = Job::read(state.store(), &path).await?;
    let nodes = job.status().map(|status| status.nodes.clone());
    let asked = nodes
        .unwrap_or_default()
        .into_iter()
        .map(|node| of_node(&state, &job, node));
    // A node that is silent holds up none but itself.
    let value = futures_util::future::join_all(asked).await;
    Ok(Json(json!({ "value": value })).into_response())
}

/// The same for another daemon: this node's samples only.
pub(crate) fn here(state: &ApiState, job: &Job) -> Response {
    let samples = own(state, job);
    Json(Series { samples }).into_response()
}

fn own(state: &ApiState, job: &Job) -> Vec<JobSample> {
    let telemetry = &state.config.telemetry;
    telemetry.job(&job.record.value.uid).unwrap_or_default()
}

async fn of_node(state: &ApiState, job: &Job, node: NodeName) -> NodeSeries {
    let samples = if node == state.config.node {
        Ok(own(state, job))
    } else {
        fetch(state, job, &node).await
    };
    let (samples, error) = match samples {
        Ok(samples) => (samples, None),
        Err(error) => (Vec::new(), Some(error.problem.message)),
    };
    NodeSeries {
        node,
        samples,
        error,
    }
}

async fn fetch(state: &ApiState, job: &Job, node: &NodeName) -> Result<Vec<JobSample>, ApiError> {
    let errand = Errand::samples(&job.record.value);
    let answer = peers::ask(state, node, errand).await?;
    let answer = peers::passed_on(node, answer).await?;
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    let unreadable = |error: &dyn std::fmt::Display| {
        ApiError::internal(&format!(
            "the samples of node {node} cannot be read: {error}"
        ))
    };
    let bytes = body.collect().await.map_err(|error| unreadable(&error))?;
    let series = serde_json::from_slice::<Series>(&bytes.to_bytes());
    series
        .map(|series| series.samples)
        .map_err(|error| unreadable(&error))
}
