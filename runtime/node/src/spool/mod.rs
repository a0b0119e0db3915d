//! Output of jobs on its way to a file system that may be away.
//!
//! Where a job's output directory lies on something mounted, its processes write into files on
//! this machine's disk, and the daemon copies these on:
//!
//! ```text
//! process ──▶ {data}/spool/{uid}.{attempt}/files/stdout.txt ──courier──▶ the mounted directory
//!               │  manifest.json: where it goes, and with whose rights
//!               └─ ledger: how far each file has come
//! ```
//!
//! * `manifest` — what a spool must know, and its place on the disk.
//! * `ledger` — the durable bookkeeping.
//! * `track` — how far one file has come, what is next, what is dropped; pure.
//! * `store` — the files and the bound on them.
//! * `destination` — the directory, with the rights of the job's user.
//! * `courier` — the thread that copies.
//! * `shared` — what it and the daemon have in common.
//! * `notice` — what people read where output is missing; pure.
//!
//! What this module must never do: write to a file system that is not mounted, free a byte
//! that is not safe at its destination, or keep a job's process waiting.

mod courier;
mod destination;
mod ledger;
mod manifest;
mod notice;
mod shared;
mod store;
mod track;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

pub(crate) use destination::Place;
pub(crate) use manifest::{Manifest, SpoolPaths};
use shared::Shared;
use store::Files;

/// How often new output is looked for: people who follow it wait no longer.
const PACE: Duration = Duration::from_millis(200);

/// How much output may wait for its file system, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The most bytes of a job's output that wait; of more, the oldest are dropped.
    pub limit_bytes: u64,
    /// How long the end of a job waits for its output to arrive.
    pub patience: Duration,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            limit_bytes: 1 << 30,
            patience: Duration::from_mins(10),
        }
    }
}

/// Output that has not arrived in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undelivered {
    /// Where it belongs, as the job calls it.
    pub(crate) directory: PathBuf,
    /// Where it is.
    pub(crate) local: PathBuf,
    /// How much of it.
    pub(crate) missing_bytes: u64,
    /// What is in the way.
    pub(crate) trouble: String,
}

/// A spool on its way. Dropping this stops it, and leaves what has not arrived.
#[derive(Debug)]
pub(crate) struct Delivery {
    shared: Arc<Shared>,
    watcher: JoinHandle<()>,
}

impl Delivery {
    /// Makes the spool of this manifest, or goes on with one that an earlier daemon made, and
    /// starts to deliver it. Blocks, on this machine's own disk only. Needs a tokio runtime.
    pub(crate) fn start(
        paths: SpoolPaths,
        manifest: Manifest,
        boot_id: &str,
        limit_bytes: u64,
    ) -> io::Result<Self> {
        let manifest = if let Some(known) = paths.read()? {
            known
        } else {
            paths.create(&manifest)?;
            manifest
        };
        let files = Files::open(paths.clone(), &manifest, boot_id, limit_bytes)?;
        let shared = Arc::new(Shared::new(paths, manifest, files));
        courier::start(Arc::clone(&shared))?;
        // The courier may hang when the bound is reached, so somebody else keeps it.
        let watcher = tokio::spawn(keep_the_bound(Arc::clone(&shared)));
        Ok(Self { shared, watcher })
    }

    /// Keeps the courier from writing, or lets it go on.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.shared.set_paused(paused);
    }

    /// Waits until everything has arrived, now that nothing is added any more, and removes the
    /// spool.
    ///
    /// # Errors
    ///
    /// What has not arrived after `patience`; the spool stays. Can be called again.
    pub(crate) async fn finish(&self, patience: Duration) -> Result<(), Undelivered> {
        self.shared.close();
        let mut delivered = self.shared.delivered();
        let all = async { delivered.wait_for(|delivered| *delivered).await.is_ok() };
        if let Ok(true) = tokio::time::timeout(patience, all).await {
            remove(self.shared.paths.clone()).await;
            return Ok(());
        }
        let missing_bytes = self.shared.files().missing();
        Err(Undelivered {
            directory: self.shared.manifest.directory.clone(),
            local: self.shared.paths.files(),
            missing_bytes,
            trouble: self.shared.trouble(),
        })
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.shared.stop();
        self.watcher.abort();
    }
}

/// Removes a spool that is delivered, or whose output nobody waits for.
pub(crate) async fn remove(paths: SpoolPaths) {
    let directory = paths.directory().to_owned();
    let removed = tokio::task::spawn_blocking(move || paths.remove()).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(%error, directory = %directory.display(), "a spool stays behind");
    }
}

/// The directory of all spools in a data directory.
pub(crate) fn spools(data_directory: &Path) -> PathBuf {
    data_directory.join("spool")
}

async fn keep_the_bound(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(PACE).await;
        let spool = Arc::clone(&shared);
        let surveyed = tokio::task::spawn_blocking(move || spool.files().survey()).await;
        if let Ok(Err(error)) = surveyed {
            shared.failed(format!("cannot read the local files: {error}"));
        }
    }
}
