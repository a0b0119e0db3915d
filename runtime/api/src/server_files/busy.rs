//! Who writes which part of which incomplete file: chunks at the same time, but
//! each by one request, and nothing while the file is being completed.
//!
//! Only the daemon of a node writes to the uploads of its exports, so its memory is
//! where this stands. A lock of the file system would be one that a job could take.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::fault::Fault;

/// Device and number of a file.
type Identity = (u64, u64);

/// What is being written of one file.
#[derive(Debug, PartialEq, Eq)]
enum Writers {
    Chunks(HashSet<u64>),
    Completion,
}

static FILES: LazyLock<Mutex<HashMap<Identity, Writers>>> = LazyLock::new(Mutex::default);

fn files() -> MutexGuard<'static, HashMap<Identity, Writers>> {
    // Nothing panics while it holds the lock.
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to write; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    file: Identity,
    /// None: the whole file.
    chunk: Option<u64>,
}

impl Turn {
    /// To write one chunk, unless somebody is there.
    pub(super) fn chunk(file: &File, index: u64) -> Result<Self, Fault> {
        let file = identity(file)?;
        let mut files = files();
        let writers = files
            .entry(file)
            .or_insert_with(|| Writers::Chunks(HashSet::new()));
        let is_free = match writers {
            Writers::Chunks(chunks) => chunks.insert(index),
            Writers::Completion => false,
        };
        if !is_free {
            return Err(Fault::Busy);
        }
        Ok(Self {
            file,
            chunk: Some(index),
        })
    }

    /// To complete the file, unless somebody is there.
    pub(super) fn completion(file: &File) -> Result<Self, Fault> {
        let file = identity(file)?;
        let mut files = files();
        if files.contains_key(&file) {
            return Err(Fault::Busy);
        }
        files.insert(file, Writers::Completion);
        Ok(Self { file, chunk: None })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut files = files();
        let is_free = match (files.get_mut(&self.file), self.chunk) {
            (Some(Writers::Chunks(chunks)), Some(index)) => {
                chunks.remove(&index);
                chunks.is_empty()
            }
            _ => true,
        };
        if is_free {
            files.remove(&self.file);
        }
    }
}

fn identity(file: &File) -> io::Result<Identity> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_written_side_by_side_and_completed_alone() {
        let file = tempfile::tempfile().unwrap();
        let first = Turn::chunk(&file, 0).unwrap();
        let second = Turn::chunk(&file, 1).unwrap();
        assert!(matches!(Turn::chunk(&file, 1), Err(Fault::Busy)));
        drop(second);
        assert!(matches!(Turn::completion(&file), Err(Fault::Busy)));
        drop(first);
        let whole = Turn::completion(&file).unwrap();
        assert!(matches!(Turn::chunk(&file, 0), Err(Fault::Busy)));
        assert!(matches!(Turn::completion(&file), Err(Fault::Busy)));
        assert!(Turn::chunk(&tempfile::tempfile().unwrap(), 0).is_ok());
        drop(whole);
        assert!(Turn::chunk(&file, 0).is_ok());
    }
}
