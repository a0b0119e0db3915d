//! What goes wrong in a client command, how it is told, and its exit code.

use std::path::PathBuf;

use lote_model::problem::Problem;

use crate::exit;
use crate::output::{Colour, Style};
use crate::tls::verifier::NotBelieved;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing answers at the daemon's URL.
    #[error("no daemon answers at {url}")]
    Unreachable {
        /// The URL.
        url: String,
        /// Why not.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Something answers, but is not believed to be the daemon.
    #[error("will not talk to {url}")]
    Untrusted {
        /// The URL.
        url: String,
        /// Why not.
        #[source]
        source: NotBelieved,
    },
    /// The connection broke while an answer was read.
    #[error("cannot {action}: the connection to {url} broke")]
    Broken {
        /// What was asked, as `list jobs`.
        action: String,
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The daemon said no.
    #[error("cannot {action}: {}", problem.message)]
    Refused {
        /// What was asked, as `create job 'j'`.
        action: String,
        /// The HTTP status.
        status: u16,
        /// What the daemon says.
        problem: Box<Problem>,
    },
    /// The daemon's answer cannot be understood.
    #[error("cannot {action}: the answer of {url} is not that of a Lote daemon of this version")]
    Answer {
        /// What was asked.
        action: String,
        /// The URL.
        url: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A long-running operation ended badly.
    #[error("cannot {action}: the operation {status}")]
    Operation {
        /// What was asked.
        action: String,
        /// Its last status.
        status: String,
    },
    /// A name that cannot be one, found before anything was sent.
    #[error("the name is wrong")]
    Name(#[source] Box<Problem>),
    /// The user's settings.
    #[error("the settings are wrong")]
    Settings(#[from] crate::settings::SettingsError),
    /// Encrypted connections cannot be made.
    #[error("cannot tell whether an encrypted connection is safe")]
    Trust(#[from] crate::tls::TrustError),
    /// Options that make no job.
    #[error("the command line makes no job")]
    Body(#[from] crate::job_body::BodyError),
    /// A job file that is none.
    #[error("'{}' is no job file", path.display())]
    JobFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: crate::job_file::JobFileError,
    },
    /// A job file with a placeholder that nothing was given for.
    #[error("the job file is not complete")]
    Unfilled(#[from] crate::storage_account::Unfilled),
    /// A file here cannot be read or written.
    #[error("cannot {action} '{}'", path.display())]
    File {
        /// `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that a job does not have.
    #[error("{0}")]
    NoSuchFile(String),
    /// A text that names no plugin.
    #[error("'{0}' names no plugin: {1}")]
    PluginName(String, lote_model::framework::PluginNameError),
    /// A plugin that the daemon does not have.
    #[error("the daemon has not loaded a plugin '{0}'; see `lote plugin list`")]
    NoSuchPlugin(String),
    /// A plugin that the daemon did not load.
    #[error("the daemon does not load it: {0}")]
    PluginRejected(String),
    /// Something is where a file is to be written.
    #[error("'{0}' is there already; give --overwrite to replace it")]
    Exists(String),
    /// A file became another one while it was on its way.
    #[error("'{0}' was changed while it was on its way; start again")]
    Changed(String),
    /// What arrived is not what was sent.
    #[error("'{0}' arrived damaged")]
    Damaged(String),
    /// Something that cannot be sent or fetched.
    #[error("'{path}' {reason}")]
    Untransferable {
        /// What it is.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// A question that nobody can answer.
    #[error("will not {0} unasked, and there is no terminal to ask on; give --yes to go ahead")]
    Unasked(String),
    /// The user answered no.
    #[error("nothing done: you did not want to {0}")]
    Declined(String),
    /// `--timeout` ran out.
    #[error("job '{job}' is still {state} after {seconds} s; it goes on")]
    WaitTimeout {
        /// The job.
        job: String,
        /// Its state.
        state: String,
        /// The time given.
        seconds: u64,
    },
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Name(Box::new(problem))
    }
}

impl Failure {
    /// The process's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => exit::UNREACHABLE,
            Self::Refused { status: 404, .. } | Self::NoSuchFile(_) | Self::NoSuchPlugin(_) => {
                exit::NOT_FOUND
            }
            Self::Name(_)
            | Self::PluginName(..)
            | Self::Settings(_)
            | Self::Trust(_)
            | Self::Body(_)
            | Self::Unfilled(_)
            | Self::Unasked(_) => exit::USAGE,
            Self::WaitTimeout { .. } => exit::WAIT_TIMEOUT,
            _ => exit::FAILURE,
        }
    }

    /// Whether the same request may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Damaged(_) => true,
            Self::Refused {
                status, problem, ..
            } => {
                let on_its_way = ["ContentDigestMismatch", "IncompleteBody", "RequestTimeout"];
                matches!(status, 429 | 502..=504) || on_its_way.contains(&problem.code.as_str())
            }
            _ => false,
        }
    }

    /// The code of the daemon's refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { problem, .. } => Some(&problem.code),
            _ => None,
        }
    }

    /// What to do about it, where its sentence does not say so.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some(
                "start one on this machine with `lote node`, or name another with --url or LOTE_URL",
            ),
            Self::Untrusted { .. } => Some(
                "compare the fingerprint with what the daemon prints at its start; if it is the \
                 same, give it with --fingerprint, or give the authority with --ca-file",
            ),
            Self::Refused {
                status: 401 | 403, ..
            } => Some("show a token that is allowed to with --token or LOTE_TOKEN"),
            Self::Refused { status: 503, .. } => Some("try again in a moment"),
            Self::Refused { problem, .. } => hint_for(&problem.code),
            _ => None,
        }
    }
}

