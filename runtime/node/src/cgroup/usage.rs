//! What a job used.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::CgroupError;
use super::files::{keyed, number, read};
use super::job::{JobCgroup, child_names};
use super::layout::Controller;

/// The account of a job's cgroup. `None` where this kernel keeps no such account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupUsage {
    /// Processor time of all processes, dead ones included.
    pub cpu_seconds: Option<f64>,
    /// Most memory in use at one time, file cache included.
    pub memory_peak_bytes: Option<u64>,
    /// Processes that the kernel killed because the job was over its memory limit.
    pub oom_kills: u64,
    /// Most processes and threads at one time.
    pub pids_peak: Option<u64>,
    /// How often a fork was refused by the limit on processes.
    pub pids_limit_hits: u64,
}

impl JobCgroup {
    /// Reads the account; to be read before [`remove`](JobCgroup::remove).
    pub fn usage(&self) -> Result<CgroupUsage, CgroupError> {
        let mut usage = CgroupUsage::default();
        if let Some(directory) = &self.v2 {
            usage.add_v2(directory)?;
        }
        for (controllers, directory) in &self.v1 {
            for controller in controllers {
                usage.add_v1(*controller, directory)?;
            }
        }
        Ok(usage)
    }
}

impl CgroupUsage {
    fn add_v2(&mut self, directory: &Path) -> Result<(), CgroupError> {
        let text = |file: &str| Ok(read(&directory.join(file))?.unwrap_or_default());
        self.cpu_seconds = keyed(&text("cpu.stat")?, "usage_usec").map(|n| seconds(n, 1e6));
        self.memory_peak_bytes = number(&text("memory.peak")?);
        self.oom_kills = keyed(&text("memory.events")?, "oom_kill").unwrap_or(0);
        self.pids_peak = number(&text("pids.peak")?);
        self.pids_limit_hits = keyed(&text("pids.events")?, "max").unwrap_or(0);
        Ok(())
    }

    fn add_v1(&mut self, controller: Controller, directory: &Path) -> Result<(), CgroupError> {
        let text = |file: &str| Ok(read(&directory.join(file))?.unwrap_or_default());
        match controller {
            Controller::Cpuacct => {
                self.cpu_seconds = number(&text("cpuacct.usage")?).map(|n| seconds(n, 1e9));
            }
            Controller::Memory => {
                self.memory_peak_bytes = number(&text("memory.max_usage_in_bytes")?);
                self.oom_kills = sum(directory, "memory.oom_control", "oom_kill")?;
            }
            Controller::Pids => {
                self.pids_peak = number(&text("pids.peak")?);
                self.pids_limit_hits = sum(directory, "pids.events", "max")?;
            }
            Controller::Cpu | Controller::Freezer => {}
        }
        Ok(())
    }
}

/// v1 counts an event only where it happened, not in the parents as well.
fn sum(directory: &Path, file: &str, key: &str) -> Result<u64, CgroupError> {
    let text = read(&directory.join(file))?.unwrap_or_default();
    let own = keyed(&text, key).unwrap_or(0);
    child_names(directory)?.iter().try_fold(own, |total, name| {
        Ok(total + sum(&directory.join(name), file, key)?)
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 104 days of nanoseconds, then to a fraction of a second"
)]
fn seconds(ticks: u64, ticks_per_second: f64) -> f64 {
    ticks as f64 / ticks_per_second
}
