//! The text of the file and what may stand in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Table;

use crate::code::Code;
use crate::units::Bytes;

/// What is wrong with a file, in words for who wrote it.
#[derive(Debug)]
pub(crate) struct FileError(String);

impl FileError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(crate) fn text(error: toml::de::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The file, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    /// Tells the UUIDs of several machines apart.
    pub(crate) machine: String,
    /// Version of the driver.
    pub(crate) driver: String,
    /// Version of NVML.
    pub(crate) nvml: String,
    /// The newest CUDA, `13.0`.
    pub(crate) cuda: String,
    /// Whether who has device files open is looked for.
    pub(crate) find_processes: bool,
    /// Functions that fail for every GPU, or at all.
    pub(crate) errors: BTreeMap<String, Code>,
    /// Functions that do not return, for every GPU, or at all.
    pub(crate) hangs: BTreeSet<String>,
    /// Where the GPUs are.
    pub(crate) layout: Layout,
    /// The GPUs; each may stand for several.
    pub(crate) gpu: Vec<Table>,
    /// What is different with one GPU, by its number or UUID.
    pub(crate) change: BTreeMap<String, Table>,
    /// What has happened.
    pub(crate) event: Vec<EventLine>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            machine: String::new(),
            driver: "580.159.04".into(),
            nvml: "13.580.159.04".into(),
            cuda: "13.0".into(),
            find_processes: true,
            errors: BTreeMap::new(),
            hangs: BTreeSet::new(),
            layout: Layout::default(),
            gpu: Vec::new(),
            change: BTreeMap::new(),
            event: Vec::new(),
        }
    }
}

impl File {
    pub(crate) fn parse(text: &str) -> Result<Self, FileError> {
        toml::from_str(text).map_err(FileError::text)
    }
}

/// Where the GPUs are, unless one says it itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Layout {
    /// Over how many NUMA nodes the GPUs are spread evenly, in their order.
    pub(crate) numa_nodes: u32,
    /// How many GPUs of a NUMA node share a PCIe switch, in their order.
    pub(crate) gpus_per_switch: u32,
    /// How NVLink connects them.
    pub(crate) nvlink: NvLink,
    /// Direct links: one GPU, the other, how many.
    pub(crate) nvlink_pairs: Vec<(usize, usize, u32)>,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            numa_nodes: 1,
            gpus_per_switch: 1,
            nvlink: NvLink::Word(NvLinkWord::None),
            nvlink_pairs: Vec::new(),
        }
    }
}

/// How NVLink connects the GPUs.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum NvLink {
    Word(NvLinkWord),
    /// GPUs that are all directly connected with each other, by their numbers.
    Islands(Vec<Vec<usize>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NvLinkWord {
    /// Not at all.
    None,
    /// All of them, through switches.
    All,
}

/// A GPU by its number in the file or its UUID.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum GpuName {
    Number(usize),
    Uuid(String),
}

impl GpuName {
    pub(crate) fn from_text(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Uuid(text.to_owned()), Self::Number)
    }
}

/// Something that has happened.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventLine {
    /// Tells events apart, so that each is delivered once.
    pub(crate) id: u64,
    /// Where.
    pub(crate) gpu: GpuName,
    /// An XID error and its number.
    pub(crate) xid: Option<u64>,
    /// Another kind.
    pub(crate) kind: Option<EventKind>,
}

/// Kinds of events besides XID errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventKind {
    SingleBitEcc,
    DoubleBitEcc,
    PerformanceState,
    Clock,
}

/// Whether a GPU is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Presence {
    #[default]
    Present,
    /// Fallen off the bus: still counted, and every call says that it is lost.
    Lost,
    /// Not there any more.
    Gone,
}

/// Clocks in MHz.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Clocks {
    pub(crate) graphics: u32,
    pub(crate) sm: u32,
    pub(crate) memory: u32,
    pub(crate) video: u32,
}

/// What is known of a kind of MIG instance.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MigProfile {
    /// The argument of `nvmlDeviceGetGpuInstanceProfileInfo`.
    pub(crate) argument: u32,
    pub(crate) id: u32,
    pub(crate) slices: u32,
    pub(crate) instances: u32,
    pub(crate) multiprocessors: u32,
    pub(crate) copy_engines: u32,
    pub(crate) decoders: u32,
    pub(crate) jpeg: u32,
    pub(crate) ofa: u32,
    pub(crate) memory_mib: u64,
}

/// A process on a GPU that no open device file tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessLine {
    pub(crate) pid: u32,
    /// Its memory; as every process has if absent.
    pub(crate) memory: Option<Bytes>,
}

