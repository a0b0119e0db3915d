//! Who leads.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::NodeName;

/// The daemon that decides: `leader`, bound to its lease. Whatever a leader writes requires the
/// revision of this key under which it was elected, so that a paused one can change nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderRecord {
    /// The node it runs on.
    pub node: NodeName,
    /// Since when it leads.
    pub since: Timestamp,
}
