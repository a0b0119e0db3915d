//! What a job used, as counted by the kernel.

use serde::{Deserialize, Serialize};

/// The resource account of a job or of its part on one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Account {
    /// Processor time, all processes together.
    pub cpu_seconds: f64,
    /// The highest memory use of one node, in bytes.
    pub memory_peak_bytes: u64,
    /// Time the nodes were held: seconds times nodes.
    pub node_seconds: f64,
    /// Time the GPUs were held: seconds times GPUs.
    pub gpu_seconds: f64,
}

impl Account {
    /// The account of both together.
    #[must_use]
    pub fn plus(&self, other: &Account) -> Account {
        Account {
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            memory_peak_bytes: self.memory_peak_bytes.max(other.memory_peak_bytes),
            node_seconds: self.node_seconds + other.node_seconds,
            gpu_seconds: self.gpu_seconds + other.gpu_seconds,
        }
    }
}
