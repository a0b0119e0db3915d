//! Ending every process of a cgroup.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::Interest;

use super::CgroupError;
use super::files::{self, keyed, read, write};
use super::job::{JobCgroup, child_names};
use super::layout::Controller;
use crate::descriptor::watch;

/// How long processes may take to die of SIGKILL before that is reported. Large
/// processes need seconds to give their memory back.
const DEATH_SECONDS_MAX: u64 = 30;
/// How often a v1 cgroup, which cannot notify, is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

impl JobCgroup {
    /// Kills every process, also one that forks, daemonises or ignores signals,
    /// and waits until the cgroup is empty.
    ///
    /// A process that is just being launched may join afterwards. To end a job for
    /// good, also send SIGKILL to each [`Supervised`](crate::launch::Supervised),
    /// wait for their ends, and then [`remove`](Self::remove) this, which kills
    /// whatever is left.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Undead`] if processes hang in the kernel.
    pub async fn kill(&self) -> Result<(), CgroupError> {
        self.send_kill()?;
        let limit = Duration::from_secs(DEATH_SECONDS_MAX);
        match tokio::time::timeout(limit, self.wait_empty()).await {
            Ok(result) => result,
            Err(_) => Err(CgroupError::Undead {
                path: self.killing_directory().into(),
                seconds: DEATH_SECONDS_MAX,
            }),
        }
    }

    /// Waits until no process is left.
    pub async fn wait_empty(&self) -> Result<(), CgroupError> {
        match &self.v2 {
            Some(directory) => wait_unpopulated(&directory.join("cgroup.events")).await,
            None => self.look_until_empty().await,
        }
    }

    /// Whether any process is left (a zombie counts until it is reaped on v1).
    pub fn is_empty(&self) -> Result<bool, CgroupError> {
        match &self.v2 {
            Some(directory) => Ok(!populated(&directory.join("cgroup.events"))?),
            None => Ok(processes(self.killing_directory())?.is_empty()),
        }
    }

    /// Sends a signal to every process, for a polite end before [`kill`](Self::kill).
    /// Processes forked meanwhile may miss it.
    pub fn signal(&self, signal: Signal) -> Result<(), CgroupError> {
        for pid in processes(self.killing_directory())? {
            // Gone between the look and the signal is as good as signalled.
            kill(pid, signal).ok();
        }
        Ok(())
    }

    fn send_kill(&self) -> Result<(), CgroupError> {
        let Some(v2) = &self.v2 else {
            return self.kill_frozen();
        };
        let file = v2.join("cgroup.kill");
        match write(&file, "1") {
            Err(error) if error.is_not_found() && !v2.exists() => Ok(()),
            // Kernels before 5.14.
            Err(error) if error.is_not_found() => self.kill_frozen(),
            result => result,
        }
    }

    /// Stops everything first, so that no fork escapes between the look at the
    /// list and the signals; the kill takes effect when they are let go.
    fn kill_frozen(&self) -> Result<(), CgroupError> {
        let freezer = self.freezer();
        if let Some((file, stop, _)) = &freezer {
            write(file, stop)?;
        }
        let signalled = self.signal(Signal::SIGKILL);
        if let Some((file, _, go)) = &freezer {
            write(file, go)?;
        }
        signalled
    }

    /// The file that stops all processes, with the values for stop and go.
    fn freezer(&self) -> Option<(PathBuf, &'static str, &'static str)> {
        if let Some(directory) = &self.v2 {
            return Some((directory.join("cgroup.freeze"), "1", "0"));
        }
        let hierarchy = self
            .v1
            .iter()
            .find(|(c, _)| c.contains(&Controller::Freezer))?;
        Some((hierarchy.1.join("freezer.state"), "FROZEN", "THAWED"))
    }

    fn killing_directory(&self) -> &Path {
        self.directories()
            .next()
            .unwrap_or(Path::new("/nonexistent"))
    }

    async fn look_until_empty(&self) -> Result<(), CgroupError> {
        while !self.is_empty()? {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// The kernel wakes readers of `cgroup.events` when the last process has gone.
async fn wait_unpopulated(events: &Path) -> Result<(), CgroupError> {
    let file = match File::open(events) {
        Ok(file) => file,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(files::error("open", events, source)),
    };
    let watch = watch(OwnedFd::from(file), Interest::PRIORITY)
        .map_err(|source| files::error("watch", events, source))?;
    while populated(events)? {
        let ready = watch.ready(Interest::PRIORITY).await;
        ready
            .map_err(|source| files::error("watch", events, source))?
            .clear_ready();
    }
    Ok(())
}

fn populated(events: &Path) -> Result<bool, CgroupError> {
    Ok(keyed(&read(events)?.unwrap_or_default(), "populated").unwrap_or(0) != 0)
}

/// All processes of a cgroup and its children.
fn processes(directory: &Path) -> Result<Vec<Pid>, CgroupError> {
    let text = read(&directory.join("cgroup.procs"))?.unwrap_or_default();
    let mut found: Vec<Pid> = text
        .lines()
        .filter_map(|l| l.parse().ok().map(Pid::from_raw))
        .collect();
    for name in child_names(directory)? {
        found.extend(processes(&directory.join(name))?);
    }
    Ok(found)
}
