//! What a workspace has used of late, from which its fair share follows.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::daily_usage::RunUsage;

/// Use of nodes, worth less the longer ago it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Seconds times nodes, as much as they are worth at the time `at`.
    pub node_seconds: f64,
    /// When they are worth that.
    pub at: Timestamp,
    /// Of one run: what it used whenever that was. None for a sum of runs, whose days are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunUsage>,
}
