//! Whose processor time it was: the daemon's, the spawner's, or the shims'.

use std::path::{Path, PathBuf};

use lote_tests::daemon::Daemon;
use lote_tests::processes::processor_seconds;

/// The spawner's name among the processes.
const SPAWNER: &str = "lote-spawner";

/// A control group around the daemon. Shims stay in it; jobs leave it for their
/// own. So what it has used, less the daemon and the spawner, is the shims'.
#[derive(Debug)]
pub(crate) struct Account {
    directory: PathBuf,
    daemon: u32,
    spawner: Option<u32>,
}

/// Processor time so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) daemon: f64,
    pub(crate) spawner: f64,
    pub(crate) shims: f64,
}

impl Account {
    /// Moves a running daemon and its spawner into a new control group; `None`
    /// if this machine has no hierarchy that counts.
    pub(crate) fn open(daemon: &Daemon) -> Option<Self> {
        let directory = hierarchy()?.join(format!("lote-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).ok()?;
        let account = Self {
            directory,
            daemon: daemon.pid(),
            spawner: child(daemon.pid(), SPAWNER),
        };
        for pid in account.spawner.iter().chain([&account.daemon]) {
            std::fs::write(account.directory.join("cgroup.procs"), pid.to_string()).ok()?;
        }
        Some(account)
    }

    pub(crate) fn used(&self) -> Used {
        let daemon = processor_seconds(self.daemon);
        let spawner = self.spawner.map_or(0.0, processor_seconds);
        Used {
            daemon,
            spawner,
            shims: (seconds(&self.directory) - daemon - spawner).max(0.0),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // It goes when the daemon has left; back to where everything starts.
        if let Some(root) = self.directory.parent() {
            let pids =
                std::fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
            for pid in pids.lines() {
                std::fs::write(root.join("cgroup.procs"), pid).ok();
            }
        }
        std::fs::remove_dir(&self.directory).ok();
    }
}

impl std::ops::Sub for Used {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            daemon: self.daemon - before.daemon,
            spawner: self.spawner - before.spawner,
            shims: self.shims - before.shims,
        }
    }
}

/// The version 2 tree if there is one, because jobs always leave the daemon's
/// group there; else the tree of `cpuacct`.
fn hierarchy() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let mounts: Vec<Vec<&str>> = mounts
        .lines()
        .map(|line| line.split(' ').collect())
        .collect();
    let of_kind = |kind: &str, option: &str| {
        let found = mounts.iter().find(|mount| {
            mount.get(2) == Some(&kind)
                && mount.get(3).is_some_and(|options| {
                    option.is_empty() || options.split(',').any(|o| o == option)
                })
        });
        found.and_then(|mount| mount.get(1)).map(PathBuf::from)
    };
    of_kind("cgroup2", "").or_else(|| of_kind("cgroup", "cpuacct"))
}

/// What a control group has used, in seconds.
fn seconds(directory: &Path) -> f64 {
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).ok();
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let version_2 = read("cpu.stat").and_then(|stat| {
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec"));
        line.and_then(number).map(|microseconds| microseconds / 1e6)
    });
    let version_1 = || {
        read("cpuacct.usage")
            .and_then(|usage| number(&usage))
            .map(|nanoseconds| nanoseconds / 1e9)
    };
    version_2.or_else(version_1).unwrap_or(0.0)
}

/// The child of a process with this name.
fn child(parent: u32, name: &str) -> Option<u32> {
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> = children.flat_map(|list| pids(&list)).collect();
    children.into_iter().find(|pid| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    })
}

fn pids(list: &str) -> Vec<u32> {
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
