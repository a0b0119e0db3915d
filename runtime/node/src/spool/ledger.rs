//! The durable part of a spool's bookkeeping.
//!
//! Each file of the spool has two places of one disk sector in the ledger, which are written in
//! turn: whatever a crash makes of one, the other is whole. All is written once when the ledger
//! is made and replaced in place from then on, so that a full disk keeps nobody from writing down
//! what has arrived and may be freed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::track::Progress;

/// A disk writes so much at once or not at all.
const SECTOR: usize = 512;

/// The ledger, open.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    /// The number of the last entry of each file.
    last: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    number: u64,
    progress: Progress,
}

impl Ledger {
    /// Makes an empty one for so many files.
    pub(super) fn create(path: &Path, files: usize) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path)?;
        file.write_all_at(&vec![b' '; files * 2 * SECTOR], 0)?;
        file.sync_all()
    }

    /// Opens one, with what is known of each of its files.
    pub(super) fn open(path: &Path, files: usize) -> io::Result<(Self, Vec<Progress>)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let entries: Vec<Entry> = (0..files)
            .map(|index| newest(&file, index))
            .collect::<io::Result<_>>()?;
        let last = entries.iter().map(|entry| entry.number).collect();
        let known = entries.into_iter().map(|entry| entry.progress).collect();
        Ok((Self { file, last }, known))
    }

    /// A handle to lock.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Writes down how far a file has come; on disk when it returns.
    pub(super) fn write(&mut self, index: usize, progress: &Progress) -> io::Result<()> {
        let number = self.last[index] + 1;
        let entry = Entry {
            number,
            progress: progress.clone(),
        };
        let mut sector = serde_json::to_vec(&entry)?;
        if sector.len() > SECTOR {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        sector.resize(SECTOR, b' ');
        self.file.write_all_at(&sector, offset(index, number))?;
        self.file.sync_data()?;
        self.last[index] = number;
        Ok(())
    }
}

fn offset(index: usize, number: u64) -> u64 {
    (index * 2 * SECTOR) as u64 + number % 2 * SECTOR as u64
}

fn newest(file: &File, index: usize) -> io::Result<Entry> {
    let mut newest = Entry {
        number: 0,
        progress: Progress::default(),
    };
    for turn in 0..2 {
        let mut sector = [0; SECTOR];
        file.read_exact_at(&mut sector, offset(index, turn))?;
        // One that a crash has spoilt, or that was never written.
        let Ok(entry) = serde_json::from_slice::<Entry>(&sector) else {
            continue;
        };
        if entry.number > newest.number {
            newest = entry;
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::super::track::Gap;
    use super::*;

    fn progress(copied: u64) -> Progress {
        Progress {
            copied,
            shift: Some(-3),
            gaps: Vec::new(),
        }
    }

    #[test]
    fn each_file_has_its_last_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        Ledger::create(&path, 2).unwrap();
        let (mut ledger, known) = Ledger::open(&path, 2).unwrap();
        assert_eq!(known, [Progress::default(), Progress::default()]);
        for copied in 1..6 {
            ledger.write(1, &progress(copied)).unwrap();
        }
        let (_, known) = Ledger::open(&path, 2).unwrap();
        assert_eq!(known, [Progress::default(), progress(5)]);
    }

    #[test]
    fn an_entry_that_is_half_written_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        Ledger::create(&path, 1).unwrap();
        let (mut ledger, _) = Ledger::open(&path, 1).unwrap();
        ledger.write(0, &progress(1)).unwrap();
        ledger.write(0, &progress(2)).unwrap();
        ledger.file.write_all_at(b"half", offset(0, 2)).unwrap();
        let (mut ledger, known) = Ledger::open(&path, 1).unwrap();
        assert_eq!(known, [progress(1)]);
        ledger.write(0, &progress(3)).unwrap();
        assert_eq!(Ledger::open(&path, 1).unwrap().1, [progress(3)]);
    }

    #[test]
    fn the_longest_entry_fits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        Ledger::create(&path, 1).unwrap();
        let (mut ledger, _) = Ledger::open(&path, 1).unwrap();
        ledger.last[0] = u64::MAX - 1;
        let gap = Gap {
            start: u64::MAX,
            end: u64::MAX,
            told: false,
        };
        let longest = Progress {
            copied: u64::MAX,
            shift: Some(i64::MIN),
            gaps: vec![gap, gap],
        };
        ledger.write(0, &longest).unwrap();
        assert_eq!(Ledger::open(&path, 1).unwrap().1, [longest]);
    }
}
