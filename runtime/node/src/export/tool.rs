//! Runs a program of the system and takes what it says.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::choice;

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
        let output = self.output(arguments, limit).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(failed(&line(Path::new(self.program), arguments), &output))
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
    Err(failed(&line(program, arguments), &output))
}

async fn output<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    limit: Duration,
) -> Result<Output, ToolError> {
    let child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .env("LC_ALL", "C")
        .env_remove("LOTE_JOIN_TOKEN")
        .env_remove("LOTE_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ToolError::Start {
            program: program.display().to_string(),
            source,
        })?;
    match tokio::time::timeout(limit, child.wait_with_output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(source)) => Err(ToolError::Start {
            program: program.display().to_string(),
            source,
        }),
        Err(_) => Err(ToolError::TimedOut {
            command: line(program, arguments),
            limit,
        }),
    }
}

fn failed(command: &str, output: &Output) -> ToolError {
    let said = String::from_utf8_lossy(&output.stderr);
    ToolError::Failed {
        command: command.to_owned(),
        status: output.status,
        said: said.trim().chars().take(SAID_MAX).collect(),
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