/// A GPU, with what its model says and what the file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "they are members of a file")]
pub(crate) struct GpuSpec {
    // What it is.
    pub(crate) name: String,
    pub(crate) brand: u32,
    pub(crate) architecture: u32,
    pub(crate) compute_capability: (i32, i32),
    pub(crate) cores: u32,
    pub(crate) uuid: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) vbios: String,
    pub(crate) inforom: String,
    pub(crate) part_number: String,

    // Where it is.
    pub(crate) minor: Option<u32>,
    pub(crate) device: Option<PathBuf>,
    pub(crate) bus_id: Option<String>,
    pub(crate) pci_device_id: u32,
    pub(crate) pci_subsystem_id: u32,
    pub(crate) pcie_generation: u32,
    pub(crate) pcie_width: u32,
    pub(crate) numa_node: Option<u32>,
    pub(crate) cpus: Option<String>,
    /// The way from the processor: host bridge, then switches, with `/` between.
    pub(crate) pcie: Option<String>,

    // Its memory, and what uses it.
    pub(crate) memory: Bytes,
    pub(crate) memory_reserved: Bytes,
    pub(crate) memory_bus_width: u32,
    #[serde(default)]
    pub(crate) memory_held: Bytes,
    pub(crate) process_memory: Bytes,
    #[serde(default)]
    pub(crate) process: Vec<ProcessLine>,

    // What it does while somebody uses it, and while nobody does.
    pub(crate) utilization: u32,
    pub(crate) memory_utilization: u32,
    pub(crate) power_idle_watts: f64,
    pub(crate) power_busy_watts: f64,
    pub(crate) power_limit_watts: f64,
    pub(crate) power_limit_min_watts: f64,
    pub(crate) temperature_idle: u32,
    pub(crate) temperature_busy: u32,
    pub(crate) temperature_shutdown: u32,
    pub(crate) temperature_slowdown: u32,
    pub(crate) temperature_memory_max: u32,
    pub(crate) temperature_gpu_max: u32,
    pub(crate) clocks_idle: Clocks,
    pub(crate) clocks_busy: Clocks,
    pub(crate) clocks_max: Clocks,
    #[serde(default)]
    pub(crate) accounting: bool,

    // What is wrong with it.
    #[serde(default)]
    pub(crate) state: Presence,
    #[serde(default)]
    pub(crate) throttle: Vec<Throttle>,
    pub(crate) ecc: bool,
    #[serde(default)]
    pub(crate) ecc_corrected: u64,
    #[serde(default)]
    pub(crate) ecc_uncorrected: u64,
    #[serde(default)]
    pub(crate) ecc_corrected_before: u64,
    #[serde(default)]
    pub(crate) ecc_uncorrected_before: u64,
    pub(crate) retires_pages: bool,
    #[serde(default)]
    pub(crate) retired_single_bit: u32,
    #[serde(default)]
    pub(crate) retired_double_bit: u32,
    #[serde(default)]
    pub(crate) retirement_pending: bool,
    pub(crate) remaps_rows: bool,
    #[serde(default)]
    pub(crate) row_banks: u32,
    #[serde(default)]
    pub(crate) remapped_correctable: u32,
    #[serde(default)]
    pub(crate) remapped_uncorrectable: u32,
    #[serde(default)]
    pub(crate) remap_pending: bool,
    #[serde(default)]
    pub(crate) remap_failed: bool,
    #[serde(default)]
    pub(crate) pcie_replays: u32,
    #[serde(default)]
    pub(crate) errors: BTreeMap<String, Code>,
    #[serde(default)]
    pub(crate) hangs: BTreeSet<String>,

    // NVLink.
    pub(crate) nvlink_links: u32,
    pub(crate) nvlink_version: u32,
    #[serde(default)]
    pub(crate) nvlink_down: Vec<u32>,
    #[serde(default)]
    pub(crate) nvlink_errors: Vec<NvLinkErrors>,

    // MIG.
    pub(crate) mig_profiles: BTreeMap<String, MigProfile>,
    #[serde(default)]
    pub(crate) mig_enabled: bool,
    #[serde(default)]
    pub(crate) mig: Vec<String>,
}

/// What one link of a GPU has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NvLinkErrors {
    pub(crate) link: u32,
    pub(crate) replay: u64,
    pub(crate) recovery: u64,
    pub(crate) crc_flit: u64,
    pub(crate) crc_data: u64,
}

/// Why clocks are lower than they could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Throttle {
    SwPowerCap,
    HwSlowdown,
    SyncBoost,
    SwThermal,
    HwThermal,
    HwPowerBrake,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_machine_without_gpus() {
        let file = File::parse("").unwrap();
        assert!(file.gpu.is_empty() && file.find_processes);
    }

    #[test]
    fn what_is_misspelt_is_named() {
        let error = File::parse("drver = \"1\"").unwrap_err().to_string();
        assert!(error.contains("drver"), "{error}");
        let error = File::parse("[errors]\nnvmlInit_v2 = \"DRIVER\"").unwrap_err();
        assert!(error.to_string().contains("NVML_ERROR_DRIVER"), "{error}");
    }

    #[test]
    fn gpus_have_numbers_and_uuids() {
        assert!(matches!(GpuName::from_text("3"), GpuName::Number(3)));
        assert!(matches!(GpuName::from_text("GPU-3"), GpuName::Uuid(_)));
    }
}
