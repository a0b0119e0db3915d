//! An operator's command about a machine.

use std::process::ExitStatus;
use std::time::Duration;

use lote_model::node::NodeRecord;
use tokio::process::Command;

use crate::command::{self, End};

/// How many of its last lines an error shows.
const LINES_SHOWN: usize = 5;

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
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("LOTE_NODE", node.name.as_str())
            .env("LOTE_NODE_ADDRESS", &node.address)
            .env(
                "LOTE_NODE_MAC",
                node.mac_address.as_deref().unwrap_or_default(),
            );
        let program = program.clone();
        let finished = match command::run(command, self.time_limit).await {
            Ok(finished) => finished,
            Err(source) => return Err(CommandError::Start { program, source }),
        };
        let said = said(&finished.said);
        match finished.end {
            End::Exited(status) if status.success() => Ok(()),
            End::Exited(status) => Err(CommandError::Failed {
                program,
                status,
                said,
            }),
            End::Lost(source) => Err(CommandError::Wait { program, source }),
            End::TimedOut => Err(CommandError::TimedOut {
                program,
                limit: self.time_limit,
                said,
            }),
        }
    }
}

fn said(tail: &[String]) -> String {
    let lines: Vec<&str> = tail[tail.len().saturating_sub(LINES_SHOWN)..]
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
