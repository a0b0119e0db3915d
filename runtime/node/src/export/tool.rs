//! Runs a program of the system and takes what it says.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;

use super::choice;
use crate::command::{self, End};

/// How much of what a program said an error shows.
const SAID_MAX: usize = 500;

/// A program did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    #[error("{program} is not on this node; install the package {package}")]
    Missing {
        program: &'static str,
        package: &'static str,
    },
    #[error("cannot start {program}")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{command}` ended with {status}: {said}")]
    Failed {
        command: String,
        status: ExitStatus,
        said: String,
    },
    #[error("`{command}` did not end within {} s and was killed", limit.as_secs())]
    TimedOut { command: String, limit: Duration },
}

/// A program, and the package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tool {
    pub(super) program: &'static str,
    pub(super) package: &'static str,
}

impl Tool {
    /// Runs it to success and returns its standard output.
    pub(super) async fn run<A: AsRef<OsStr>>(
        self,
        arguments: &[A],
        limit: Duration,
    ) -> Result<String, ToolError> {
        let Output {
            status,
            said,
            printed,
        } = self.output(arguments, limit).await?;
        if status.success() {
            return Ok(printed);
        }
        Err(failed(Path::new(self.program), arguments, status, &said))
    }

    /// Runs it, and returns how it ended as well.
    pub(super) async fn output<A: AsRef<OsStr>>(
        self,
        arguments: &[A],
        limit: Duration,
    ) -> Result<Output, ToolError> {
        let Some(path) = choice::program(self.program) else {
            let Self { program, package } = self;
            return Err(ToolError::Missing { program, package });
        };
        output(&path, arguments, limit).await
    }
}

/// What became of a program that ended by itself.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    /// The last lines of its standard error.
    said: Vec<String>,
    /// Its standard output.
    pub(super) printed: String,
}

/// Runs the program at a path to success.
pub(super) async fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    limit: Duration,
) -> Result<(), ToolError> {
    let output = output(program, arguments, limit).await?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(program, arguments, output.status, &output.said))
}

async fn output<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    limit: Duration,
) -> Result<Output, ToolError> {
    let start = |source| ToolError::Start {
        program: program.display().to_string(),
        source,
    };
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    // Boxed: it is part of what the manager waits for, several times over.
    let finished = Box::pin(command::run_and_read(command, limit));
    let finished = finished.await.map_err(start)?;
    match finished.end {
        End::Exited(status) => Ok(Output {
            status,
            said: finished.said,
            printed: String::from_utf8_lossy(&finished.printed).into_owned(),
        }),
        End::Lost(source) => Err(start(source)),
        End::TimedOut => Err(ToolError::TimedOut {
            command: line(program, arguments),
            limit,
        }),
    }
}

fn failed<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    status: ExitStatus,
    said: &[String],
) -> ToolError {
    ToolError::Failed {
        command: line(program, arguments),
        status,
        said: said.join("\n").trim().chars().take(SAID_MAX).collect(),
    }
}

/// The command as one would type it.
fn line<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> String {
    let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
    let mut line = program.to_string_lossy().into_owned();
    for word in words {
        line.push(' ');
        line.push_str(&word);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Tool = Tool {
        program: "sh",
        package: "dash",
    };
    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_a_program_says_is_taken() {
        let said = SHELL.run(&["-c", "echo yes"], SOON).await.unwrap();
        assert_eq!(said, "yes\n");
        let error = SHELL.run(&["-c", "echo no >&2; exit 3"], SOON).await;
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error,
            "`sh -c echo no >&2; exit 3` ended with exit status: 3: no"
        );
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed() {
        let soon = Duration::from_millis(50);
        let error = SHELL.run(&["-c", "exec sleep 60"], soon).await.unwrap_err();
        assert!(matches!(error, ToolError::TimedOut { .. }), "{error}");
    }

    #[tokio::test]
    async fn one_that_is_missing_names_its_package() {
        let tool = Tool {
            program: "lote-no-such-program",
            package: "nowhere",
        };
        let error = tool.run(&["x"], SOON).await.unwrap_err();
        assert!(error.to_string().contains("install the package nowhere"));
    }
}
