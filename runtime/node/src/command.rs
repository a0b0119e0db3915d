//! Commands that the node runs itself: each has its time, and whatever it started in its
//! process group ends with it when the time is over.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// Where programs of the system are, for commands that get nothing of the daemon's environment.
pub(crate) const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many of the last lines of standard error are kept, and how much of each.
const LINES_KEPT: usize = 20;
const LINE_LENGTH_MAX: usize = 300;

/// How long after its end its output may stay open, because something that it started holds it.
const OUTPUT_WAIT: Duration = Duration::from_secs(1);

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) end: End,
    /// The last lines of its standard error.
    pub(crate) said: Vec<String>,
    /// Its standard output, if that was to be read.
    pub(crate) printed: Vec<u8>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It took too long and was killed, with all of its process group.
    TimedOut,
    /// It could not be waited for.
    Lost(io::Error),
}

/// Runs a command in a process group of its own, with nothing to read and nobody to write to but
/// us. If this is dropped before its end, the group is killed.
///
/// # Errors
///
/// If it cannot be started.
pub(crate) async fn run(mut command: Command, time_limit: Duration) -> io::Result<Finished> {
    command.stdout(Stdio::null());
    finish(command, time_limit).await
}

/// As [`run`], and reads its standard output.
pub(crate) async fn run_and_read(
    mut command: Command,
    time_limit: Duration,
) -> io::Result<Finished> {
    command.stdout(Stdio::piped());
    finish(command, time_limit).await
}

async fn finish(mut command: Command, time_limit: Duration) -> io::Result<Finished> {
    let mut child = command
        .current_dir("/")
        // It is no command of a member, and needs no secrets of one.
        .env_remove("LOTE_JOIN_TOKEN")
        .env_remove("LOTE_TOKEN")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let mut group = Group::of(&child);
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let (mut printed, mut tail) = (Vec::new(), VecDeque::new());
    let reading = async {
        tokio::join!(read_all(output, &mut printed), read_tail(errors, &mut tail));
    };
    let ending = end_of(&mut child, &mut group, reading);
    let end = match tokio::time::timeout(time_limit, ending).await {
        Ok(Ok(status)) => End::Exited(status),
        Ok(Err(error)) => End::Lost(error),
        Err(_) => {
            group.kill();
            if let Err(error) = child.wait().await {
                tracing::warn!(%error, "cannot wait for a command that was killed");
            }
            End::TimedOut
        }
    };
    Ok(Finished {
        end,
        said: tail.into(),
        printed,
    })
}

/// The process group that a child leads, as long as nobody has waited for the child: until then
/// the number is its own.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.map(Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            killpg(pid, Signal::SIGKILL).ok();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for its end, and reads what it says meanwhile. What it leaves behind in its group
/// lives: a mount command may leave the process that is the file system.
async fn end_of(
    child: &mut Child,
    group: &mut Group,
    reading: impl Future<Output = ()>,
) -> io::Result<ExitStatus> {
    tokio::pin!(reading);
    let (status, is_read) = tokio::select! {
        status = child.wait() => (status, false),
        () = &mut reading => (child.wait().await, true),
    };
    group.0 = None;
    if !is_read {
        tokio::time::timeout(OUTPUT_WAIT, reading).await.ok();
    }
    status
}

async fn read_all(output: Option<impl AsyncRead + Unpin>, printed: &mut Vec<u8>) {
    if let Some(mut output) = output {
        // What broke off is what there is.
        output.read_to_end(printed).await.ok();
    }
}

async fn read_tail(output: Option<impl AsyncRead + Unpin>, tail: &mut VecDeque<String>) {
    let Some(output) = output else { return };
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text: String = text.trim_end().chars().take(LINE_LENGTH_MAX).collect();
        if tail.len() == LINES_KEPT {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn the_last_lines_are_kept() {
        let script = "for i in $(seq 30); do echo line $i >&2; done; exit 3";
        let finished = run(shell(script), Duration::from_secs(20)).await.unwrap();
        assert!(matches!(finished.end, End::Exited(status) if status.code() == Some(3)));
        assert_eq!(finished.said.len(), LINES_KEPT);
        assert_eq!(finished.said.last().unwrap(), "line 30");
    }

    #[tokio::test]
    async fn what_it_leaves_behind_lives_and_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}", file.display());
        let finished = run(shell(&script), Duration::from_mins(1)).await.unwrap();
        assert!(matches!(finished.end, End::Exited(status) if status.success()));
        let pid: i32 = std::fs::read_to_string(file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let pid = Pid::from_raw(pid);
        nix::sys::signal::kill(pid, Signal::SIGKILL).expect("it lives");
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_any_more_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let read = || {
            let text = std::fs::read_to_string(&file).ok()?;
            text.trim().parse::<i32>().ok()
        };
        let started = async {
            while read().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = run(shell(&script), Duration::from_mins(1)) => panic!("it ended"),
            () = started => {}
        }
        let pid = read().unwrap();
        let is_there = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z"))
        };
        while is_there() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
