//! Ends this node's jobs in time when it is cut off from a store that other machines share.
//!
//! While the store says that the lease lives, the fence is open. When the time has passed after
//! which the leader may give the jobs away ([`lote_model::fencing`]), it closes: every task
//! ends its processes. It opens again with the next lease.
//!
//! Shims keep the same time by themselves, a little later, from a file that is written here.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lote_model::fencing;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::AgentError;
use crate::launch::{FenceFile, boot_time, fenced_at};

/// How often the clock is looked at. Timers stand still while the machine sleeps; the clock
/// that counts does not.
const LOOK: Duration = Duration::from_millis(500);

/// When a node that is cut off ends its jobs. The defaults fit those of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencingConfig {
    /// How long after the start of the last renewal of its lease it begins to.
    pub after: Duration,
    /// What jobs then have between SIGTERM and SIGKILL, at most.
    pub grace: Duration,
    /// How much later shims kill on their own.
    pub shim_margin: Duration,
}

impl Default for FencingConfig {
    fn default() -> Self {
        Self {
            after: fencing::FENCED_AFTER,
            grace: fencing::FENCING_GRACE,
            shim_margin: fencing::SHIM_MARGIN,
        }
    }
}

impl FencingConfig {
    fn shims_after(&self) -> Duration {
        self.after + self.grace + self.shim_margin
    }
}

/// Open, or closed; and how often it has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    open: bool,
    opened: u64,
}

/// The right to run processes until the fence closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass(u64);

/// The fence of this node.
#[derive(Debug)]
pub(super) struct Fence {
    /// `None` where no other machine can get this one's jobs.
    config: Option<FencingConfig>,
    path: PathBuf,
    state: watch::Sender<State>,
    lease: Mutex<Lease>,
}

/// What is known of this node's lease.
#[derive(Debug, Default)]
struct Lease {
    /// When it last had its whole time before it; nothing is known before the first renewal.
    whole_at: Option<Duration>,
    file: Option<FenceFile>,
}

