//! An operator's command about a machine.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lote_model::node::NodeRecord;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// How many of its last lines an error shows, and how much of each.
const LINES_SHOWN: usize = 5;
const LINE_LENGTH_MAX: usize = 300;

/// How long after its end its output may stay open, because something that it started holds it.
const OUTPUT_WAIT: Duration = Duration::from_secs(1);

/// A program with its arguments, which no shell sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCommand {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// How long it may run.
    pub time_limit: Duration,
}

/// The operator's command did not do what it was to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no program.
    #[error("the command is empty")]
    Empty,
    /// It could not be started.
    #[error(
        "cannot start '{program}': check that it is there on every machine, and may be executed"
    )]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It could not be waited for.
    #[error("cannot wait for '{program}'")]
    Wait {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It failed.
    #[error("'{program}' ended with {status}{said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its standard error.
        said: String,
    },
    /// It took too long and was killed.
    #[error("'{program}' was killed after {} s{said}", limit.as_secs())]
    TimedOut {
        /// The program.
        program: String,
        /// How long it had.
        limit: Duration,
        /// The last lines of its standard error.
        said: String,
    },
}

impl OperatorCommand {
    /// Runs it about a machine, which it learns of by `LOTE_NODE`, `LOTE_NODE_ADDRESS` and
    /// `LOTE_NODE_MAC` (empty if unknown) in its environment. Whatever it starts in its process
    /// group ends with it when its time is over.
    ///
    /// # Errors
    ///
    /// If it does not end with status 0 in time.
    pub async fn run(&self, node: &NodeRecord) -> Result<(), CommandError> {
        let Some((program, arguments)) = self.words.split_first() else {
            return Err(CommandError::Empty);
        };
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir("/")
            .env("LOTE_NODE", node.name.as_str())
            .env("LOTE_NODE_ADDRESS", &node.address)
            .env(
                "LOTE_NODE_MAC",
                node.mac_address.as_deref().unwrap_or_default(),
            )
            // It is no command of a member, and needs no secrets of one.
            .env_remove("LOTE_JOIN_TOKEN")
            .env_remove("LOTE_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| CommandError::Start {
                program: program.clone(),
                source,
            })?;
        let output = child.stderr.take();
        let mut tail = VecDeque::new();
        let ended =
            tokio::time::timeout(self.time_limit, end_of(&mut child, output, &mut tail)).await;
        let said = said(&tail);
        let program = program.clone();
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(CommandError::Failed {
                program,
                status,
                said,
            }),
            Ok(Err(source)) => Err(CommandError::Wait { program, source }),
            Err(_) => {
                end_group(&mut child).await;
                Err(CommandError::TimedOut {
                    program,
                    limit: self.time_limit,
                    said,
                })
            }
        }
    }
}

/// Waits for its end, and reads what it says meanwhile.
async fn end_of(
    child: &mut Child,
    output: Option<impl AsyncRead + Unpin>,
    tail: &mut VecDeque<String>,
) -> std::io::Result<ExitStatus> {
    let reading = async {
        if let Some(output) = output {
            read_tail(output, tail).await;
        }
    };
    tokio::pin!(reading);
    let status = tokio::select! {
        status = child.wait() => status,
        () = &mut reading => return child.wait().await,
    };
    tokio::time::timeout(OUTPUT_WAIT, reading).await.ok();
    status
}

async fn read_tail(output: impl AsyncRead + Unpin, tail: &mut VecDeque<String>) {
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
        if tail.len() == LINES_SHOWN {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}

fn said(tail: &VecDeque<String>) -> String {
    let lines: Vec<&str> = tail
        .iter()
        .map(String::as_str)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        String::new()
    } else {
        format!(": {}", lines.join(" / "))
    }
}

/// Kills it with everything in its process group.
async fn end_group(child: &mut Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid {
        // It leads the group that it is in, and is not waited for yet: the number is its own.
        killpg(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "cannot wait for a command that was killed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::power::testing::node;

    fn shell(script: &str, seconds: u64) -> OperatorCommand {
        OperatorCommand {
            words: ["sh", "-c", script].map(str::to_owned).into(),
            time_limit: Duration::from_secs(seconds),
        }
    }

    #[tokio::test]
    async fn it_learns_of_the_machine_and_is_no_shell() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        let script = format!(
            "echo $LOTE_NODE $LOTE_NODE_ADDRESS $LOTE_NODE_MAC $1 > {}",
            file.display()
        );
        let mut command = shell(&script, 20);
        command
            .words
            .extend(["-".to_owned(), "a;b $HOME".to_owned()]);
        command.run(&node()).await.unwrap();
        let told = std::fs::read_to_string(file).unwrap();
        assert_eq!(told.trim(), "n1 10.0.0.7 aa:bb:cc:dd:ee:ff a;b $HOME");
    }

    #[tokio::test]
    async fn a_failure_says_what_the_command_said_last() {
        let script = "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3";
        let error = shell(script, 20).run(&node()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(
            text.ends_with(": line 3 / line 4 / line 5 / line 6 / line 7"),
            "{text}"
        );
        let missing = OperatorCommand {
            words: vec!["/none/such".into()],
            time_limit: Duration::from_secs(1),
        };
        let text = missing.run(&node()).await.unwrap_err().to_string();
        assert!(text.contains("cannot start '/none/such'"), "{text}");
        let empty = OperatorCommand {
            words: Vec::new(),
            ..missing
        };
        assert!(matches!(empty.run(&node()).await, Err(CommandError::Empty)));
    }

    #[tokio::test]
    async fn one_that_takes_too_long_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!(
            "sleep 1000 & echo $! > {}; echo waiting >&2; wait",
            file.display()
        );
        let error = shell(&script, 1).run(&node()).await.unwrap_err();
        assert!(
            matches!(&error, CommandError::TimedOut { said, .. } if said == ": waiting"),
            "{error}"
        );
        let pid: i32 = std::fs::read_to_string(file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let start = std::time::Instant::now();
        let is_there = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z"))
        };
        while is_there() {
            assert!(start.elapsed() < Duration::from_secs(20), "{pid} lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
