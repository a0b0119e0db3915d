//! Every time and number of the leader that can be set.

use jiff::SignedDuration;
use lote_model::fencing;

pub use crate::driver::Leadership;

/// Settings of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether others can lead.
    pub leadership: Leadership,
    /// How long a node's lease may be missing before its jobs are given up. Long enough for a
    /// restart of the daemon, during which jobs go on; and never shorter than the nodes count on
    /// ([`fencing`]), or a node that is only cut off may run what another does.
    pub node_lost_after: SignedDuration,
    /// How long a job waits before its status says why. Shorter waits are nobody's question and
    /// would cost a write each.
    pub explain_after: SignedDuration,
    /// How often explanations are looked at again.
    pub explain_every: SignedDuration,
    /// How many explanations are written each time; the rest follow the next time. Keeps a
    /// thousand waiting jobs from becoming a thousand writes at once.
    pub explanations_max: usize,
    /// How many ports a job gets on each node: enough for a process per GPU and some more.
    pub ports_per_allocation: u16,
    /// How long a node that nobody needs stays with a cluster that scales automatically. A
    /// second, so that jobs that follow each other do not move the node back and forth; a
    /// cluster that is short of nodes gets it at once.
    pub idle_delay: SignedDuration,
    /// After how long the use of nodes counts half in the shares of workspaces.
    pub usage_half_life: SignedDuration,
    /// The labels of nodes that say which are near each other, the narrowest first: nodes of one
    /// switch are nearer to each other than those of one rack.
    pub nearness: Vec<String>,
    /// When machines are switched off and on; none where nobody can switch them.
    pub power: Option<PowerPolicy>,
    /// How many plugin calls run at once.
    pub planners: usize,
}

/// When machines are switched off and on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerPolicy {
    /// How long a machine is idle in the pool before it is switched off; none for never.
    pub off_after: Option<SignedDuration>,
    /// How many idle machines of each size stay on.
    pub keep_powered: usize,
    /// Whether machines are woken by their hardware addresses, so that those without stay on.
    pub needs_mac_address: bool,
    /// How long a machine may take to come back.
    pub on_within: SignedDuration,
    /// How long one may take to fall silent.
    pub off_within: SignedDuration,
}

impl Default for PowerPolicy {
    fn default() -> Self {
        Self {
            off_after: None,
            keep_powered: 0,
            needs_mac_address: false,
            // A server with eight GPUs and much memory takes up to ten.
            on_within: SignedDuration::from_mins(15),
            off_within: SignedDuration::from_mins(5),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            leadership: Leadership::Sole,
            node_lost_after: SignedDuration::from_secs(fencing::LOST_AFTER.as_secs().cast_signed()),
            explain_after: SignedDuration::from_secs(2),
            explain_every: SignedDuration::from_secs(1),
            explanations_max: 64,
            ports_per_allocation: 16,
            idle_delay: SignedDuration::from_secs(1),
            usage_half_life: SignedDuration::from_hours(24),
            nearness: vec!["switch".to_owned(), "rack".to_owned()],
            power: None,
            planners: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}
