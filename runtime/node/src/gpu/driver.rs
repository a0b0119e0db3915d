//! What is asked of a GPU driver, and what it answers. The only seam of this module: NVML is
//! behind it, or a fake of a test.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Everything that the driver knows of the machine's GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MachineReading {
    pub(super) driver_version: String,
    /// As NVML counts: 13000 is 13.0.
    pub(super) cuda_version: Option<u32>,
    /// How many GPUs the driver counts.
    pub(super) count: u32,
    /// The GPUs that answer. One that the driver counts and cannot open is not among them.
    pub(super) devices: Vec<DeviceReading>,
    /// The nearest common point of each GPU and each, in the order of `devices`.
    pub(super) ancestors: Vec<Vec<Option<Ancestor>>>,
}

/// What one GPU is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DeviceReading {
    /// NVML's number of it, which holds until the driver is loaded anew.
    pub(super) index: u32,
    pub(super) uuid: String,
    pub(super) model: String,
    pub(super) minor: u32,
    pub(super) memory_bytes: u64,
    /// As NVML writes it: `00000000:1B:00.0`.
    pub(super) bus_id: String,
    /// Whether MIG divides it, into any number of instances.
    pub(super) is_divided: bool,
    pub(super) instances: Vec<InstanceReading>,
    /// The bus id of what is at the other end of each NVLink that is up.
    pub(super) links: Vec<String>,
}

/// What one MIG instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InstanceReading {
    pub(super) uuid: String,
    /// NVML's name of it: the model, `MIG` and the profile.
    pub(super) name: String,
    pub(super) gpu_instance: u32,
    pub(super) compute_instance: u32,
    pub(super) memory_bytes: u64,
}

/// The nearest point that the ways of two GPUs to memory have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ancestor {
    Board,
    PcieSwitch,
    PcieSwitches,
    HostBridge,
    NumaNode,
    System,
}

/// How a GPU or an instance is found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// By NVML's index, because asking so touches no other GPU, which may be ill. One that did
    /// not answer has none: its number may be another's by now.
    Whole {
        index: Option<u32>,
        uuid: String,
    },
    Instance {
        uuid: String,
    },
}

impl Place {
    /// The same by its id alone.
    pub(super) fn without_index(&self) -> Self {
        match self {
            Self::Whole { uuid, .. } => Self::Whole {
                index: None,
                uuid: uuid.clone(),
            },
            Self::Instance { .. } => self.clone(),
        }
    }

    pub(super) fn uuid(&self) -> &str {
        match self {
            Self::Whole { uuid, .. } | Self::Instance { uuid } => uuid,
        }
    }
}

/// What a GPU did just now. What the driver does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ActivityReading {
    pub(super) utilization: Option<u32>,
    pub(super) memory_utilization: Option<u32>,
    pub(super) memory_used_bytes: Option<u64>,
    pub(super) memory_free_bytes: Option<u64>,
    pub(super) power_milliwatts: Option<u32>,
    pub(super) sm_clock_mhz: Option<u32>,
    pub(super) memory_clock_mhz: Option<u32>,
    pub(super) throttle: Option<Throttle>,
    /// Only where it was asked for: the GPU's own processor takes milliseconds to answer.
    pub(super) slow: Option<SlowReading>,
}

/// The part of a reading that takes milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SlowReading {
    pub(super) energy_millijoules: Option<u64>,
    pub(super) temperature_celsius: Option<u32>,
    pub(super) ecc_corrected: Option<u64>,
    pub(super) ecc_uncorrected: Option<u64>,
}

/// What holds the clocks back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Throttle {
    pub(super) heat: bool,
    /// The power supply or the slot asks for less.
    pub(super) power_brake: bool,
    /// The limit on power. Under full load that is the rule, and nothing is wrong.
    pub(super) power_limit: bool,
}

impl Throttle {
    pub(super) fn any(self) -> bool {
        self.heat || self.power_brake || self.power_limit
    }
}

/// What is read now and then to see whether a GPU is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HealthReading {
    pub(super) ecc_uncorrected: Option<u64>,
    pub(super) pages_pending: Option<bool>,
    pub(super) rows_pending: Option<bool>,
    pub(super) rows_failed: Option<bool>,
    pub(super) links: Vec<LinkErrors>,
}

/// The error counters of one NVLink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkErrors {
    pub(super) link: u32,
    /// The link was lost and found again.
    pub(super) recoveries: u64,
    /// Something was sent again, or arrived damaged.
    pub(super) replays: u64,
}

/// Who uses a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OccupancyReading {
    /// Processes with a compute context.
    pub(super) pids: Vec<u32>,
    pub(super) memory_used_bytes: Option<u64>,
    pub(super) memory_total_bytes: Option<u64>,
}

/// Something that the driver said unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GpuEvent {
    Xid { uuid: String, number: u64 },
    UncorrectedEcc { uuid: String },
}

/// Why the driver gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DriverError {
    #[error("the GPU has fallen off the bus")]
    Lost,
    #[error("the GPU must be reset before it can be used again")]
    ResetRequired,
    /// The library must be loaded anew.
    #[error("the driver is gone: {0}")]
    Gone(String),
    /// There is no driver, or it cannot be used.
    #[error("{0}")]
    Unusable(String),
    #[error("the driver says: {0}")]
    Refused(String),
}

/// A driver that has been loaded. Any call may hang for ever.
pub(super) trait Driver: Send + Sync {
    /// How many GPUs there are. While it stays the same, each keeps its index.
    fn count(&self) -> Result<u32, DriverError>;
    fn machine(&self) -> Result<MachineReading, DriverError>;
    fn activity(&self, place: &Place, slow: bool) -> Result<ActivityReading, DriverError>;
    fn health(&self, place: &Place) -> Result<HealthReading, DriverError>;
    fn occupancy(&self, place: &Place) -> Result<OccupancyReading, DriverError>;
    /// Waits for events and hands each on, or nothing every second or so, until `tell` answers
    /// that it wants no more.
    fn events(&self, tell: &mut dyn FnMut(Option<GpuEvent>) -> bool) -> Result<(), DriverError>;
}

/// Finds the driver, again and again.
pub(super) trait LoadDriver: Send {
    fn load(&self) -> Result<Arc<dyn Driver>, DriverError>;
}
