//! What jobs do, and what workspaces have used.

use jiff::civil::Date;
use lote_model::daily_usage::DailyUsage;
use lote_model::sample::JobSample;
use serde::Deserialize;

/// What a running job does on each of its nodes.
#[derive(Clone, Debug, Deserialize)]
pub struct JobSamples {
    /// Its nodes in rank order.
    pub value: Vec<NodeSeries>,
}

/// What one node tells of a job.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeSeries {
    /// The node.
    pub node: String,
    /// Oldest first.
    pub samples: Vec<JobSample>,
    /// Why nothing is told.
    #[serde(default)]
    pub error: Option<String>,
}

/// What a workspace used on one day.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkspaceDay {
    /// The workspace's group.
    pub group: String,
    /// The workspace.
    pub workspace: String,
    /// The day, in UTC.
    pub day: Date,
    /// What was used.
    #[serde(flatten)]
    pub usage: DailyUsage,
}
