//! What a job used.

use std::path::{Path, PathBuf};

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
    /// How long its threads had to wait because the job was over its limit of processor time.
    pub cpu_throttled_seconds: Option<f64>,
    /// Read from disks. What others read into the cache before is not counted.
    pub read_bytes: Option<u64>,
    /// Written to disks. On v1 without what the kernel writes from the cache later on.
    pub written_bytes: Option<u64>,
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
        let cpu = text("cpu.stat")?;
        self.cpu_seconds = keyed(&cpu, "usage_usec").map(|n| seconds(n, 1e6));
        self.cpu_throttled_seconds = keyed(&cpu, "throttled_usec").map(|n| seconds(n, 1e6));
        self.memory_peak_bytes = number(&text("memory.peak")?);
        self.oom_kills = keyed(&text("memory.events")?, "oom_kill").unwrap_or(0);
        self.pids_peak = number(&text("pids.peak")?);
        self.pids_limit_hits = keyed(&text("pids.events")?, "max").unwrap_or(0);
        if let Some(io) = read(&directory.join("io.stat"))? {
            self.read_bytes = Some(total(&io, |field| field.strip_prefix("rbytes=")));
            self.written_bytes = Some(total(&io, |field| field.strip_prefix("wbytes=")));
        }
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
            Controller::Cpu => {
                let throttled = keyed(&text("cpu.stat")?, "throttled_time");
                self.cpu_throttled_seconds = throttled.map(|n| seconds(n, 1e9));
            }
            Controller::Io => {
                if let Some(io) = read(&directory.join(IO_SERVICE_BYTES))? {
                    self.read_bytes = Some(operation(&io, "Read"));
                    self.written_bytes = Some(operation(&io, "Write"));
                }
            }
            Controller::Freezer | Controller::Cpuset | Controller::Devices => {}
        }
        Ok(())
    }
}

/// Processor time in seconds and memory in bytes that a job's cgroup uses at the moment, as far as
/// the kernel counts them there. It has one directory per hierarchy.
pub(crate) fn current(directories: &[PathBuf]) -> (Option<f64>, Option<u64>) {
    let text = |directory: &Path, file: &str| read(&directory.join(file)).ok().flatten();
    let cpu = |directory: &PathBuf| {
        if let Some(nanoseconds) = number(&text(directory, "cpuacct.usage").unwrap_or_default()) {
            return Some(seconds(nanoseconds, 1e9));
        }
        let used = keyed(&text(directory, "cpu.stat")?, "usage_usec")?;
        Some(seconds(used, 1e6))
    };
    let memory = |directory: &PathBuf| {
        let files = ["memory.current", "memory.usage_in_bytes"];
        files
            .iter()
            .find_map(|file| number(&text(directory, file)?))
    };
    (
        directories.iter().find_map(cpu),
        directories.iter().find_map(memory),
    )
}

/// The account of disk transfers on v1 that does not depend on the disks' scheduler.
const IO_SERVICE_BYTES: &str = "blkio.throttle.io_service_bytes_recursive";

/// The sum over all disks of one field of `io.stat`: `8:0 rbytes=1 wbytes=2 …`.
fn total<'a>(text: &'a str, field: impl Fn(&'a str) -> Option<&'a str>) -> u64 {
    let values = text.split_whitespace().filter_map(field).filter_map(number);
    values.sum()
}

/// The sum over all disks of one kind of transfer on v1: `8:0 Read 4096`.
fn operation(text: &str, kind: &str) -> u64 {
    let of_disk = |line: &str| {
        let mut words = line.split_whitespace();
        let is_disk = words.next()?.contains(':');
        let wanted = is_disk && words.next()? == kind;
        wanted.then(|| words.next().and_then(number))?
    };
    text.lines().filter_map(of_disk).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchies_are_read() {
        let root = tempfile::tempdir().unwrap();
        let group = |name: &str, files: &[(&str, &str)]| {
            let directory = root.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            for (file, text) in files {
                std::fs::write(directory.join(file), text).unwrap();
            }
            directory
        };
        let unified = group(
            "unified",
            &[
                ("cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
                ("memory.current", "4096\n"),
            ],
        );
        let cpu = group(
            "cpu",
            &[
                ("cpuacct.usage", "1500000000\n"),
                ("cpu.stat", "nr_periods 0\n"),
            ],
        );
        let memory = group("memory", &[("memory.usage_in_bytes", "8192\n")]);
        assert_eq!(current(&[unified]), (Some(2.5), Some(4096)));
        assert_eq!(current(&[memory, cpu]), (Some(1.5), Some(8192)));
        assert_eq!(current(&[]), (None, None));
    }
}
