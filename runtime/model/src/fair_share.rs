//! What a workspace has used of late, from which its fair share follows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Use of nodes, worth less the longer ago it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Seconds times nodes, as much as they are worth at the time `at`.
    pub node_seconds: f64,
    /// When they are worth that.
    pub at: Timestamp,
}
