//! Who uses a GPU that no job has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::driver::OccupancyReading;

/// No process is named longer than this.
const NAME_CHARACTERS_MAX: usize = 40;

/// What an idle GPU may have in use, whatever was seen of it: the driver's own part.
const IDLE_BYTES_MAX: u64 = 1 << 30;

/// More than it was seen to have when idle by this much is somebody's.
const SLACK_BYTES: u64 = 256 << 20;

/// A process that uses a GPU and belongs to no job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stranger {
    pub(super) pid: u32,
    /// What it is called; none if it cannot be seen from here.
    pub(super) name: Option<String>,
}

/// What a GPU without a job is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Occupancy {
    Free,
    /// Processes of a job that is over are still on their way out.
    Leaving,
    Strangers(Vec<Stranger>),
    /// Memory is in use, and nobody uses it.
    MemoryHeld {
        used_bytes: u64,
    },
}

impl Occupancy {
    /// What is said about it, if it keeps jobs away.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            Self::Free | Self::Leaving => None,
            Self::Strangers(strangers) => {
                let names: Vec<String> = strangers.iter().map(ToString::to_string).collect();
                Some(format!(
                    "used by {}, which belongs to no job; end it, or leave the GPU to it",
                    names.join(", ")
                ))
            }
            // No number: it may change all the time, and nothing depends on it.
            Self::MemoryHeld { .. } => Some(
                "memory of the GPU is in use although no process is; if it stays so, reset the \
                 GPU (nvidia-smi --gpu-reset)"
                    .to_owned(),
            ),
        }
    }
}

impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name.as_deref().unwrap_or("not visible here");
        write!(f, "process {} ({name})", self.pid)
    }
}

/// How much memory an idle GPU has in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IdleMemory(Option<u64>);

impl IdleMemory {
    /// Whether the memory is free; learns from what is seen.
    fn is_free(&mut self, reading: &OccupancyReading) -> bool {
        let (Some(used), Some(total)) = (reading.memory_used_bytes, reading.memory_total_bytes)
        else {
            return true;
        };
        let ceiling = IDLE_BYTES_MAX.min(total / 8);
        let idle = self.0.unwrap_or(ceiling).min(used).min(ceiling);
        self.0 = Some(idle);
        used <= idle.saturating_add(SLACK_BYTES.min(total / 16))
    }
}

/// Looks who a process is.
pub(super) trait Processes {
    /// Whom it belongs to.
    fn owner(&self, pid: u32) -> Owner;
}

/// Whom a process belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A job of this node.
    Job,
    Stranger(String),
    /// It is gone, or in a place that cannot be seen.
    Unseen,
}

/// What a reading amounts to for a GPU that no job has.
pub(super) fn judge(
    reading: &OccupancyReading,
    idle: &mut IdleMemory,
    processes: &dyn Processes,
) -> Occupancy {
    let mut strangers = BTreeSet::new();
    let mut has_jobs = false;
    for &pid in &reading.pids {
        let name = match processes.owner(pid) {
            Owner::Job => {
                has_jobs = true;
                continue;
            }
            Owner::Stranger(name) => Some(name),
            Owner::Unseen => None,
        };
        strangers.insert(Stranger { pid, name });
    }
    if !strangers.is_empty() {
        Occupancy::Strangers(strangers.into_iter().collect())
    } else if has_jobs {
        Occupancy::Leaving
    } else if idle.is_free(reading) {
        Occupancy::Free
    } else {
        Occupancy::MemoryHeld {
            used_bytes: reading.memory_used_bytes.unwrap_or(0),
        }
    }
}

/// The machine's processes as the kernel tells of them.
#[derive(Clone, Debug)]
pub(super) struct ProcessTable {
    /// `/proc`.
    root: PathBuf,
    /// Where the runs of this node have their records: a job's control group is named as its run
    /// is, whichever daemon started it.
    runs: PathBuf,
}

impl ProcessTable {
    pub(super) fn new(root: impl Into<PathBuf>, runs: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            runs: runs.into(),
        }
    }
}

impl Processes for ProcessTable {
    fn owner(&self, pid: u32) -> Owner {
        let process = self.root.join(pid.to_string());
        let Ok(groups) = std::fs::read_to_string(process.join("cgroup")) else {
            return Owner::Unseen;
        };
        if groups
            .lines()
            .flat_map(components)
            .any(|name| self.runs.join(name).is_dir())
        {
            return Owner::Job;
        }
        Owner::Stranger(name(&process))
    }
}

