//! Limits of a job, and the files that set them.

use std::path::Path;

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use serde::{Deserialize, Serialize};

use super::devices::{self, DeviceRule};
use super::layout::Controller;
use super::{CgroupError, files};

/// Length of the window in which a quota holds; the kernel's default.
const QUOTA_PERIOD_MICROSECONDS: u64 = 100_000;
/// The smallest memory limit that a process can be set up in: below it the
/// kernel would kill before the command's first instruction.
pub(super) const MEMORY_BYTES_MIN: u64 = 1 << 20;

/// What a job may use on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Weight against other jobs when processors are short, in thousandths of a
    /// processor; `None`: the weight of one processor where it costs nothing.
    pub cpu_share_millis: Option<u64>,
    /// The most it may use even when processors are idle, in the same unit.
    pub cpu_limit_millis: Option<u64>,
    /// Memory and swap together; at least 1 MiB.
    pub memory_bytes: Option<u64>,
    /// Processes and threads at one time.
    pub pids_max: Option<u64>,
    /// The processors and the memory that it is kept to; `None`: all.
    pub cpuset: Option<Cpuset>,
    /// Weight against other jobs when disks are busy, 1 to 1000. Not set where the kernel has no
    /// weights for disks.
    pub io_weight: Option<u16>,
    /// The only devices that it can open; `None`: whatever permissions allow. Whether the
    /// machine can keep it to them: [`CgroupLayout::device_control`](super::CgroupLayout).
    pub devices: Option<Vec<DeviceRule>>,
}

/// Processors and NUMA nodes, as the kernel writes lists of them: `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpuset {
    /// Processors.
    pub cpus: String,
    /// The NUMA nodes whose memory is used.
    pub mems: String,
}

impl Limits {
    /// What is asked of each controller, in words for errors.
    pub(super) fn asked(&self) -> impl Iterator<Item = (Controller, &'static str)> {
        let cpu = self.cpu_share_millis.or(self.cpu_limit_millis).is_some();
        [
            (Controller::Cpu, cpu, "processor time"),
            (Controller::Memory, self.memory_bytes.is_some(), "memory"),
            (
                Controller::Pids,
                self.pids_max.is_some(),
                "the number of processes",
            ),
            (
                Controller::Cpuset,
                self.cpuset.is_some(),
                "which processors are used",
            ),
        ]
        .into_iter()
        .filter_map(|(controller, asked, what)| asked.then_some((controller, what)))
    }

    /// Sets what is asked of one controller in a job's directory of its hierarchy.
    pub(super) fn set(
        &self,
        controller: Controller,
        directory: &Path,
        is_v2: bool,
    ) -> Result<(), CgroupError> {
        let set = match controller {
            Controller::Cpu => self.set_cpu(directory, is_v2),
            Controller::Memory => self.set_memory(directory, is_v2),
            Controller::Pids => self.set_pids(directory, is_v2),
            Controller::Cpuset => self.set_cpuset(directory, is_v2),
            Controller::Devices => devices::set(self.devices.as_deref(), directory),
            Controller::Io => return self.set_io_weight(directory, is_v2),
            Controller::Cpuacct | Controller::Freezer => Ok(()),
        };
        set.map_err(|source| CgroupError::Limit {
            controller,
            directory: directory.into(),
            source,
        })
    }

    fn set_cpu(&self, directory: &Path, is_v2: bool) -> Result<(), cgroups_rs::fs::error::Error> {
        let cpu = CpuController::new(directory.into(), directory.into(), is_v2);
        if let Some(millis) = self.cpu_share_millis {
            cpu.set_shares(if is_v2 {
                weight(millis)
            } else {
                shares(millis)
            })?;
        }
        match self.cpu_limit_millis {
            Some(millis) => cpu.set_cfs_quota(quota(millis)),
            None => Ok(()),
        }
    }

