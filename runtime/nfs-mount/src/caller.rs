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

/// `PF_EXITING` of `/proc/PID/stat`.
const EXITING: u64 = 0x4;

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
            if self.process != 0 && is_dying(self.process) {
                return;
            }
        }
    }
}

fn is_dying(process: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else {
        return true;
    };
    if is_being_killed(&status) {
        return true;
    }
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    dies_of_a_signal(&stat)
}

/// Whether a fatal signal waits for the process.
fn is_being_killed(status: &str) -> bool {
    ["SigPnd:", "ShdPnd:"].into_iter().any(|name| {
        let mask = field(status, name).and_then(|mask| u64::from_str_radix(mask, 16).ok());
        mask.is_some_and(|mask| mask & KILL_BIT != 0)
    })
}

/// Whether the process closes its files because of a signal: nobody is left who could use the answer. One that ends by
/// itself waits, so that what it wrote is there for whoever waits for its end.
fn dies_of_a_signal(stat: &str) -> bool {
    // The name, in parentheses, may hold anything.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Numbers 9 and 52 of proc(5); the first two are cut off.
    let number = |index: usize| {
        let field = fields.get(index - 3)?;
        field.parse::<u64>().ok()
    };
    let exiting = number(9).is_some_and(|flags| flags & EXITING != 0);
    exiting && number(52).is_some_and(|code| code & 0x7f != 0)
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

/// The processes that asked in the last second, with their credentials.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    known: Mutex<HashMap<(u32, u32, u32), (Instant, Arc<Credential>)>>,
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

    const STATUS: &str = "Name:\tx\nGroups:\t4 24 1000 \nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n";

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
    fn a_process_that_ends_by_itself_waits() {
        let stat = |flags: u32, code: u32| {
            let mut fields = vec!["0".to_owned(); 50];
            fields[9 - 3] = flags.to_string();
            fields[52 - 3] = code.to_string();
            format!("7 (a) b) {}", fields.join(" "))
        };
        assert!(!dies_of_a_signal(&stat(0x0040_0000, 0)));
        assert!(!dies_of_a_signal(&stat(0x0040_0004, 0)));
        assert!(!dies_of_a_signal(&stat(0x0040_0004, 1 << 8)));
        assert!(dies_of_a_signal(&stat(0x0040_0004, 9)));
        assert!(!dies_of_a_signal(""));
    }

    #[test]
    fn this_process_lives() {
        assert!(!is_dying(std::process::id()));
    }
}