/// The names in the path of `4:memory:/lote/jobs/uid.1`.
fn components(line: &str) -> impl Iterator<Item = &str> {
    let path = line.splitn(3, ':').nth(2).unwrap_or_default();
    path.split('/')
        .filter(|name| !name.is_empty() && *name != "." && *name != "..")
}

/// Only what the program is called: its arguments may hold secrets.
fn name(process: &Path) -> String {
    let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    let plain = name.trim().chars().filter(|c| !c.is_control());
    plain.take(NAME_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    struct Fixed(fn(u32) -> Owner);

    impl Processes for Fixed {
        fn owner(&self, pid: u32) -> Owner {
            (self.0)(pid)
        }
    }

    const NOBODY: Fixed = Fixed(|_| Owner::Unseen);

    fn reading(pids: &[u32], used: u64) -> OccupancyReading {
        OccupancyReading {
            pids: pids.to_vec(),
            memory_used_bytes: Some(used),
            memory_total_bytes: Some(80 * GIB),
        }
    }

    #[test]
    fn the_driver_has_a_part_of_the_memory_for_itself() {
        let mut idle = IdleMemory::default();
        assert_eq!(
            judge(&reading(&[], GIB / 2), &mut idle, &NOBODY),
            Occupancy::Free
        );
        // Known now, so that less is enough to see a leak.
        let held = judge(&reading(&[], GIB), &mut idle, &NOBODY);
        assert_eq!(held, Occupancy::MemoryHeld { used_bytes: GIB });
        assert_eq!(
            judge(&reading(&[], GIB / 2 + 1), &mut idle, &NOBODY),
            Occupancy::Free
        );
    }

    #[test]
    fn a_leak_from_before_the_first_look_is_seen() {
        let mut idle = IdleMemory::default();
        let held = judge(&reading(&[], 20 * GIB), &mut idle, &NOBODY);
        assert!(matches!(held, Occupancy::MemoryHeld { .. }));
        assert_eq!(judge(&reading(&[], 1), &mut idle, &NOBODY), Occupancy::Free);
        let silent = OccupancyReading::default();
        assert_eq!(
            judge(&silent, &mut IdleMemory::default(), &NOBODY),
            Occupancy::Free
        );
    }

    #[test]
    fn processes_of_jobs_leave_and_others_are_named() {
        let processes = Fixed(|pid| match pid {
            1 => Owner::Job,
            2 => Owner::Stranger("python3".into()),
            _ => Owner::Unseen,
        });
        let mut idle = IdleMemory::default();
        let leaving = judge(&reading(&[1], 9 * GIB), &mut idle, &processes);
        assert_eq!((leaving.message(), leaving), (None, Occupancy::Leaving));
        let found = judge(&reading(&[3, 1, 2, 2], 0), &mut idle, &processes);
        let message = found.message().unwrap();
        let expected = "used by process 2 (python3), process 3 (not visible here), which";
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    fn a_process_is_a_jobs_by_its_control_group() {
        let root = tempfile::tempdir().unwrap();
        let (proc, runs) = (root.path().join("proc"), root.path().join("run"));
        std::fs::create_dir_all(runs.join("uid.1")).unwrap();
        for (pid, groups, name) in [
            ("10", "4:memory:/lote/jobs/uid.1\n0::/\n", "python3\n"),
            ("11", "0::/system.slice/uid.1x/lote\n", "ollama\u{7}\n"),
            ("12", "0::/system.slice/uid.1/deep\n", "python3\n"),
        ] {
            let process = proc.join(pid);
            std::fs::create_dir_all(&process).unwrap();
            std::fs::write(process.join("cgroup"), groups).unwrap();
            std::fs::write(process.join("comm"), name).unwrap();
        }
        let table = ProcessTable::new(proc, runs);
        assert_eq!(table.owner(10), Owner::Job);
        assert_eq!(table.owner(11), Owner::Stranger("ollama".into()));
        assert_eq!(table.owner(12), Owner::Job);
        assert_eq!(table.owner(13), Owner::Unseen);
    }
}
