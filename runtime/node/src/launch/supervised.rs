//! The daemon's hold on a process that may have been started by an earlier daemon.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::exit::{ExitRecord, LostReason};
use super::record::{RecordError, RecordState, examine, running_pid};
use crate::descriptor::watch;

/// A started process. Dropping it does nothing to the process.
#[derive(Debug)]
pub struct Supervised {
    record: PathBuf,
    shim: AsyncFd<OwnedFd>,
}

/// How a process under a record came to its end.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its shim wrote down how.
    Ended(ExitRecord),
    /// Nobody saw it end, or it never will be seen.
    Lost(LostReason),
    /// It was forbidden to start.
    Tombstone,
}

/// What [`attach`] found.
#[derive(Debug)]
pub enum Attached {
    /// No process was ever started under the record.
    NeverStarted,
    /// The process runs (or is being set up).
    Running(Supervised),
    /// Nothing runs under the record and nothing will.
    Finished(Outcome),
}

/// Finds out what became of the process of a record, whoever started it. Needs a
/// tokio runtime.
pub fn attach(record: &Path) -> Result<Attached, RecordError> {
    match current(record)? {
        Current::NeverStarted => Ok(Attached::NeverStarted),
        Current::Finished(outcome) => Ok(Attached::Finished(outcome)),
        Current::Running(pidfd) => Supervised::new(record.into(), pidfd).map(Attached::Running),
    }
}

impl Supervised {
    pub(super) fn new(record: PathBuf, shim: OwnedFd) -> Result<Self, RecordError> {
        match watch(shim, Interest::READABLE) {
            Ok(shim) => Ok(Self { record, shim }),
            Err(source) => Err(RecordError::Io {
                action: "watch the shim of",
                path: record,
                source,
            }),
        }
    }

    /// The process's run record.
    pub fn record(&self) -> &Path {
        &self.record
    }

    /// The command's process id, once it has been executed.
    pub fn pid(&self) -> Option<i32> {
        running_pid(&self.record)
    }

    /// Waits for the end, without polling. If another launch of the same record
    /// was first, its end is what is waited for. May be cancelled and repeated.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotClaimed`] if the shim could not create the record.
    pub async fn wait(&self) -> Result<Outcome, RecordError> {
        self.ended(&self.shim).await?;
        loop {
            match current(&self.record)? {
                Current::Finished(outcome) => return Ok(outcome),
                Current::NeverStarted => {
                    return Err(RecordError::NotClaimed {
                        path: self.record.clone(),
                    });
                }
                Current::Running(pidfd) => {
                    let winner = Self::new(self.record.clone(), pidfd)?;
                    self.ended(&winner.shim).await?;
                }
            }
        }
    }

    /// Sends a signal to the command's process group. `false` if there is nothing
    /// to signal any more. [`Signal::SIGKILL`] also reaches every descendant of
    /// the command when it runs without cgroups; with them, kill the cgroup.
    ///
    /// The shim passes the signal on, so it can never hit a stranger that got the
    /// process id later.
    pub fn signal(&self, signal: Signal) -> Result<bool, RecordError> {
        let winner = match current(&self.record)? {
            Current::Running(pidfd) => Some(pidfd),
            // Our shim has not claimed the record yet; it fetches the signal when
            // it has started the command.
            Current::NeverStarted => None,
            Current::Finished(_) => return Ok(false),
        };
        let shim = winner.as_ref().unwrap_or(self.shim.get_ref());
        match pidfd_send_signal(shim, super::shim::forwarded_as(signal)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(self.io_error("signal the shim of", error.into())),
        }
    }

    /// Lets the process find the end of its standard input, if that is a pipe whose other
    /// holders have closed it. `false` if it has ended.
    pub(crate) fn close_input(&self) -> Result<bool, RecordError> {
        self.signal(super::pipes::CLOSE_INPUT)
    }

    async fn ended(&self, shim: &AsyncFd<OwnedFd>) -> Result<(), RecordError> {
        let ready = shim.readable().await;
        ready
            .map(drop)
            .map_err(|source| self.io_error("wait for the shim of", source))
    }

    fn io_error(&self, action: &'static str, source: io::Error) -> RecordError {
        RecordError::Io {
            action,
            path: self.record.clone(),
            source,
        }
    }
}

/// A record's state with a handle on the shim instead of its process id.
enum Current {
    NeverStarted,
    Running(OwnedFd),
    Finished(Outcome),
}

fn current(record: &Path) -> Result<Current, RecordError> {
    let mut state = examine(record)?;
    loop {
        let shim_pid = match state {
            RecordState::Running { shim_pid } => shim_pid,
            RecordState::NeverStarted => return Ok(Current::NeverStarted),
            RecordState::Tombstone => return Ok(Current::Finished(Outcome::Tombstone)),
            RecordState::Ended(exit) => return Ok(Current::Finished(Outcome::Ended(exit))),
            RecordState::Lost(reason) => return Ok(Current::Finished(Outcome::Lost(reason))),
        };
        let pidfd = open(record, shim_pid)?;
        // The process that holds the lock now held it before the handle was
        // opened, so the handle is its own and not that of a reused id.
        state = examine(record)?;
        if let (Some(pidfd), true) = (pidfd, state == (RecordState::Running { shim_pid })) {
            return Ok(Current::Running(pidfd));
        }
    }
}

fn open(record: &Path, pid: i32) -> Result<Option<OwnedFd>, RecordError> {
    let Some(pid) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(RecordError::Io {
            action: "find the shim of",
            path: record.into(),
            source: error.into(),
        }),
    }
}
