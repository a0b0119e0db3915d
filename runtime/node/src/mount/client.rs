//! Lote's own NFS client: a process that is a file system, by FUSE. It outlives the daemon.
#![allow(
    unsafe_code,
    reason = "a process leaves its session between fork and exec, which has no safe interface"
)]

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::process::{Child, Command};

use crate::command::SYSTEM_PATH;
use crate::descriptor;

/// What it says once the file system is up and answers.
const MOUNTED: &str = "mounted";

/// As for shims: without it a job loses its files when the machine runs out of memory.
const OOM_SCORE_ADJUSTMENT: &str = "-900";

/// How long it has to end after SIGTERM: longer than it gives those who have files open, and the
/// server to take the last data.
const END_WAIT: Duration = Duration::from_secs(80);

/// Pause between two looks at one that cannot be watched.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// How much of its words is read.
const SAID_BYTES_MAX: u64 = 4_096;

/// How the client is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfsClientCommand {
    /// The executable.
    pub program: PathBuf,
    /// What stands before the options of the client.
    pub arguments: Vec<OsString>,
}

impl NfsClientCommand {
    /// This executable, with the hidden subcommand. Not by its path, which may be that of another
    /// program after an upgrade.
    pub fn current_executable() -> Self {
        Self {
            program: "/proc/self/exe".into(),
            arguments: vec!["nfs-mount".into()],
        }
    }
}

/// A client that was started, whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Client {
    pid: i32,
    /// When, in the kernel's ticks: another process of this number started at another time.
    started: u64,
}

/// Why there is none.
#[derive(Debug)]
pub(super) struct NotStarted {
    /// As `exit status: 1`, if it ended.
    pub(super) status: Option<String>,
    /// What it said last.
    pub(super) said: Vec<String>,
    /// A sentence.
    pub(super) reason: String,
}

/// Starts a client and waits until it says that its file system is up. What it says on standard
/// error goes to `log`.
pub(super) async fn start(
    command: &NfsClientCommand,
    arguments: &[String],
    log: &Path,
    limit: Duration,
) -> Result<Client, NotStarted> {
    let failed = |reason: String| NotStarted {
        status: None,
        said: Vec::new(),
        reason,
    };
    let mut child = spawn(command, arguments, log)
        .map_err(|error| failed(format!("Lote's NFS client cannot be started: {error}")))?;
    let client = child.id().and_then(|pid| i32::try_from(pid).ok());
    let client = client.and_then(Client::of);
    let mut unfinished = Unfinished(client);
    let up = tokio::time::timeout(limit, is_up(&mut child)).await;
    let reason = match (&up, client) {
        (Ok(true), Some(client)) => {
            unfinished.0 = None;
            let score = format!("/proc/{}/oom_score_adj", client.pid);
            std::fs::write(score, OOM_SCORE_ADJUSTMENT).ok();
            return Ok(client);
        }
        (Ok(_), _) => "Lote's NFS client ended before anything was mounted".to_owned(),
        (Err(_), _) => format!(
            "Lote's NFS client had mounted nothing after {} s and was killed",
            limit.as_secs()
        ),
    };
    drop(unfinished);
    let status = child.wait().await.ok().filter(|_| up.is_ok());
    Err(NotStarted {
        status: status.map(|status| status.to_string()),
        said: said(log),
        reason,
    })
}

fn spawn(command: &NfsClientCommand, arguments: &[String], log: &Path) -> io::Result<Child> {
    let mut process = Command::new(&command.program);
    process
        .args(&command.arguments)
        .args(arguments)
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(File::create(log)?));
    // SAFETY: setsid allocates nothing and takes no lock.
    unsafe {
        process.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?));
    }
    process.spawn()
}

async fn is_up(child: &mut Child) -> bool {
    let Some(output) = child.stdout.take() else {
        return false;
    };
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim() == MOUNTED {
            return true;
        }
    }
    false
}

/// What one has said last.
pub(super) fn said(log: &Path) -> Vec<String> {
    let tail = crate::launch::tail(log, SAID_BYTES_MAX, None).unwrap_or_default();
    tail.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// A client that has mounted nothing yet: if nobody waits for it any more, it ends. The child is
/// not waited for before, so the number is its own.
struct Unfinished(Option<Client>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            client.kill_group();
        }
    }
}

impl Client {
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self {
            pid,
            started: start_of(&stat)?,
        })
    }

    /// Whether it runs, and is no other process of the same number.
    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Returns when it has ended.
    pub(super) async fn ended(self) {
        let pid = rustix::process::Pid::from_raw(self.pid).ok_or(io::ErrorKind::NotFound.into());
        let handle = pid
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
            .and_then(|handle| descriptor::watch(handle, Interest::READABLE));
        // Only now the handle is known to be its own.
        match handle {
            Ok(handle) if self.is_alive() => {
                handle.readable().await.map(drop).ok();
            }
            _ => {
                while self.is_alive() {
                    tokio::time::sleep(LOOK_PAUSE).await;
                }
            }
        }
    }

    fn kill_group(self) {
        killpg(Pid::from_raw(self.pid), Signal::SIGKILL).ok();
    }

    /// SIGKILL: whoever waits for its file system gets an error.
    pub(super) fn kill(self) {
        if self.is_alive() {
            self.kill_group();
        }
    }

    /// SIGTERM, some time, SIGKILL.
    pub(super) async fn end(self) {
        if !self.is_alive() || kill(Pid::from_raw(self.pid), Signal::SIGTERM) == Err(Errno::ESRCH) {
            return;
        }
        let gone = async {
            while self.is_alive() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(END_WAIT, gone).await.is_err() {
            tracing::warn!(pid = self.pid, "an NFS client does not end; killing it");
            self.kill();
        }
    }
}

/// The start time in `/proc/PID/stat` of a process that has not ended: the 22nd field; the second
/// may hold blanks.
fn start_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_its_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let client = Client::of(own).unwrap();
        assert!(client.is_alive());
        let other = Client {
            started: client.started + 1,
            ..client
        };
        assert!(!other.is_alive());
        let fields = (1..=19)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(start_of(&format!("1 (a ) b) S {fields}")), Some(19));
        assert_eq!(start_of(&format!("1 (a) Z {fields}")), None);
    }

    fn shell(script: &str) -> NfsClientCommand {
        NfsClientCommand {
            program: "/bin/sh".into(),
            arguments: ["-c", script].map(OsString::from).into(),
        }
    }

    #[tokio::test]
    async fn it_lives_until_it_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let command = shell("echo mounted; exec sleep 1000");
        let client = start(&command, &[], &log, Duration::from_mins(1)).await;
        let client = client.unwrap();
        assert!(client.is_alive());
        let ((), ()) = tokio::join!(client.ended(), client.end());
        assert!(!client.is_alive());
        client.ended().await;
    }

    #[tokio::test]
    async fn one_that_mounts_nothing_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let command = shell("echo no route to host >&2; exit 3");
        let error = start(&command, &[], &log, Duration::from_mins(1))
            .await
            .unwrap_err();
        assert_eq!(error.said, ["no route to host"]);
        assert!(error.status.unwrap().contains('3'));
        let command = shell("echo waiting >&2; sleep 1000");
        let error = start(&command, &[], &log, Duration::from_millis(300))
            .await
            .unwrap_err();
        assert_eq!(
            (error.status, error.said),
            (None, vec!["waiting".to_owned()])
        );
    }
}
