//! Runs other programs, and says how they failed.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::error::Error;

/// How many characters of a failed program's output an error shows.
const TAIL_LENGTH: usize = 3_000;

/// How often a program with a time limit is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The command as people would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Runs a program and ends as it does.
pub(crate) fn end_as(program: &mut Command) -> Result<ExitCode, Error> {
    let status = spawn(program)?.wait().map_err(not_started(program))?;
    Ok(match status.code() {
        Some(0) => ExitCode::SUCCESS,
        code => ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
    })
}

/// Runs a program whose output the user sees.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let status = spawn(command)?.wait().map_err(not_started(command))?;
    check(command, status, String::new())
}

/// Runs a program and answers its standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String, Error> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(not_started(command))?;
    let said = last_characters(&String::from_utf8_lossy(&output.stderr)).to_owned();
    check(command, output.status, said)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program ends well; what it prints is of no interest.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a program whose output goes to a file, for at most `limit`, and answers
/// how it ended. A file and not a pipe: what a test leaves running may hold its
/// end of a pipe open for ever.
pub(crate) fn run_logged(
    command: &mut Command,
    log: &Path,
    limit: Duration,
) -> Result<ExitStatus, Error> {
    let file = File::create(log).map_err(Error::file("create", log))?;
    let second = file.try_clone().map_err(Error::file("open", log))?;
    let mut child = spawn(command.stdin(Stdio::null()).stdout(file).stderr(second))?;
    match wait_within(&mut child, limit).map_err(not_started(command))? {
        Some(status) => Ok(status),
        None => Err(Error::TimedOut {
            command: line(command),
            seconds: limit.as_secs(),
            output: last_characters(&read_lossy(log)?).to_owned(),
        }),
    }
}

/// Runs a program whose output the user sees, for at most `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<(), Error> {
    let mut child = spawn(command.stdin(Stdio::null()))?;
    match wait_within(&mut child, limit).map_err(not_started(command))? {
        Some(status) => check(command, status, String::new()),
        None => Err(Error::TimedOut {
            command: line(command),
            seconds: limit.as_secs(),
            output: String::new(),
        }),
    }
}

/// Waits for a child; past the limit it is killed and there is no status.
pub(crate) fn wait_within(
    child: &mut Child,
    limit: Duration,
) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A file's text, whatever bytes a program wrote.
pub(crate) fn read_lossy(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of a text, from the beginning of a line.
pub(crate) fn last_characters(text: &str) -> &str {
    let excess = text.len().saturating_sub(TAIL_LENGTH);
    match text
        .char_indices()
        .find(|&(at, c)| at >= excess && c == '\n')
    {
        Some((at, _)) if excess > 0 => &text[at + 1..],
        _ => text,
    }
}

fn spawn(command: &mut Command) -> Result<Child, Error> {
    command.spawn().map_err(not_started(command))
}

fn not_started(command: &Command) -> impl FnOnce(std::io::Error) -> Error {
    let command = line(command);
    move |source| Error::Start { command, source }
}

fn check(command: &Command, status: ExitStatus, output: String) -> Result<(), Error> {
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        command: line(command),
        status,
        output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_starts_with_a_whole_line() {
        assert_eq!(last_characters("short\ntext"), "short\ntext");
        let long = "0123456789\n".repeat(1_000);
        let tail = last_characters(&long);
        assert!(tail.starts_with("0123456789\n"), "{tail:.20}");
        assert!(tail.len() <= TAIL_LENGTH);
    }

    #[test]
    fn a_program_past_its_limit_is_stopped() {
        let result = run_within(Command::new("sleep").arg("60"), Duration::from_millis(100));
        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
    }

    #[test]
    fn failures_carry_the_command_and_what_it_said() {
        let mut command = Command::new("sh");
        let error = capture(command.args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("why"),
            "{text}"
        );
    }
}