impl Fence {
    /// Goes on where an earlier daemon of this boot was.
    pub(super) fn new(config: Option<FencingConfig>, path: PathBuf) -> Result<Self, AgentError> {
        let left = fenced_at(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read until when jobs may run here");
            None
        });
        let whole_at = match &config {
            Some(config) => left.map(|until| until.saturating_sub(config.shims_after())),
            None => {
                remove(&path)?;
                None
            }
        };
        let state = State {
            open: config.is_none(),
            opened: 0,
        };
        Ok(Self {
            config,
            path,
            state: watch::Sender::new(state),
            lease: Mutex::new(Lease {
                whole_at,
                file: None,
            }),
        })
    }

    /// The file that shims look at.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.config.map(|_| self.path.clone())
    }

    /// How often the lease must be renewed at least, so that a late renewal ends nothing.
    pub(super) fn renewal_max(&self) -> Duration {
        self.config.map_or(Duration::MAX, |config| config.after / 3)
    }

    /// The most time between SIGTERM and SIGKILL once the fence has closed.
    pub(super) fn grace(&self) -> Duration {
        self.config.unwrap_or_default().grace
    }

    /// The lease was granted or renewed, which was asked for at `started` (since the boot).
    pub(super) fn renewed(&self, started: Duration) {
        let Some(config) = self.config else { return };
        let before = self.lock().whole_at;
        self.lease_is_whole(started, config);
        if boot_time() < started + config.after {
            // This daemon may have stood still for so long that it did not even see it close.
            let was_too_late = before.is_none_or(|at| started >= at + config.after);
            self.state.send_if_modified(|state| {
                let opens = !state.open || was_too_late;
                if opens {
                    *state = State {
                        open: true,
                        opened: state.opened + 1,
                    };
                }
                opens
            });
        }
    }

    /// The store could accept nobody's writes when it was asked, at `asked`. If the lease
    /// cannot have ended before, it is as good as renewed: the store gives every lease its
    /// whole time again when it comes back, so nobody can see it end any earlier.
    pub(super) fn quorum_was_lost(&self, asked: Duration) {
        let Some(config) = self.config else { return };
        let alive = |whole_at| asked <= whole_at + fencing::LEASE;
        if self.lock().whole_at.is_some_and(alive) {
            self.lease_is_whole(asked, config);
        }
    }

    fn lease_is_whole(&self, at: Duration, config: FencingConfig) {
        let mut lease = self.lock();
        lease.whole_at = lease.whole_at.max(Some(at));
        let until = at + config.shims_after();
        let written = match &lease.file {
            Some(file) => file.write(until),
            None => FenceFile::create(&self.path, until).map(|file| lease.file = Some(file)),
        };
        if let Err(error) = written {
            tracing::error!(%error, path = %self.path.display(), "cannot write until when jobs may run here; they will be killed at the time that was written last");
        }
    }

    /// Closes the fence when its time has come; works until `stop` is cancelled.
    pub(super) async fn keep(&self, stop: CancellationToken) {
        let Some(config) = self.config else { return };
        while !stop.is_cancelled() {
            if self.is_too_late(config) {
                let closes = self
                    .state
                    .send_if_modified(|state| std::mem::replace(&mut state.open, false));
                if closes {
                    tracing::error!(
                        "this node's lease could not be renewed for {} s, so the jobs here may be given to \
                         other nodes; ending them",
                        config.after.as_secs_f32()
                    );
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn is_too_late(&self, config: FencingConfig) -> bool {
        let whole_at = self.lock().whole_at;
        whole_at.is_none_or(|at| boot_time() >= at + config.after)
    }

    /// Waits until processes may be started.
    pub(super) async fn opened(&self) -> Pass {
        let mut state = self.state.subscribe();
        let state = state.wait_for(|state| state.open).await;
        Pass(state.map_or(0, |state| state.opened))
    }

    /// Waits until the fence has closed since the pass was given.
    pub(super) async fn closed(&self, pass: Pass) {
        let mut state = self.state.subscribe();
        // The sender is part of this fence, so it cannot be gone.
        state.wait_for(|state| !pass_holds(*state, pass)).await.ok();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pass_holds(state: State, pass: Pass) -> bool {
    state.open && state.opened == pass.0
}

fn remove(path: &std::path::Path) -> Result<(), AgentError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(AgentError::Directory {
            action: "remove",
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn fence(&self, config: Option<FencingConfig>) -> Fence {
            Fence::new(config, self.folder.path().join("fence")).unwrap()
        }

        fn shims_end_at(&self) -> Option<Duration> {
            fenced_at(&self.folder.path().join("fence")).unwrap()
        }
    }

    fn place() -> Place {
        Place {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn default() -> Option<FencingConfig> {
        Some(FencingConfig::default())
    }

    #[test]
    fn the_defaults_are_in_time() {
        let config = FencingConfig::default();
        assert_eq!(config.shims_after(), fencing::ALL_ENDED_AFTER);
        assert!(config.shims_after() + fencing::DEATH_MARGIN <= fencing::GIVEN_AWAY_AFTER);
    }

    #[test]
    fn shims_are_told_with_every_renewal_counted_from_its_start() {
        let place = place();
        let fence = place.fence(default());
        assert_eq!(place.shims_end_at(), None);
        fence.renewed(seconds(100));
        assert_eq!(place.shims_end_at(), Some(seconds(138)));
        fence.renewed(seconds(105));
        assert_eq!(place.shims_end_at(), Some(seconds(143)));
    }

    #[test]
    fn a_lost_quorum_counts_only_while_the_lease_lives() {
        let place = place();
        let fence = place.fence(default());
        fence.quorum_was_lost(seconds(90));
        assert_eq!(place.shims_end_at(), None);
        fence.renewed(seconds(100));
        fence.quorum_was_lost(seconds(115));
        assert_eq!(place.shims_end_at(), Some(seconds(153)));
        // From 115 to 131 nobody knows: the lease may have ended in between.
        fence.quorum_was_lost(seconds(131));
        assert_eq!(place.shims_end_at(), Some(seconds(153)));
    }

    #[test]
    fn a_restarted_daemon_goes_on_counting() {
        let place = place();
        place.fence(default()).renewed(seconds(100));
        let restarted = place.fence(default());
        restarted.quorum_was_lost(seconds(116));
        assert_eq!(place.shims_end_at(), Some(seconds(138)));
        restarted.quorum_was_lost(seconds(114));
        assert_eq!(place.shims_end_at(), Some(seconds(152)));
    }

    #[test]
    fn without_others_nothing_is_fenced() {
        let place = place();
        place.fence(default()).renewed(seconds(100));
        let alone = place.fence(None);
        assert_eq!((alone.file(), place.shims_end_at()), (None, None));
        assert!(pass_holds(*alone.state.borrow(), Pass(0)));
    }

    #[tokio::test]
    async fn the_fence_closes_in_time_and_opens_with_the_next_lease() {
        let place = place();
        let short = FencingConfig {
            after: Duration::from_millis(100),
            ..FencingConfig::default()
        };
        let fence = place.fence(Some(short));
        let stop = CancellationToken::new();
        let check = async {
            fence.renewed(boot_time());
            let pass = fence.opened().await;
            fence.closed(pass).await;
            // Too late to count.
            fence.renewed(boot_time().saturating_sub(seconds(1)));
            assert!(!fence.state.borrow().open);
            fence.renewed(boot_time());
            let next = fence.opened().await;
            assert!(!pass_holds(*fence.state.borrow(), pass) && next != pass);
            stop.cancel();
        };
        tokio::join!(fence.keep(stop.clone()), check);
    }
}
