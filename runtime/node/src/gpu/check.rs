//! The operator's own look at a GPU before a job gets it.

use std::time::Duration;

use tokio::process::Command;

use crate::command::{self, End};

/// What is looked at before a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuCheck {
    /// A line for the shell that ends well if the GPU is fit. It finds the GPU's id in
    /// `CUDA_VISIBLE_DEVICES`.
    pub command: Option<String>,
}

/// How long the command may take.
const COMMAND_MAX: Duration = Duration::from_mins(1);

/// Runs the command for one GPU. `Err` says why the GPU is not fit.
pub(super) async fn run(command: &str, uuid: &str) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", command])
        .env("CUDA_VISIBLE_DEVICES", uuid)
        .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    let finished = command::run(shell, COMMAND_MAX).await;
    let finished = finished.map_err(|error| format!("the command cannot be started: {error}"))?;
    match finished.end {
        End::Exited(status) if status.success() => Ok(()),
        End::Exited(status) => Err(format!(
            "the command ended with {status}{}",
            quoted(&finished.said)
        )),
        End::Lost(error) => Err(format!("the command was lost: {error}")),
        End::TimedOut => Err(format!(
            "the command did not end within {} s",
            COMMAND_MAX.as_secs()
        )),
    }
}

/// The last line of what it said.
fn quoted(said: &[String]) -> String {
    let mut lines = said.iter().rev().map(|line| line.trim());
    let line = lines.find(|line| !line.is_empty());
    let plain = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    line.map(|line| format!(": {}", plain(line)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_command_decides_and_is_quoted() {
        run("test \"$CUDA_VISIBLE_DEVICES\" = GPU-1", "GPU-1")
            .await
            .unwrap();
        let error = run("echo bad copy >&2; exit 3", "GPU-1").await.unwrap_err();
        assert!(
            error.contains('3') && error.ends_with(": bad copy"),
            "{error}"
        );
    }
}
