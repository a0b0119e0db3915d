//! Files to and from the daemon: in chunks, several at once, each checked by its
//! digest, and gone on with where they were broken off.
//!
//! * [`scan`] — what a local directory holds; [`place`] — paths, and whether links stay inside.
//! * [`remote`] — a file server's files.
//! * [`send`], [`fetch`] — one direction each; [`part`] — a file that is not complete yet.
//! * [`queue`] — several workers over what is to be done.
//! * [`retry`] — trying again; [`progress`] — how far it is.
//!
//! Invariants: a name leads to a whole file or to none; bytes count once their digest
//! was found right; what is there already is not moved again.

pub mod fetch;
pub mod part;
pub mod place;
pub mod progress;
pub mod queue;
pub mod remote;
pub mod retry;
pub mod scan;
pub mod send;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use lote_model::transfer::Digest;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use progress::Progress;

/// How files are moved.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many requests at once.
    pub parallel: usize,
    /// Whether what is in the way may be replaced.
    pub overwrite: bool,
}

/// Size and time: files that have them in common are taken for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// In bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: Timestamp,
}

impl Stamp {
    /// Whether both can be those of one file: not every file system keeps parts of a
    /// second.
    pub fn is_same(self, other: Self) -> bool {
        let whole = |stamp: Self| stamp.modified.subsec_nanosecond() == 0;
        let near = self.modified.as_second() == other.modified.as_second()
            && (whole(self) || whole(other));
        self.size == other.size && (self.modified == other.modified || near)
    }
}

/// What became of several files.
#[derive(Debug)]
pub struct Report<'a> {
    progress: Progress<'a>,
    files: AtomicU64,
    unchanged: AtomicU64,
    failures: Mutex<Vec<(String, Failure)>>,
    stopped: AtomicBool,
}

/// What became of them, once all is over.
#[derive(Debug)]
pub struct Outcome {
    /// How many were moved.
    pub files: u64,
    /// How many were there already.
    pub unchanged: u64,
    /// How many bytes were moved.
    pub bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What was not moved, and why.
    pub failures: Vec<(String, Failure)>,
}

impl<'a> Report<'a> {
    fn new(progress: Progress<'a>) -> Self {
        Self {
            progress,
            files: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            failures: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    fn moved(&self, name: &str, size: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.progress.file_done(name, size);
    }

    fn unchanged(&self, size: u64) {
        self.unchanged.fetch_add(1, Ordering::Relaxed);
        self.progress.there_already(size);
    }

    /// Notes a failure. Some are those of everything: nothing more is tried then.
    fn failed(&self, name: &str, failure: Failure) {
        if concerns_all(&failure) {
            self.stopped.store(true, Ordering::Relaxed);
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push((name.to_owned(), failure));
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn into_outcome(self) -> Outcome {
        let failures = self.failures.into_inner();
        Outcome {
            files: self.files.into_inner(),
            unchanged: self.unchanged.into_inner(),
            bytes: self.progress.moved(),
            seconds: self.progress.seconds(),
            failures: failures.unwrap_or_else(PoisonError::into_inner),
        }
    }
}

fn concerns_all(failure: &Failure) -> bool {
    let of_all = [
        "AuthorizationFailed",
        "FileServerFull",
        "FileServerNotFound",
    ];
    match failure {
        Failure::Unreachable { .. }
        | Failure::Untrusted { .. }
        | Failure::Refused { status: 401, .. } => true,
        _ => failure.code().is_some_and(|code| of_all.contains(&code)),
    }
}

fn sum(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_may_lack_parts_of_a_second() {
        let stamp = |size: u64, time: &str| Stamp {
            size,
            modified: time.parse().unwrap(),
        };
        let one = stamp(1, "2026-11-27T10:00:00.5Z");
        assert!(one.is_same(one));
        assert!(one.is_same(stamp(1, "2026-11-27T10:00:00Z")));
        assert!(!one.is_same(stamp(1, "2026-11-27T10:00:00.25Z")));
        assert!(!one.is_same(stamp(1, "2026-11-27T10:00:01Z")));
        assert!(!one.is_same(stamp(2, "2026-11-27T10:00:00.5Z")));
    }
}