fn hint_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "JobNotFound" => "see `lote job list`, and -e for the experiment",
        "ExperimentNotFound" => {
            "see `lote experiment list`, or make it with `lote experiment create NAME`"
        }
        "ClusterNotFound" => "see `lote cluster list`, and -c for another one",
        "WorkspaceNotFound" => {
            "see `lote workspace list`, or make it with `lote workspace create NAME`"
        }
        "FileServerNotFound" => "see `lote file-server list`",
        "FileNotFound" => "see `lote file-server ls NAME [PATH]`",
        "ResourceGroupNotFound" => "give the right group with -g or LOTE_GROUP",
        _ => return None,
    })
}

/// The text for the terminal: the sentence with its causes, then code, target,
/// further findings and advice.
pub fn render(failure: &Failure, style: Style) -> String {
    let mut text = format!("{} {failure}", style.paint(Colour::Red, "error:"));
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(error.to_string().trim_end());
        cause = error.source();
    }
    text.push('\n');
    let line = |name: &str, value: &str| {
        format!(
            "  {} {value}\n",
            style.paint(Colour::Dim, &format!("{name:<7}"))
        )
    };
    if let Failure::Refused { problem, .. } = failure {
        text.push_str(&line("code", &problem.code));
        if let Some(target) = &problem.target {
            text.push_str(&line("target", target));
        }
        for detail in &problem.details {
            text.push_str(&line("also", &also(detail)));
        }
    }
    if let Some(hint) = failure.hint() {
        text.push_str(&line("try", hint));
    }
    text
}

fn also(detail: &Problem) -> String {
    match &detail.target {
        Some(target) => format!("{target}: {}", detail.message),
        None => detail.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, problem: Problem) -> Failure {
        Failure::Refused {
            action: "create job 'j1'".into(),
            status,
            problem: Box::new(problem),
        }
    }

    fn unreachable() -> Failure {
        let refused =
            std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "Connection refused");
        Failure::Unreachable {
            url: "http://127.0.0.1:8471".into(),
            source: Box::new(ureq::Error::Io(refused)),
        }
    }

    #[test]
    fn a_refusal_says_everything_the_daemon_said() {
        let mut problem = Problem::invalid("/properties/nodeCount", "nodeCount must be at least 1");
        problem.details = vec![
            Problem::invalid(
                "/properties/pyTorchSettings/processCount",
                "processCount must be at least nodeCount",
            ),
            Problem::new("Other", "and something without a place"),
        ];
        insta::assert_snapshot!(render(&refused(400, problem), Style::Plain));
    }

    #[test]
    fn an_unreachable_daemon_says_how_to_start_one() {
        insta::assert_snapshot!(render(&unreachable(), Style::Plain));
    }

    #[test]
    fn causes_are_told_once() {
        let failure = Failure::JobFile {
            path: "job.json".into(),
            source: crate::job_file::parse("job.json", "{").unwrap_err(),
        };
        let text = render(&failure, Style::Plain);
        assert_eq!(text.matches("EOF").count(), 1, "{text}");
    }

    #[test]
    fn exit_codes_are_those_of_the_help() {
        assert_eq!(
            refused(404, Problem::new("JobNotFound", "no")).exit_code(),
            3
        );
        assert_eq!(refused(400, Problem::new("X", "no")).exit_code(), 1);
        assert_eq!(unreachable().exit_code(), 4);
    }
}
