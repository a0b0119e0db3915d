//! The ways in which a process can come to its end.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a process ended, as its shim saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Why there is no process any more.
    pub cause: ExitCause,
    /// Process id of the command; `None` if the set-up failed before there was one.
    pub pid: Option<i32>,
    /// When the shim claimed the record.
    pub started_at: Timestamp,
    /// When the command ended.
    pub ended_at: Timestamp,
    /// What the command and the children it waited for used.
    pub usage: ProcessUsage,
}

/// Why a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// It returned this code.
    Exited(i32),
    /// This signal killed it.
    Signalled(i32),
    /// It never ran the command.
    SetupFailed(SetupFailure),
    /// The node was cut off from the store for so long that others may run the job
    /// by now, so the shim killed it, or did not start it.
    Fenced,
}

/// Resources a process used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Processor time in its own code.
    pub user_seconds: f64,
    /// Processor time in the kernel.
    pub system_seconds: f64,
    /// Most memory resident at one time.
    pub resident_peak_bytes: u64,
}

/// The step before the command's first instruction that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot {step} {subject}: {message}")]
pub struct SetupFailure {
    /// What was tried.
    pub step: SetupStep,
    /// The path, command or value it was tried with.
    pub subject: String,
    /// The kernel's error number.
    pub errno: i32,
    /// The kernel's text for it.
    pub message: String,
}

/// The steps between the fork and the command, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetupStep {
    /// Reading the specification.
    ReadSpecification,
    /// Starting the process.
    Fork,
    /// Joining a cgroup.
    JoinCgroup,
    /// Building the private view of the file system.
    Mount,
    /// Setting a resource limit or the out-of-memory preference.
    SetLimit,
    /// Becoming the job's user and giving up every privilege.
    DropPrivileges,
    /// Creating a directory as the job's user.
    CreateDirectory,
    /// Opening an output file as the job's user.
    OpenOutput,
    /// Entering the working directory.
    EnterDirectory,
    /// Executing the command.
    Execute,
}

impl std::fmt::Display for SetupStep {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::ReadSpecification => "read the specification",
            Self::Fork => "start a process for",
            Self::JoinCgroup => "join the cgroup",
            Self::Mount => "prepare the mount",
            Self::SetLimit => "set the limit",
            Self::DropPrivileges => "give up the privileges of",
            Self::CreateDirectory => "create the directory",
            Self::OpenOutput => "open the output file",
            Self::EnterDirectory => "enter the working directory",
            Self::Execute => "execute",
        })
    }
}

/// Why a started process has no exit record and never will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostReason {
    /// The machine was restarted while the process ran.
    MachineRestarted,
    /// The process's shim was killed, so nobody saw how the process ended. It may
    /// still run: kill its cgroup.
    ShimKilled,
    /// The node was cut off from the store for so long that others may run the job
    /// by now, so the process was ended.
    Fenced,
}

impl std::fmt::Display for LostReason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::MachineRestarted => "the machine was restarted while the process ran",
            Self::ShimKilled => "the process's supervisor was killed",
            Self::Fenced => {
                "the node was cut off from the store for so long that the job may run elsewhere, \
                 so it ended the process"
            }
        })
    }
}

impl SetupFailure {
    pub(super) fn new(
        step: SetupStep,
        subject: impl Into<String>,
        errno: nix::errno::Errno,
    ) -> Self {
        let (subject, message) = (subject.into(), errno.desc().to_owned());
        Self {
            step,
            subject,
            errno: errno as i32,
            message,
        }
    }
}