    /// The order matters on v1: the sum with swap may never be the smaller one.
    fn set_memory(
        &self,
        directory: &Path,
        is_v2: bool,
    ) -> Result<(), cgroups_rs::fs::error::Error> {
        let Some(bytes) = self.memory_bytes else {
            return Ok(());
        };
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let memory = MemController::new(directory.into(), directory.into(), is_v2);
        memory.set_limit(bytes)?;
        let (swap_file, swap) = if is_v2 {
            ("memory.swap.max", 0)
        } else {
            ("memory.memsw.limit_in_bytes", bytes)
        };
        // Kernels without swap accounting do not have the file.
        if directory.join(swap_file).exists() {
            memory.set_memswap_limit(swap)
        } else {
            Ok(())
        }
    }

    fn set_pids(&self, directory: &Path, is_v2: bool) -> Result<(), cgroups_rs::fs::error::Error> {
        let Some(count) = self.pids_max else {
            return Ok(());
        };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        PidController::new(directory.into(), directory.into(), is_v2)
            .set_pid_max(MaxValue::Value(count))
    }

    /// A new cgroup of v1 takes no process before both are set.
    fn set_cpuset(
        &self,
        directory: &Path,
        is_v2: bool,
    ) -> Result<(), cgroups_rs::fs::error::Error> {
        let Some(Cpuset { cpus, mems }) = &self.cpuset else {
            return Ok(());
        };
        let cpuset = CpuSetController::new(directory.into(), directory.into(), is_v2);
        cpuset.set_cpus(cpus)?;
        cpuset.set_mems(mems)
    }

    /// By our own hand: the crate knows one name of the file in each version.
    fn set_io_weight(&self, directory: &Path, is_v2: bool) -> Result<(), CgroupError> {
        let Some(weight) = self.io_weight else {
            return Ok(());
        };
        let names = if is_v2 { IO_WEIGHTS_V2 } else { IO_WEIGHTS_V1 };
        for file in names.iter().map(|name| directory.join(name)) {
            if file.exists() {
                files::write(&file, &weight.clamp(1, 1000).to_string())?;
            }
        }
        Ok(())
    }
}

/// The files for the weight of a job's disk transfers: BFQ and io.cost each have their own, and
/// kernels without them have neither.
const IO_WEIGHTS_V1: &[&str] = &["blkio.bfq.weight", "blkio.weight"];
const IO_WEIGHTS_V2: &[&str] = &["io.weight", "io.bfq.weight"];

/// One processor is 1024 shares; the kernel takes 2 to 262144.
fn shares(millis: u64) -> u64 {
    (millis.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

/// One processor is the default weight of 100; the kernel takes 1 to 10000.
fn weight(millis: u64) -> u64 {
    (millis / 10).clamp(1, 10_000)
}

/// The kernel takes no quota below one millisecond.
fn quota(millis: u64) -> i64 {
    let microseconds = millis
        .saturating_mul(QUOTA_PERIOD_MICROSECONDS / 1000)
        .max(1000);
    i64::try_from(microseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_processor_is_the_kernels_default_weight() {
        assert_eq!((shares(1000), weight(1000)), (1024, 100));
    }

    #[test]
    fn two_processors_are_two_windows() {
        assert_eq!(quota(2000), 200_000);
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        for controller in [
            Controller::Cpu,
            Controller::Memory,
            Controller::Pids,
            Controller::Cpuset,
            Controller::Io,
            Controller::Devices,
        ] {
            // The directory does not exist, so any write would fail.
            Limits::default()
                .set(controller, Path::new("/nonexistent"), true)
                .unwrap();
        }
    }

    proptest! {
        #[test]
        fn values_stay_in_the_kernels_range(millis in any::<u64>()) {
            prop_assert!((2..=262_144).contains(&shares(millis)));
            prop_assert!((1..=10_000).contains(&weight(millis)));
            prop_assert!(quota(millis) >= 1000);
        }
    }
}
