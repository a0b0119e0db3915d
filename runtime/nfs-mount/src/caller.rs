//! Who asks, and whether he is still there to wait for the answer.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fuser::{Errno, Request};

use crate::rpc::Credential;

/// How long the groups of a process are believed.
const GROUPS_ARE_BELIEVED: Duration = Duration::from_secs(1);

/// Above this many remembered processes, those of the past are forgotten.
const REMEMBERED: usize = 256;

/// How often a waiting caller is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// `SIGKILL` in the masks of `/proc`: the kernel turns every signal that ends a process into it.
const KILL_BIT: u64 = 1 << 8;

/// A process that waits for an answer.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Its number here; 0 when it has none in our namespace, or when the kernel asks for itself.
    process: u32,
    pub(crate) credential: Arc<Credential>,
}

impl Caller {
    /// Waits for the work, as long as the caller is not about to die.
    ///
    /// fuser has no interrupts, and a caller whose request we hold cannot be killed. A hard mount of the kernel's client
    /// lets only fatal signals through, and those are to be seen in `/proc`.
    ///
    /// # Errors
    ///
    /// The error of the work, or `EINTR`.
    pub(crate) async fn waits_for<T>(
        &self,
        work: impl Future<Output = Result<T, Errno>>,
    ) -> Result<T, Errno> {
        tokio::select! {
            biased;
            outcome = work => outcome,
            () = self.dies() => Err(Errno::EINTR),
        }
    }

    async fn dies(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let process = self.process;
            if process == 0 {
                continue;
            }
            // `/proc` may itself wait for the process that we hold: never in a thread that serves the mount.
            let look = tokio::task::spawn_blocking(move || is_dying(process));
            if look.await.is_ok_and(|dying| dying) {
                return;
            }
        }
    }
}

fn is_dying(process: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else {
        return true;
    };
    // Not `/proc/PID/stat`, which would tell more: reading it waits for a process whose request we hold.
    is_being_killed(&status)
}

/// Whether a fatal signal waits for the process.
fn is_being_killed(status: &str) -> bool {
    ["SigPnd:", "ShdPnd:"].into_iter().any(|name| {
        let mask = field(status, name).and_then(|mask| u64::from_str_radix(mask, 16).ok());
        mask.is_some_and(|mask| mask & KILL_BIT != 0)
    })
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim())
}

fn groups(status: &str) -> Vec<u32> {
    let line = field(status, "Groups:").unwrap_or_default();
    line.split_whitespace()
        .filter_map(|group| group.parse().ok())
        .collect()
}

/// A process with its user and group.
type Process = (u32, u32, u32);

/// Who that is, and since when it is known.
type Known = (Instant, Arc<Credential>);

/// The processes that asked in the last second, with their credentials.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    known: Mutex<HashMap<Process, Known>>,
}

impl Callers {
    /// The kernel tells user and group; the other groups are asked of `/proc`, while the caller waits.
    pub(crate) fn of(&self, request: &Request) -> Caller {
        let process = request.pid();
        let key = (process, request.uid(), request.gid());
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, credential)) = known.get(&key)
            && now.duration_since(*since) < GROUPS_ARE_BELIEVED
        {
            return Caller {
                process,
                credential: Arc::clone(credential),
            };
        }
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let credential = Credential::new(request.uid(), request.gid(), groups(&status));
        let credential = Arc::new(credential);
        if known.len() >= REMEMBERED {
            known.retain(|_, (since, _)| now.duration_since(*since) < GROUPS_ARE_BELIEVED);
        }
        known.insert(key, (now, Arc::clone(&credential)));
        Caller {
            process,
            credential,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tx\nGroups:\t4 24 1000 \nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n";

    #[test]
    fn groups_are_read() {
        assert_eq!(groups(STATUS), [4, 24, 1000]);
        assert!(groups("").is_empty());
    }

    #[test]
    fn only_a_fatal_signal_counts() {
        assert!(!is_being_killed(STATUS));
        let interrupted = STATUS.replace("SigPnd:\t0000000000000000", "SigPnd:\t0000000000000002");
        assert!(!is_being_killed(&interrupted));
        let killed = STATUS.replace("SigPnd:\t0000000000000000", "SigPnd:\t0000000000000100");
        assert!(is_being_killed(&killed));
    }

    #[test]
    fn this_process_lives() {
        assert!(!is_dying(std::process::id()));
    }
}
