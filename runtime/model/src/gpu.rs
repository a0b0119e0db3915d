//! GPUs of a node: what they are, how near they are to each other, what is wrong with them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::node::Condition;

/// What a node can give to jobs as one GPU: a whole one, or an instance of one that MIG divides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// The driver's unique id of the GPU (`GPU-…`) or of the instance (`MIG-…`).
    pub uuid: String,
    /// The model's name.
    pub model: String,
    /// Minor number of the GPU's device file.
    pub minor: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Where it is on the PCI bus, `00000000:1b:00.0`; of an instance, where its GPU is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus_id: Option<String>,
    /// The NUMA node it is attached to, if the machine has more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// Which part of which GPU it is; none for a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<MigInstance>,
    /// What is wrong with it. One that blocks jobs keeps this GPU from being given out, and no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl Gpu {
    /// Whether a job may get it.
    pub fn is_schedulable(&self) -> bool {
        !Condition::any_blocks(&self.conditions)
    }
}

/// A part of a GPU that MIG divides: a compute instance with its share of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigInstance {
    /// The driver's id of the GPU.
    pub parent: String,
    /// The GPU instance.
    pub gpu_instance: u32,
    /// The compute instance in it.
    pub compute_instance: u32,
    /// How large it is, as NVIDIA writes it: `1g.10gb`.
    pub profile: String,
}

/// What the driver of a node's GPUs is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuDriver {
    /// Its version, `580.159.04`.
    pub version: String,
    /// The newest CUDA that it runs, `13.0`.
    pub cuda_version: String,
}

/// The way between two GPUs of a node, in the terms and the abbreviations of
/// `nvidia-smi topo -m`. A smaller one is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum GpuDistance {
    /// Both are on one board: the same GPU, or two instances of it (`X`).
    Same,
    /// NVLink, with so many links (`NV12`). Compared as if all were alike.
    NvLink(u8),
    /// At most one PCIe switch (`PIX`).
    PcieSwitch,
    /// Several PCIe switches (`PXB`).
    PcieSwitches,
    /// The PCIe host bridge of a processor (`PHB`).
    HostBridge,
    /// Several host bridges of one NUMA node (`NODE`).
    NumaNode,
    /// From one NUMA node to another (`SYS`).
    System,
}

impl fmt::Display for GpuDistance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("X"),
            Self::NvLink(links) => write!(f, "NV{links}"),
            Self::PcieSwitch => f.write_str("PIX"),
            Self::PcieSwitches => f.write_str("PXB"),
            Self::HostBridge => f.write_str("PHB"),
            Self::NumaNode => f.write_str("NODE"),
            Self::System => f.write_str("SYS"),
        }
    }
}

/// The text is none of the abbreviations of `nvidia-smi topo -m`.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no distance: X, NV1 and so on, PIX, PXB, PHB, NODE or SYS")]
pub struct GpuDistanceError(String);

impl FromStr for GpuDistance {
    type Err = GpuDistanceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let links = text.strip_prefix("NV").map(str::parse);
        match (text, links) {
            (_, Some(Ok(links))) => Ok(Self::NvLink(links)),
            ("X", _) => Ok(Self::Same),
            ("PIX", _) => Ok(Self::PcieSwitch),
            ("PXB", _) => Ok(Self::PcieSwitches),
            ("PHB", _) => Ok(Self::HostBridge),
            ("NODE", _) => Ok(Self::NumaNode),
            ("SYS", _) => Ok(Self::System),
            _ => Err(GpuDistanceError(text.to_owned())),
        }
    }
}

impl From<GpuDistance> for String {
    fn from(distance: GpuDistance) -> Self {
        distance.to_string()
    }
}

impl TryFrom<String> for GpuDistance {
    type Error = GpuDistanceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Processors and memory that are near each other, and near the GPUs attached to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NumaNode {
    /// The kernel's number of it.
    pub id: u32,
    /// How many processors it has that jobs may use.
    pub cpu_cores: u32,
    /// Its memory that jobs may use, in bytes.
    pub memory_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_written_as_the_drivers_tool_writes_them() {
        let all = [
            GpuDistance::Same,
            GpuDistance::NvLink(18),
            GpuDistance::PcieSwitch,
            GpuDistance::PcieSwitches,
            GpuDistance::HostBridge,
            GpuDistance::NumaNode,
            GpuDistance::System,
        ];
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"["X","NV18","PIX","PXB","PHB","NODE","SYS"]"#);
        assert_eq!(
            serde_json::from_str::<Vec<GpuDistance>>(&text).unwrap(),
            all
        );
        assert!(all.is_sorted());
        for bad in ["NV", "NV-1", "NV300", "pix", ""] {
            assert!(bad.parse::<GpuDistance>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_gpu_is_given_out_unless_something_blocks_it() {
        let condition = |blocks_jobs| Condition {
            code: "GpuXid".into(),
            message: "m".into(),
            blocks_jobs,
            since: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut gpu = Gpu::default();
        assert!(gpu.is_schedulable());
        gpu.conditions.push(condition(false));
        assert!(gpu.is_schedulable());
        gpu.conditions.push(condition(true));
        assert!(!gpu.is_schedulable());
    }
}
