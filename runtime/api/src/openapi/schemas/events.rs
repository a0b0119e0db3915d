//! The data of events about a job. Each event has a name, the store's revision
//! as its id, and one of these as JSON.

use utoipa::ToSchema;

use super::error::BatchAIError;
use super::job::ExecutionState;
use super::job_lote::{LoteAccount, LoteDirectory};

/// The data of an event `job`: the user wants something else of the job.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteJobEvent {
    /// The job.
    uid: String,
    /// Since when it shall end.
    #[schema(format = DateTime, required)]
    terminate_requested_at: Option<String>,
    /// Since when it shall be gone.
    #[schema(format = DateTime, required)]
    delete_requested_at: Option<String>,
}

/// The data of an event `status`: what the leader has made of the job. The stream ends after one with a final state.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteStatusEvent {
    /// The job.
    uid: String,
    /// Where it is in its life.
    state: ExecutionState,
    /// Since when it is there.
    #[schema(format = DateTime)]
    state_since: String,
    /// How often it was given nodes.
    attempt: i64,
    /// Its nodes in rank order.
    nodes: Option<Vec<String>>,
    /// Why the attempt before was given up, once there was one.
    requeued: Option<BatchAIError>,
    /// How many attempts are not counted, because nodes were withdrawn from the cluster.
    uncounted_attempts: Option<i64>,
    /// When it last got its nodes.
    #[schema(format = DateTime)]
    start_time: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    end_time: Option<String>,
    /// The exit code that decided.
    exit_code: Option<i32>,
    /// Why it failed.
    errors: Option<Vec<BatchAIError>>,
    /// Why it is being ended: `kind`, and further members that depend on it.
    #[schema(value_type = Option<Object>)]
    ending: Option<()>,
    /// Why it waits.
    waiting: Option<String>,
    /// Where its output directories lie.
    directories: Option<Vec<LoteDirectory>>,
    /// What it used.
    account: Option<LoteAccount>,
}

/// The data of an event `report`: how one node's part of the job fares.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteReportEvent {
    /// The job.
    uid: String,
    /// The node.
    node: String,
    /// Which start of the job it is about.
    attempt: i64,
    /// The node's position in the job.
    rank: i64,
    /// How far the node is: `name` is `preparing`, `prepared`, `running`, `primariesDone` or `ended`, further members depend on it.
    #[schema(value_type = Object)]
    phase: (),
    /// Where the job's directories are there.
    directories: Option<Vec<LoteDirectory>>,
    /// When it came so far.
    #[schema(format = DateTime)]
    at: String,
}

/// The data of an event `deleted`, the last one: the job is gone.
#[derive(ToSchema)]
pub(crate) struct LoteDeletedEvent {
    /// The job.
    uid: String,
}
