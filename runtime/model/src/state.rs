//! The states of resources, with the words of the Batch AI API.

use serde::{Deserialize, Serialize};

/// Where a job is in its life (capabilities §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionState {
    /// Accepted, waiting for nodes.
    Queued,
    /// Nodes are allocated; preparing or running.
    Running,
    /// Being ended, by the user or by the leader.
    Terminating,
    /// Ended with exit code 0.
    Succeeded,
    /// Ended in any other way.
    Failed,
}

impl ExecutionState {
    /// Whether nothing more will happen to the job.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// How far a resource is with coming to be or going away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProvisioningState {
    /// Accepted, not usable yet.
    Creating,
    /// Usable.
    Succeeded,
    /// Could not be created.
    Failed,
    /// Being removed.
    Deleting,
}

/// Whether a cluster has the nodes it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllocationState {
    /// The node count is what the scale settings ask for.
    #[default]
    Steady,
    /// Nodes are joining or leaving.
    Resizing,
}

/// The order in which waiting jobs are considered; higher first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// After all others.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before all others.
    High,
}
