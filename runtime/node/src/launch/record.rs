//! The run record: what became of one process, in one small file.

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
