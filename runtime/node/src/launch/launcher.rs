//! The daemon's end of the spawner.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, oneshot};
use zeroize::Zeroizing;

use super::SPAWNER_SUBCOMMAND;
use super::link::{self, Request};
use super::record::RecordError;
use super::spec::ProcessSpec;
use super::supervised::Supervised;

/// Launch requests that may wait for the spawner before callers have to.
const QUEUED_REQUESTS_MAX: usize = 256;
/// A specification larger than this could not be executed anyway: the kernel
/// refuses arguments and environments of more than 6 MiB.
pub(super) const SPECIFICATION_BYTES_MAX: usize = 8 << 20;

/// How to start the spawner.
#[derive(Debug, Clone)]
pub struct SpawnerCommand {
    /// The executable that calls [`spawner_main`](super::spawner_main).
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A launch that did not happen, or of which nobody knows whether it did; in both
/// cases launching the same record again is safe.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The spawner could not be started.
    #[error("cannot start the spawner {program}")]
    StartSpawner {
        /// The executable.
        program: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The spawner ended; the next launch starts a new one.
    #[error("the spawner ended while a launch was on its way; launch again")]
    SpawnerEnded,
    /// The spawner could not fork.
    #[error("cannot fork a shim; the machine may be out of processes or memory")]
    Fork(#[source] io::Error),
    /// The specification is too large.
    #[error(
        "the command and its environment take {size_bytes} bytes, more than {SPECIFICATION_BYTES_MAX}; pass large values in files"
    )]
    TooLarge {
        /// Size of the encoded specification.
        size_bytes: usize,
    },
    /// The specification cannot be written as JSON (a path that is not UTF-8).
    #[error("cannot encode the process specification")]
    Encode(#[source] serde_json::Error),
    /// The process was started but cannot be watched.
    #[error(transparent)]
    Watch(#[from] RecordError),
}

/// Starts processes through the spawner; shared by reference.
#[derive(Debug)]
pub struct Launcher {
    command: SpawnerCommand,
    spawner: Mutex<Spawner>,
}

#[derive(Debug)]
struct Spawner {
    requests: mpsc::Sender<Request>,
    // Held so that tokio reaps it when it is replaced.
    process: Child,
}

impl SpawnerCommand {
    /// This executable, with the hidden subcommand. Not by its path, which may lie
    /// where the daemon's user cannot go, or be another program after an upgrade.
    pub fn current_executable() -> Self {
        Self {
            program: "/proc/self/exe".into(),
            arguments: vec![SPAWNER_SUBCOMMAND.into()],
        }
    }
}

impl Launcher {
    /// Starts the spawner. Needs a tokio runtime.
    pub fn start(command: SpawnerCommand) -> Result<Self, LaunchError> {
        let spawner = Spawner::start(&command)?;
        Ok(Self {
            command,
            spawner: Mutex::new(spawner),
        })
    }

    /// Starts a process. Whoever launches a record first wins; a later launch of
    /// the same record starts nothing and [waits](Supervised::wait) for the first.
    ///
    /// Returns when the shim exists, before the command is executed. A command
    /// that cannot be executed ends with
    /// [`ExitCause::SetupFailed`](super::ExitCause::SetupFailed).
    pub async fn launch(&self, spec: &ProcessSpec) -> Result<Supervised, LaunchError> {
        let frame = encode(spec)?;
        let (reply, answer) = oneshot::channel();
        let requests = self.requests().await?;
        let sent = requests.send(Request { frame, reply }).await;
        sent.map_err(|_| LaunchError::SpawnerEnded)?;
        let shim: OwnedFd = match answer.await {
            Ok(result) => result.map_err(LaunchError::Fork)?,
            Err(_) => return Err(LaunchError::SpawnerEnded),
        };
        Ok(Supervised::new(spec.record.clone(), shim)?)
    }

    /// The spawner's process id, for operators and tests; `None` if it has ended.
    pub async fn spawner_pid(&self) -> Option<u32> {
        self.spawner.lock().await.process.id()
    }

    /// The way to a living spawner: a new one if the old one has ended.
    async fn requests(&self) -> Result<mpsc::Sender<Request>, LaunchError> {
        let mut spawner = self.spawner.lock().await;
        if spawner.requests.is_closed() {
            tracing::warn!("the spawner has ended; starting a new one");
            *spawner = Spawner::start(&self.command)?;
        }
        Ok(spawner.requests.clone())
    }
}

impl Spawner {
    fn start(command: &SpawnerCommand) -> Result<Self, LaunchError> {
        let started = Self::try_start(command);
        started.map_err(|source| LaunchError::StartSpawner {
            program: command.program.clone(),
            source,
        })
    }

    fn try_start(command: &SpawnerCommand) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let process = Command::new(&command.program)
            .args(&command.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        let (requests, queue) = mpsc::channel(QUEUED_REQUESTS_MAX);
        tokio::spawn(link::run(UnixStream::from_std(ours)?, queue));
        Ok(Self { requests, process })
    }
}

/// Length (32 bits, little endian), then JSON.
fn encode(spec: &ProcessSpec) -> Result<Zeroizing<Vec<u8>>, LaunchError> {
    let mut frame = Zeroizing::new(vec![0; 4]);
    serde_json::to_writer(&mut *frame, spec).map_err(LaunchError::Encode)?;
    let size_bytes = frame.len() - 4;
    match u32::try_from(size_bytes) {
        Ok(length) if size_bytes <= SPECIFICATION_BYTES_MAX => {
            frame[..4].copy_from_slice(&length.to_le_bytes());
            Ok(frame)
        }
        _ => Err(LaunchError::TooLarge { size_bytes }),
    }
}
