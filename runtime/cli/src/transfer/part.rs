//! A file here that is not complete yet: `NAME.part` beside it. As long as the
//! whole, then a digest for each chunk that is there, then the validator of the
//! state of the file that it is a part of.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lote_model::transfer::{ABSENT, Chunk, Digest, Layout};

use super::sum;
use crate::failure::Failure;

/// As programs make files; the user's mask takes away from it.
const MODE: u32 = 0o666;

/// An open incomplete file. Only one process has it at a time.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    target: PathBuf,
    file: File,
}

/// How the file is to be once it is complete.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish {
    /// Its permissions, if they are known.
    pub mode: Option<u32>,
    /// When it was last written, if that is known.
    pub modified: Option<Timestamp>,
}

impl Part {
    /// Opens the one beside `target`, with what an earlier process has left of it.
    pub fn open(target: &Path) -> Result<Self, Failure> {
        let mut path = target.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE);
        let file = options.open(&path).map_err(failed(&path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Untransferable {
                    path: path.display().to_string(),
                    reason: "is being written by another lote",
                });
            }
            // Not every file system has locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        Ok(Self {
            path,
            target: target.to_owned(),
            file,
        })
    }

    /// Gets ready for the chunks of a file in the state that `etag` tells. Those that
    /// are there already, of the same state and undamaged, stay; the others come back.
    pub fn missing(&self, layout: Layout, etag: &str) -> Result<Vec<Chunk>, Failure> {
        let found = self.found(layout, etag).map_err(failed(&self.path))?;
        Ok(layout
            .chunks()
            .filter(|chunk| !found.contains(chunk))
            .collect())
    }

    fn found(&self, layout: Layout, etag: &str) -> io::Result<Vec<Chunk>> {
        let begin_again = || {
            self.file.set_len(0)?;
            self.file.set_len(layout.incomplete_length())?;
            self.file
                .write_all_at(etag.as_bytes(), layout.incomplete_length())?;
            Ok(Vec::new())
        };
        let mut written = vec![0; etag.len()];
        let length = layout.incomplete_length() + etag.len() as u64;
        if self.file.metadata()?.len() != length {
            return begin_again();
        }
        self.file
            .read_exact_at(&mut written, layout.incomplete_length())?;
        if written != etag.as_bytes() {
            return begin_again();
        }
        let mut found = Vec::new();
        for chunk in layout.chunks() {
            if self.has(layout, chunk)? {
                found.push(chunk);
            }
        }
        Ok(found)
    }

    /// Read again, because what was written last may not have reached the disk.
    fn has(&self, layout: Layout, chunk: Chunk) -> io::Result<bool> {
        let mut digest: Digest = ABSENT;
        self.file
            .read_exact_at(&mut digest, layout.digest_offset(chunk))?;
        if digest == ABSENT {
            return Ok(false);
        }
        let length = usize::try_from(chunk.length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, chunk.offset)?;
        Ok(sum(&bytes) == digest)
    }

    /// Writes a chunk, and behind the data its digest.
    pub fn write(
        &self,
        layout: Layout,
        chunk: Chunk,
        bytes: &[u8],
        digest: &Digest,
    ) -> Result<(), Failure> {
        self.file
            .write_all_at(bytes, chunk.offset)
            .and_then(|()| self.file.write_all_at(digest, layout.digest_offset(chunk)))
            .map_err(failed(&self.path))
    }

    /// Forgets what is there, to be filled from the beginning.
    pub fn begin_again(&self) -> Result<&File, Failure> {
        self.file.set_len(0).map_err(failed(&self.path))?;
        Ok(&self.file)
    }

    /// Gives the file its name. `size` is that of the whole.
    pub fn keep(&self, size: u64, finish: Finish) -> Result<(), Failure> {
        let kept = || {
            self.file.set_len(size)?;
            if let Some(mode) = finish.mode {
                let own = self.file.metadata()?.permissions().mode();
                // What runs there shall run here; the rest is as the user's mask has it.
                let runs = mode & 0o111 & (own >> 2);
                self.file
                    .set_permissions(std::fs::Permissions::from_mode(own | runs))?;
            }
            if let Some(modified) = finish.modified {
                self.file.set_modified(modified.into())?;
            }
            self.file.sync_all()?;
            std::fs::rename(&self.path, &self.target)
        };
        kept().map_err(failed(&self.target))
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::File {
        action: "write",
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use lote_model::transfer::CHUNK_BYTES;

    use super::*;

    #[test]
    fn what_is_there_is_gone_on_with_unless_the_file_changed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        let layout = Layout::new(CHUNK_BYTES + 3).unwrap();
        let chunks: Vec<Chunk> = layout.chunks().collect();
        let part = Part::open(&target).unwrap();
        assert!(Part::open(&target).is_err(), "it is taken");
        assert_eq!(part.missing(layout, "\"a\"").unwrap(), chunks);
        part.write(layout, chunks[1], b"xyz", &sum(b"xyz")).unwrap();
        drop(part);
        let part = Part::open(&target).unwrap();
        assert_eq!(part.missing(layout, "\"a\"").unwrap(), chunks[..1]);
        // Damaged meanwhile.
        part.file.write_all_at(b"!", chunks[1].offset).unwrap();
        assert_eq!(part.missing(layout, "\"a\"").unwrap(), chunks);
        part.write(layout, chunks[1], b"xyz", &sum(b"xyz")).unwrap();
        assert_eq!(part.missing(layout, "\"b\"").unwrap(), chunks);
        assert_eq!(part.missing(layout, "\"b\"").unwrap(), chunks);
        part.keep(layout.size(), Finish::default()).unwrap();
        assert_eq!(target.metadata().unwrap().len(), layout.size());
        assert!(!folder.path().join("f.part").exists());
    }
}
