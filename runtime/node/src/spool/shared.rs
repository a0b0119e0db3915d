//! What the courier of a spool and the daemon have in common.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::manifest::{Manifest, SpoolPaths};
use super::store::Files;

/// How long a call may take before that is said.
const SLOW: Duration = Duration::from_secs(2);

/// What the daemon wants of the courier.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    stop: bool,
    paused: bool,
    closing: bool,
}

/// What the courier is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Stop,
    Go {
        /// Nothing is added any more.
        closing: bool,
    },
}

/// What the courier tells.
#[derive(Clone, Debug, Default)]
struct Told {
    /// What went wrong last, until it goes well again.
    error: Option<String>,
    /// Since when it is inside the destination's file system.
    busy_since: Option<Instant>,
}

/// A spool that is being delivered.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) paths: SpoolPaths,
    pub(super) manifest: Manifest,
    files: Mutex<Files>,
    wish: Mutex<Wish>,
    wake: Condvar,
    told: Mutex<Told>,
    delivered: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(paths: SpoolPaths, manifest: Manifest, files: Files) -> Self {
        Self {
            paths,
            manifest,
            files: Mutex::new(files),
            wish: Mutex::default(),
            wake: Condvar::new(),
            told: Mutex::default(),
            delivered: watch::Sender::new(false),
        }
    }

    /// The files. Never held while the destination is touched.
    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        lock(&self.files)
    }

    fn change(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut lock(&self.wish));
        self.wake.notify_all();
    }

    pub(super) fn stop(&self) {
        self.change(|wish| wish.stop = true);
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.change(|wish| wish.paused = paused);
    }

    /// Nothing is added any more.
    pub(super) fn close(&self) {
        self.change(|wish| wish.closing = true);
    }

    /// Whether the courier is to write nothing now.
    pub(super) fn is_held_up(&self) -> bool {
        let wish = *lock(&self.wish);
        wish.stop || wish.paused
    }

    /// The courier's pause, and longer while it may not work.
    pub(super) fn wait(&self, pace: Duration) -> Turn {
        let mut wish = lock(&self.wish);
        if !pace.is_zero() && !wish.stop {
            let waited = self.wake.wait_timeout(wish, pace);
            wish = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        while wish.paused && !wish.stop {
            wish = self.wake.wait(wish).unwrap_or_else(PoisonError::into_inner);
        }
        if wish.stop {
            Turn::Stop
        } else {
            Turn::Go {
                closing: wish.closing,
            }
        }
    }

    /// Does something that may hang.
    pub(super) fn busy<T>(&self, what: impl FnOnce() -> T) -> T {
        lock(&self.told).busy_since = Some(Instant::now());
        let done = what();
        lock(&self.told).busy_since = None;
        done
    }

    pub(super) fn failed(&self, error: String) {
        lock(&self.told).error = Some(error);
    }

    pub(super) fn recovered(&self) {
        lock(&self.told).error = None;
        tracing::info!(job = %self.manifest.job, "output gets to its file system again");
    }

    /// Why not everything has arrived, as far as that is known.
    pub(super) fn trouble(&self) -> String {
        let told = lock(&self.told).clone();
        let hangs = told.busy_since.map(|since| since.elapsed());
        match (hangs.filter(|hangs| *hangs > SLOW), told.error) {
            (Some(hangs), _) => {
                format!("the file system has not answered for {} s", hangs.as_secs())
            }
            (None, Some(error)) => error,
            (None, None) => "there was too much to copy in the time".to_owned(),
        }
    }

    pub(super) fn has_delivered(&self) {
        self.delivered.send_replace(true);
    }

    pub(super) fn delivered(&self) -> watch::Receiver<bool> {
        self.delivered.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
