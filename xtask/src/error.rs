//! What can go wrong with a chore, and what to do about it.

use std::path::PathBuf;
use std::process::ExitStatus;

/// Why a chore did not get done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program could not be started.
    #[error("cannot start `{command}`; is it installed?")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program ended with a failure.
    #[error("`{command}` failed ({status}){}", tail(output))]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed, where that was captured.
        output: String,
    },
    /// A program ran longer than it may.
    #[error(
        "`{command}` did not end within {seconds} s and was stopped{}",
        tail(output)
    )]
    TimedOut {
        /// The command line.
        command: String,
        /// The limit.
        seconds: u64,
        /// The end of what it printed, where that was captured.
        output: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} '{}'", path.display())]
    File {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Some program's JSON is not what it should be.
    #[error("cannot understand {what}")]
    Json {
        /// Whose JSON.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Something is missing that this user cannot install.
    #[error("{what} is missing; {advice}")]
    Missing {
        /// What.
        what: String,
        /// What to do.
        advice: String,
    },
    /// Anything else; the text says what and what to do.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// The end of a program's output, on lines of its own.
fn tail(output: &str) -> String {
    let output = output.trim_end();
    if output.is_empty() {
        return String::new();
    }
    format!("; it said:\n{output}")
}

/// An error and all its causes, in one line each.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str("\n  because: ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_cause_once() {
        let error = Error::file("read", "/x")(std::io::Error::other("broken"));
        assert_eq!(chain(&error), "cannot read '/x'\n  because: broken");
    }
}
