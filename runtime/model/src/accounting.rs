//! What a job used, as counted by the kernel and by the driver of the GPUs.

use serde::{Deserialize, Serialize};

use crate::id::NodeName;

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
    /// Read from disks, in bytes; absent where the kernel does not count it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Written to disks, in bytes; absent where the kernel does not count it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Each GPU, in the order of the nodes and there of the grant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuAccount>,
}

/// What a job did with one GPU. What the driver does not tell is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuAccount {
    /// Where it is.
    pub node: NodeName,
    /// The driver's id of it.
    pub uuid: String,
    /// The model's name.
    pub model: String,
    /// How long the job held it.
    pub seconds: f64,
    /// How much of that time something ran on it, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization_mean: Option<f64>,
    /// The highest utilisation seen, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization_peak: Option<u32>,
    /// Mean memory in use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mean_bytes: Option<u64>,
    /// The most memory seen in use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Energy that it drew meanwhile, in joules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
    /// How long heat or power held its clocks back, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_seconds: Option<f64>,
}

impl Account {
    /// The account of both together.
    #[must_use]
    pub fn plus(&self, other: &Account) -> Account {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        Account {
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            memory_peak_bytes: self.memory_peak_bytes.max(other.memory_peak_bytes),
            node_seconds: self.node_seconds + other.node_seconds,
            gpu_seconds: self.gpu_seconds + other.gpu_seconds,
            read_bytes: sum(self.read_bytes, other.read_bytes),
            written_bytes: sum(self.written_bytes, other.written_bytes),
            gpus: self.gpus.iter().chain(&other.gpus).cloned().collect(),
        }
    }

    /// Energy that all its GPUs drew, in joules; absent if no driver tells.
    pub fn energy_joules(&self) -> Option<f64> {
        let known = self.gpus.iter().filter_map(|gpu| gpu.energy_joules);
        known.fold(None, |sum, joules| Some(sum.unwrap_or(0.0) + joules))
    }
}
