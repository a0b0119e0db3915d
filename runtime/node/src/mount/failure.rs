//! Why something was not mounted, for people. Pure.

use std::process::ExitStatus;
use std::time::Duration;

use lote_model::job::ErrorRecord;
use lote_model::planned_mount::MountSource;
use lote_model::secret::{SecretText, redacted};

use super::client::NotStarted;
use super::layout::Placed;

/// Why a file system was not mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    /// What is wrong and what to do about it.
    pub(super) sentence: String,
    /// The command, if one was run.
    pub(super) command: Option<String>,
    /// How it ended.
    pub(super) exit_status: Option<String>,
    /// What it said last.
    pub(super) stderr: Vec<String>,
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self {
            sentence,
            ..Self::default()
        }
    }
}

impl Failure {
    pub(super) fn of_client(command: String, error: NotStarted) -> Self {
        Self {
            sentence: error.reason,
            command: Some(command),
            exit_status: error.status,
            stderr: error.said,
        }
    }

    /// A command that did not end well.
    pub(super) fn ended(command: String, status: ExitStatus, stderr: Vec<String>) -> Self {
        Self {
            sentence: format!("the command ended with {status}"),
            command: Some(command),
            exit_status: Some(status.to_string()),
            stderr,
        }
    }

    /// A command that did not end.
    pub(super) fn timed_out(command: String, limit: Duration, stderr: Vec<String>) -> Self {
        Self {
            sentence: format!(
                "the command was killed after {} s; --mount-timeout of the daemon gives it more",
                limit.as_secs()
            ),
            command: Some(command),
            exit_status: Some("killed: it took too long".to_owned()),
            stderr,
        }
    }

    /// The error of the job, without any of these secrets.
    pub(super) fn error(&self, placed: &Placed, secrets: &[SecretText]) -> ErrorRecord {
        let what = match &placed.source {
            MountSource::FileServer(source) => format!("file server {}", source.name),
            MountSource::GangShare(source) => {
                format!("the {} of node {}", source.name, source.node)
            }
            MountSource::FileShare(_) => "Azure File".to_owned(),
            MountSource::Blobs(_) => "blob fuse".to_owned(),
            MountSource::Command(_) => "file system".to_owned(),
        };
        let plain = |text: &str| redacted(text, secrets);
        let message = format!("Unable to mount {what}: {}", plain(&self.sentence));
        let mut error = ErrorRecord::new(placed.source.error_code(), message)
            .with("step", "mount")
            .with("relativeMountPath", &placed.relative);
        if let Some(command) = &self.command {
            error = error.with("command", plain(command));
        }
        if let Some(status) = &self.exit_status {
            error = error.with("exitStatus", status);
        }
        let stderr = plain(self.stderr.join("\n").trim());
        if stderr.is_empty() {
            error
        } else {
            error.with("stderr", stderr)
        }
    }
}

#[cfg(test)]
mod tests {
    use lote_model::planned_mount::MountRoot;

    use super::*;

    #[test]
    fn an_error_says_everything_but_secrets() {
        let failure = Failure {
            sentence: "the command ended with exit status: 32".into(),
            command: Some("mount -o password=hunter22".into()),
            exit_status: Some("exit status: 32".into()),
            stderr: vec!["bad password hunter22".into(), String::new()],
        };
        let placed = Placed {
            root: MountRoot::Job,
            relative: "a/b".into(),
            source: MountSource::Command("mount".into()),
            key: None,
        };
        let error = failure.error(&placed, &[SecretText::new("hunter22")]);
        assert_eq!(error.code, "UnmanagedFileSystemMountError");
        let shown = serde_json::to_string(&error).unwrap();
        assert!(
            !shown.contains("hunter22") && shown.contains("***"),
            "{shown}"
        );
        let names: Vec<_> = error
            .details
            .iter()
            .map(|detail| detail.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "step",
                "relativeMountPath",
                "command",
                "exitStatus",
                "stderr"
            ]
        );
    }
}
