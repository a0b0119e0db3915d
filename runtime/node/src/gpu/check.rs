//! The operator's own look at a GPU before a job gets it.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// What is looked at before a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuCheck {
    /// A line for the shell that ends well if the GPU is fit. It finds the GPU's id in
    /// `CUDA_VISIBLE_DEVICES`.
    pub command: Option<String>,
}

/// How long the command may take.
const COMMAND_MAX: Duration = Duration::from_mins(1);

/// How much of what it says is passed on.
const SAID_BYTES_MAX: u64 = 500;

/// Runs the command for one GPU. `Err` says why the GPU is not fit.
pub(super) async fn run(command: &str, uuid: &str) -> Result<(), String> {
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("CUDA_VISIBLE_DEVICES", uuid)
        .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| format!("the command cannot be started: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    let stderr = child.stderr.take();
    let said = async {
        let mut said = Vec::new();
        if let Some(stderr) = stderr {
            stderr
                .take(SAID_BYTES_MAX)
                .read_to_end(&mut said)
                .await
                .ok();
        }
        said
    };
    // What it leaves in the background may keep its output open for ever.
    let ended = async { tokio::join!(child.wait(), said) };
    let Ok((status, said)) = tokio::time::timeout(COMMAND_MAX, ended).await else {
        if let Some(group) = group {
            let group = nix::unistd::Pid::from_raw(group);
            nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).ok();
        }
        return Err(format!(
            "the command did not end within {} s",
            COMMAND_MAX.as_secs()
        ));
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the command ended with {status}{}", quoted(&said))),
        Err(error) => Err(format!("the command was lost: {error}")),
    }
}

/// The last line of what it said.
fn quoted(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let line = said
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty());
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
