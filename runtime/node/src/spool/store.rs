//! The files of one spool on this machine's disk, and the bound on them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use lote_model::problem::explain;
use lote_model::quantity::format_bytes;
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

use super::destination::open_own;
use super::ledger::Ledger;
use super::manifest::{Manifest, SpoolPaths};
use super::notice;
use super::track::Track;
use crate::launch::open_handed_over;

/// The end of each file stays readable here, also what has arrived: the last lines of standard
/// error go into a job's error.
const KEPT_BYTES: u64 = 64 << 10;

/// Space is freed in whole blocks of any usual file system.
const BLOCK: u64 = 4096;

/// What is written to a destination before it must be safe there.
const WINDOW_BYTES: u64 = 4 << 20;

/// What is written at once.
const CHUNK_BYTES: u64 = 256 << 10;

/// One file.
#[derive(Debug)]
pub(super) struct SpoolFile {
    pub(super) name: String,
    /// None until a process has made it.
    pub(super) local: Option<Arc<File>>,
    pub(super) track: Track,
    /// How much of its beginning takes no space any more.
    freed: u64,
}

/// All files, and what is durably known of them.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) each: Vec<SpoolFile>,
    ledger: Ledger,
    paths: SpoolPaths,
    log: String,
    identity: Option<crate::isolation::Identity>,
    /// The machine was restarted since the spool was made.
    is_old: bool,
    limit: u64,
    can_free: bool,
    /// Since when it is full.
    full_since: Option<Instant>,
}

impl Files {
    pub(super) fn open(
        paths: SpoolPaths,
        manifest: &Manifest,
        boot_id: &str,
        limit: u64,
    ) -> io::Result<Self> {
        let (ledger, known) = Ledger::open(&paths.ledger(), manifest.names.len())?;
        let window = window_bytes(limit) + chunk_bytes(limit);
        let file = |(name, progress): (&String, _)| SpoolFile {
            name: name.clone(),
            local: None,
            track: Track::resume(progress, window),
            freed: 0,
        };
        Ok(Self {
            each: manifest.names.iter().zip(known).map(file).collect(),
            ledger,
            paths,
            log: manifest.log.clone(),
            identity: manifest.identity,
            is_old: manifest.boot_id != boot_id,
            limit,
            can_free: true,
            full_since: None,
        })
    }

    /// A handle to lock the spool with.
    pub(super) fn lock_handle(&self) -> io::Result<File> {
        self.ledger.handle()
    }

    /// Bytes that have not arrived.
    pub(super) fn missing(&self) -> u64 {
        self.each.iter().map(|file| file.track.missing()).sum()
    }

    /// Whether all that there is has arrived.
    pub(super) fn are_delivered(&self) -> bool {
        let mut made = self.each.iter().filter(|file| file.local.is_some());
        made.all(|file| file.track.is_delivered())
    }

    /// How much is written before it must be safe.
    pub(super) fn window(&self) -> u64 {
        window_bytes(self.limit)
    }

    /// How much is written at once.
    pub(super) fn chunk(&self) -> u64 {
        chunk_bytes(self.limit)
    }

    /// Looks how long the files are, and drops what is too much.
    pub(super) fn survey(&mut self) -> io::Result<()> {
        for file in &mut self.each {
            if file.local.is_none() {
                let path = self.paths.files().join(&file.name);
                match open_own(&path, OFlags::RDWR) {
                    Ok(local) => file.local = Some(Arc::new(local)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            let Some(local) = &file.local else { continue };
            let length = local.metadata()?.len();
            let known = file.track.progress.copied;
            file.track.length = if self.is_old {
                length.max(known)
            } else {
                length
            };
        }
        self.keep_the_bound()
    }

    /// Drops the oldest bytes of the largest files until the rest fits.
    fn keep_the_bound(&mut self) -> io::Result<()> {
        let missing = self.missing();
        if missing <= self.limit {
            self.full_since = None;
            return Ok(());
        }
        if self.full_since.is_none() {
            self.full_since = Some(Instant::now());
            tracing::warn!(
                spool = %self.paths.directory().display(),
                limit = format_bytes(self.limit),
                "the output of a job does not get to its file system; the oldest of it is dropped"
            );
        }
        // Some more than needed, so that it is done seldom.
        let mut excess = missing - self.limit + self.limit / 16;
        let kept = KEPT_BYTES.min(self.limit / 4 / self.each.len().max(1) as u64);
        while excess > 0 {
            let largest =
                (0..self.each.len()).max_by_key(|index| self.each[*index].track.droppable(kept));
            let Some(index) = largest else { break };
            let bytes = self.each[index].track.droppable(kept).min(excess);
            if bytes == 0 {
                break;
            }
            let dropped = self.each[index].track.drop_oldest(bytes);
            self.record(index)?;
            self.free(index, dropped.start, dropped.end)?;
            excess -= bytes;
        }
        Ok(())
    }

    /// Writes down how far a file is; durable when it returns.
    pub(super) fn record(&mut self, index: usize) -> io::Result<()> {
        self.ledger.write(index, &self.each[index].track.progress)
    }

    /// What was written of a file is safe: writes that down and frees it here.
    pub(super) fn commit(&mut self, index: usize) -> io::Result<()> {
        self.each[index].track.commit();
        self.record(index)?;
        let file = &self.each[index];
        let end = file.track.progress.copied.saturating_sub(KEPT_BYTES) / BLOCK * BLOCK;
        let start = file.freed;
        if end > start {
            self.free(index, start, end)?;
            self.each[index].freed = end;
        }
        Ok(())
    }

    /// The job has emptied a file.
    pub(super) fn restart(&mut self, index: usize) -> io::Result<()> {
        self.each[index].track.restart();
        self.each[index].freed = 0;
        self.record(index)
    }

    /// The gap in a file grows no more and is told of in the job's log.
    pub(super) fn tell(&mut self, index: usize) -> io::Result<()> {
        let file = &mut self.each[index];
        let Some(gap) = file.track.progress.gaps.first().copied() else {
            return Ok(());
        };
        if gap.told {
            return Ok(());
        }
        file.track.tell();
        let line = notice::for_log(&file.name, gap.bytes(), self.limit);
        self.record(index)?;
        let log = self.paths.files().join(&self.log);
        let written = open_handed_over(&log, self.identity)
            .and_then(|mut log| io::Write::write_all(&mut log, line.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(error = explain(&error), log = %log.display(), "cannot write into the log of a job");
        }
        Ok(())
    }

    fn free(&mut self, index: usize, start: u64, end: u64) -> io::Result<()> {
        let Some(local) = self.each[index].local.as_ref().filter(|_| self.can_free) else {
            return Ok(());
        };
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(local, hole, start, end - start) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.can_free = false;
                tracing::warn!(spool = %self.paths.directory().display(), "the file system of the data directory frees no parts of files; the output of a job stays there until its end");
                Ok(())
            }
            freed => Ok(freed?),
        }
    }
}

fn window_bytes(limit: u64) -> u64 {
    WINDOW_BYTES.min(limit / 4).max(1)
}

fn chunk_bytes(limit: u64) -> u64 {
    CHUNK_BYTES.min(limit / 16).max(1)
}

/// Reads bytes of a spool file. Fewer than were asked for if the job has cut them off meanwhile.
pub(super) fn read(local: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(to - from).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match local.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
