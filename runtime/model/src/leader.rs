//! Who leads.

use std::collections::BTreeMap;

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

/// What the leader sees at one moment, for whoever measures it. Never stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeaderFigures {
    /// Passes over everything since this daemon leads.
    pub passes: u64,
    /// How long they took together, in seconds.
    pub pass_seconds: f64,
    /// How long the longest took since the figures before these, in seconds.
    pub pass_seconds_max: f64,
    /// What was decided and is not done yet.
    pub actions_under_way: u64,
    /// Jobs that wait, by cluster (`group/workspace/cluster`).
    pub jobs_queued: BTreeMap<String, u64>,
    /// Jobs that hold nodes, by workspace (`group/workspace`).
    pub jobs_running: BTreeMap<String, u64>,
    /// Nodes by what they can do.
    pub nodes: NodeCounts,
    /// GPUs of nodes that live.
    pub gpus: GpuCounts,
}

/// Nodes, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// They have jobs.
    pub busy: u64,
    /// They could take jobs and have none.
    pub idle: u64,
    /// An operator wants no new jobs there.
    pub drained: u64,
    /// Something is wrong with them.
    pub unwell: u64,
    /// Nothing is heard of them.
    pub absent: u64,
}

/// GPUs, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuCounts {
    /// Jobs hold them.
    pub held: u64,
    /// Jobs could get them.
    pub free: u64,
    /// Something is wrong with them.
    pub out_of_service: u64,
}
