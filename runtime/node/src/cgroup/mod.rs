//! Control groups: one per job and node, cheap to create, certain to die.
//!
//! The layout of the machine (v1, hybrid or v2) is detected once. After that a
//! job costs one `mkdir` in each hierarchy that does something for it:
//!
//! | hierarchy | what for | when |
//! |---|---|---|
//! | v2 | kill, emptiness, processor time; limits where it has the controllers | whenever mounted |
//! | v1 `memory` | limit, peak, out-of-memory count | unless v2 has it |
//! | v1 `pids` | limit on processes | if a limit is asked for |
//! | v1 `cpu` | share, quota | if either is asked for |
//! | v1 `cpuacct` | processor time | if there is no v2 |
//! | v1 `cpuset` | processors and memory near the GPUs | if asked for |
//! | v1 `devices` | what can be opened | if asked for, and v2 takes no filter |
//! | v1 `blkio` | account of disk transfers, weight | always |
//! | v1 `freezer` | a kill that no fork outruns | if there is no v2 |
//!
//! A filter program at the job's cgroup of v2 restricts what can be opened, wherever it can.
//!
//! Limits are written by the controllers of the crate `cgroups-rs`. Finding the
//! hierarchies, killing and waiting are our own: the crate takes one fixed mount
//! point, knows no hybrid layout and no `cgroup.kill`.

mod devices;
mod files;
mod filter;
mod job;
mod kill;
mod layout;
mod limits;
mod prepare;
#[cfg(test)]
mod tests;
mod usage;

use std::io;
use std::path::PathBuf;

pub use devices::{DeviceKind, DeviceRule};
pub use job::{JobCgroup, list};
pub use layout::{CgroupLayout, Controller, DeviceControl, LayoutSource, LayoutSummary};
pub use limits::{Cpuset, Limits};
pub use usage::CgroupUsage;
pub(crate) use usage::current as current_usage;

/// Working with cgroups failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The kernel offers no controller for what was asked.
    #[error("this machine cannot limit {what}: {reason}")]
    Unsupported {
        /// What was to be limited.
        what: &'static str,
        /// What is missing and how to get it.
        reason: String,
    },
    /// A cgroup file or directory could not be used.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, with the value where there is one.
        action: String,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A limit could not be set.
    #[error("cannot set the {controller} limit of {directory}")]
    Limit {
        /// Which limit.
        controller: Controller,
        /// The job's directory in the controller's hierarchy.
        directory: PathBuf,
        /// What could not be written.
        #[source]
        source: cgroups_rs::fs::error::Error,
    },
    /// The kernel takes no filter of devices.
    #[error("cannot filter the devices of the cgroup {path}: {action}")]
    Filter {
        /// The cgroup.
        path: PathBuf,
        /// The step that failed, and what the kernel said.
        action: String,
    },
    /// The name is not usable as a directory.
    #[error("{name:?} cannot name a cgroup; use letters, digits, '-', '_' and '.'")]
    Name {
        /// The name.
        name: String,
    },
    /// Processes did not die in time (stuck in the kernel, usually on storage).
    #[error(
        "processes of the cgroup {path} are still alive {seconds} s after SIGKILL; they hang in the kernel, often on a dead file server"
    )]
    Undead {
        /// The cgroup.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
}

impl CgroupError {
    fn is_busy(&self) -> bool {
        self.kernel_error() == Some(io::ErrorKind::ResourceBusy)
    }

    fn is_not_found(&self) -> bool {
        self.kernel_error() == Some(io::ErrorKind::NotFound)
    }

    fn kernel_error(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}
