//! The programs that fetch and unpack images. They know no job: what they write lies in
//! directories of the daemon, and they end with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::ContainerError;
use crate::command::{End, Finished, SYSTEM_PATH, run, run_and_read};

/// Fetches images.
pub(super) const SKOPEO: &str = "skopeo";
/// Unpacks them.
pub(super) const UMOCI: &str = "umoci";
/// Begins user name spaces; a part of util-linux, as the next.
pub(super) const UNSHARE: &str = "unshare";
/// Ends a program with the daemon that runs it.
pub(super) const SETPRIV: &str = "setpriv";

/// What an operator says of signatures. Where there is nothing, nothing is asked for.
const POLICY: &str = "/etc/containers/policy.json";

/// Variables that say how the world is reached, which programs get from the daemon.
const SURROUNDINGS: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// How a source is reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// A file with the credentials; without one, nobody's are used.
    pub(super) auth_file: Option<PathBuf>,
    /// Without encryption, or without asking who answers.
    pub(super) is_plain: bool,
    /// Whether it is a registry at all.
    pub(super) is_registry: bool,
}

impl Access {
    /// The options of `skopeo`; `side` is `src-` for copies.
    fn options(&self, command: &mut Command, side: &str) {
        if !self.is_registry {
            return;
        }
        match &self.auth_file {
            Some(file) => command.arg(format!("--{side}authfile")).arg(file),
            // Neither those of whoever runs the daemon.
            None => command.arg(format!("--{side}no-creds")),
        };
        if self.is_plain {
            command.arg(format!("--{side}tls-verify=false"));
        }
    }
}

/// A directory for one fetch: everything is written there, temporary files included.
#[derive(Debug)]
pub(super) struct Tools<'a> {
    pub(super) directory: &'a Path,
    pub(super) time_limit: Duration,
}

impl Tools<'_> {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(SETPRIV);
        command
            .args(["--pdeathsig", "KILL", "--", program])
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("HOME", self.directory)
            .env("TMPDIR", self.directory);
        for name in SURROUNDINGS {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    fn skopeo(&self) -> Command {
        let mut command = self.command(SKOPEO);
        if !Path::new(POLICY).exists() {
            command.arg("--insecure-policy");
        }
        command
    }

    /// Asks which image a source has now; its digest.
    pub(super) async fn digest(
        &self,
        source: &str,
        access: &Access,
    ) -> Result<String, ContainerError> {
        let mut command = self.skopeo();
        command.args(["inspect", "--no-tags", "--format", "{{.Digest}}"]);
        access.options(&mut command, "");
        command.arg(source);
        let finished = run_and_read(command, self.time_limit).await;
        let finished = self.checked(SKOPEO, finished)?;
        let digest = String::from_utf8_lossy(&finished.printed);
        let digest = digest.trim();
        let is_digest =
            |hash: &str| hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit());
        if digest.strip_prefix("sha256:").is_some_and(is_digest) {
            return Ok(digest.to_owned());
        }
        Err(ContainerError::Strange {
            what: format!("skopeo names no digest of {source}"),
        })
    }

    /// Copies an image into an OCI layout.
    pub(super) async fn copy(
        &self,
        source: &str,
        access: &Access,
        layout: &Path,
    ) -> Result<(), ContainerError> {
        let mut command = self.skopeo();
        command.args(["copy", "--quiet", "--retry-times", "2"]);
        access.options(&mut command, "src-");
        command
            .arg(source)
            .arg(format!("oci:{}:image", layout.display()));
        self.checked(SKOPEO, run(command, self.time_limit).await)?;
        Ok(())
    }

    /// Unpacks the image of a layout: its files are in `rootfs` of the bundle then.
    pub(super) async fn unpack(&self, layout: &Path, bundle: &Path) -> Result<(), ContainerError> {
        let mut command = self.command(UMOCI);
        command
            .args(["unpack", "--image"])
            .arg(format!("{}:image", layout.display()))
            .arg(bundle);
        self.checked(UMOCI, run(command, self.time_limit).await)?;
        Ok(())
    }

    fn checked(
        &self,
        program: &'static str,
        finished: std::io::Result<Finished>,
    ) -> Result<Finished, ContainerError> {
        let finished = finished.map_err(|source| ContainerError::NotStarted { program, source })?;
        let said: Vec<_> = finished.said.iter().map(|line| plain(line)).collect();
        let said = said.join("\n");
        match &finished.end {
            End::Exited(status) if status.success() => Ok(finished),
            End::Exited(_) if said.contains("no space left on device") => {
                Err(ContainerError::Full { program, said })
            }
            End::Exited(status) => Err(ContainerError::Failed {
                program,
                status: status.to_string(),
                said,
            }),
            End::TimedOut => Err(ContainerError::TimedOut {
                program,
                limit: self.time_limit,
                said,
            }),
            End::Lost(error) => Err(ContainerError::Strange {
                what: format!("{program} cannot be waited for: {error}"),
            }),
        }
    }
}

/// A line of a log in its own words: skopeo writes `time="…" level=fatal msg="…"`.
fn plain(line: &str) -> String {
    let message = line.split_once(" msg=\"").map(|(_, message)| message);
    let message = message.and_then(|message| message.strip_suffix('"'));
    match message {
        Some(message) if line.starts_with("time=") => message.replace("\\\"", "\""),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_passed_on_in_its_own_words() {
        let line = "time=\"2026-01-01T00:00:00Z\" level=fatal msg=\"no image \\\"a\\\": denied\"";
        assert_eq!(plain(line), "no image \"a\": denied");
        for other in [
            "a plain line",
            "time=\"x\" level=fatal msg=\"cut",
            " msg=\"a\"",
        ] {
            assert_eq!(plain(other), other);
        }
    }
}
