//! A file that comes in chunks, over several requests, connections and clients.
//!
//! Its state is the incomplete file itself ([`Layout`]): a chunk is there when its
//! digest stands behind the data, and that is written after the chunk is on disk.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use lote_model::id::UnixId;
use lote_model::transfer::{ABSENT, CHUNK_BYTES, Chunk, DIGEST_BYTES, Digest, Layout, hex};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::busy::Turn;
use super::fault::Fault;
use super::target::{Entered, Target, enter, incomplete};
use super::whole::Finish;
use crate::files::Directory;
use crate::files::identity::FsIdentity;
use crate::files::relative::RelativePath;

/// The names that clients give to uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UploadName(String);

impl UploadName {
    /// Reads one: 8 to 64 letters, digits and `-`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let good = (8..=64).contains(&text.len()) && text.chars().all(fits);
        good.then(|| Self(text.to_owned()))
    }

    /// As text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which upload, and to which file.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) directory: Directory,
    pub(super) path: RelativePath,
    pub(super) name: UploadName,
    /// How much may still be written, if that is known.
    pub(super) left: Option<u64>,
}

/// What is there of an upload, as answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    /// The size of the whole file.
    size: u64,
    /// How long chunks are.
    chunk_bytes: u64,
    /// Those that are there.
    chunks: Vec<Received>,
}

/// A chunk that is there.
#[derive(Debug, Serialize)]
struct Received {
    offset: u64,
    length: u64,
    /// Its SHA-256 in hexadecimal digits.
    sha256: String,
}

/// An open incomplete file with the place where its name stands.
struct Incomplete {
    target: Target,
    name: CString,
    file: File,
}

/// The right to write one chunk.
pub(super) struct Writer {
    pub(super) file: Arc<File>,
    pub(super) chunk: Chunk,
    layout: Layout,
    owner: Option<UnixId>,
    _turn: Turn,
}

impl Upload {
    /// Gets ready to take a chunk; the upload begins with the first. Blocks.
    pub(super) fn begin_chunk(&self, layout: Layout, chunk: Chunk) -> Result<Writer, Fault> {
        let export = enter(&self.directory)?;
        let incomplete = self.open_or_begin(&export, layout)?;
        let turn = Turn::chunk(&incomplete.file, chunk.index)?;
        // It may have been completed before it was our turn, and then it is somebody's file.
        if !incomplete.has_its_name()? {
            return Err(Fault::Busy);
        }
        incomplete.fits(layout)?;
        incomplete
            .file
            .write_all_at(&ABSENT, layout.digest_offset(chunk))?;
        Ok(Writer {
            file: Arc::new(incomplete.file),
            chunk,
            layout,
            owner: self.directory.owner,
            _turn: turn,
        })
    }

    /// Which chunks are there. Blocks.
    pub(super) fn progress(&self) -> Result<Progress, Fault> {
        let export = enter(&self.directory)?;
        let incomplete = self.open(&export)?;
        let length = incomplete.file.metadata()?.len();
        let layout = Layout::of_incomplete(length).ok_or(Fault::Size { begun_with: None })?;
        let digests = digests(&incomplete.file, layout)?;
        let there = layout
            .chunks()
            .zip(&digests)
            .filter(|(_, digest)| **digest != ABSENT);
        let received = there.map(|(chunk, digest)| Received {
            offset: chunk.offset,
            length: chunk.length,
            sha256: hex(digest),
        });
        Ok(Progress {
            size: layout.size(),
            chunk_bytes: CHUNK_BYTES,
            chunks: received.collect(),
        })
    }

    /// Makes it the file, if all of it is there and the digests of the chunks, one
    /// after the other, have the digest `whole`. Blocks.
    pub(super) fn complete(
        &self,
        layout: Layout,
        whole: &Digest,
        finish: Finish,
    ) -> Result<(), Fault> {
        let export = enter(&self.directory)?;
        let incomplete = self.open(&export)?;
        let _turn = Turn::completion(&incomplete.file)?;
        if !incomplete.has_its_name()? {
            return Err(Fault::NoUpload);
        }
        incomplete.fits(layout)?;
        let digests = digests(&incomplete.file, layout)?;
        check(layout, &digests, whole)?;
        if !finish.overwrite && incomplete.target.is_taken()? {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
        }
        let placed = incomplete.become_the_file(layout, finish);
        if placed.is_err() {
            // All of it is still there, and it can be completed once more.
            incomplete
                .file
                .write_all_at(&digests.concat(), layout.size())?;
        }
        Ok(placed?)
    }

    /// Removes it; whether there was one. Blocks.
    pub(super) fn give_up(&self) -> Result<bool, Fault> {
        let export = enter(&self.directory)?;
        let removed = self.target(&export).and_then(|target| {
            let name = incomplete(&self.name.0)?;
            Ok(unlinkat(
                &target.parent,
                name.as_c_str(),
                UnlinkatFlags::NoRemoveDir,
            )?)
        });
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn target(&self, export: &Entered) -> io::Result<Target> {
        Target::find(export, &self.path)
    }

    fn open(&self, export: &Entered) -> Result<Incomplete, Fault> {
        let opened = self
            .target(export)
            .and_then(|target| Incomplete::open(target, &self.name, OFlag::empty()));
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Fault::NoUpload),
            opened => Ok(opened?),
        }
    }

    fn open_or_begin(&self, export: &Entered, layout: Layout) -> Result<Incomplete, Fault> {
        match self.open(export) {
            Err(Fault::NoUpload) => {}
            opened => return opened,
        }
        let target = Target::make_way(export, &self.path)?;
        fits(layout.size(), self.left)?;
        fits(layout.size(), Some(room(&target.parent)?))?;
        let incomplete = Incomplete::open(target, &self.name, OFlag::O_CREAT)?;
        // Another request may have been faster; it has set the same length.
        if incomplete.file.metadata()?.len() == 0 {
            incomplete.file.set_len(layout.incomplete_length())?;
        }
        Ok(incomplete)
    }
}

impl Incomplete {
    fn open(target: Target, name: &UploadName, more: OFlag) -> io::Result<Self> {
        let name = incomplete(&name.0)?;
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | more;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = File::from(openat(&target.parent, name.as_c_str(), flags, mode)?);
        if file.metadata()?.is_file() {
            Ok(Self { target, name, file })
        } else {
            Err(io::Error::from(io::ErrorKind::NotFound))
        }
    }

    /// Whether the name still leads to the file that was opened by it.
    fn has_its_name(&self) -> io::Result<bool> {
        let named = fstatat(
            &self.target.parent,
            self.name.as_c_str(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        );
        let opened = self.file.metadata()?;
        match named {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (opened.dev(), opened.ino())),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn fits(&self, layout: Layout) -> Result<(), Fault> {
        let length = self.file.metadata()?.len();
        if length == layout.incomplete_length() {
            return Ok(());
        }
        let begun_with = Layout::of_incomplete(length).map(Layout::size);
        Err(Fault::Size { begun_with })
    }

    fn become_the_file(&self, layout: Layout, finish: Finish) -> io::Result<()> {
        self.file.set_len(layout.size())?;
        finish.settle(&self.file)?;
        self.target.take(&self.name, finish.overwrite)?;
        Ok(nix::unistd::fsync(&self.target.parent)?)
    }
}

impl Writer {
    /// The chunk counts from now on. Blocks.
    pub(super) fn keep(self, digest: &Digest) -> Result<(), Fault> {
        let _identity = FsIdentity::assume(self.owner)?;
        self.file.sync_data()?;
        let offset = self.layout.digest_offset(self.chunk);
        Ok(self.file.write_all_at(digest, offset)?)
    }
}

/// How much can be written. What is reserved for root is not for users.
fn room(directory: &OwnedFd) -> Result<u64, Fault> {
    let room = fstatvfs(directory)?;
    Ok(room.blocks_available().saturating_mul(room.fragment_size()))
}

/// Whether a file of this size fits into what is left, as far as that is known.
pub(super) fn fits(size: u64, left: Option<u64>) -> Result<(), Fault> {
    match left {
        Some(free) if free < size => Err(Fault::Room { needed: size, free }),
        _ => Ok(()),
    }
}

fn digests(file: &File, layout: Layout) -> Result<Vec<Digest>, Fault> {
    let length = usize::try_from(layout.count() * DIGEST_BYTES).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, layout.size())?;
    let (digests, _) = bytes.as_chunks::<32>();
    Ok(digests.to_vec())
}

fn check(layout: Layout, digests: &[Digest], whole: &Digest) -> Result<(), Fault> {
    let mut missing = layout
        .chunks()
        .zip(digests)
        .filter(|(_, digest)| **digest == ABSENT);
    if let Some((first, _)) = missing.next() {
        let count = 1 + missing.count() as u64;
        return Err(Fault::Missing {
            count,
            first: first.offset,
        });
    }
    let found: Digest = Sha256::digest(digests.concat()).into();
    if found == *whole {
        Ok(())
    } else {
        Err(Fault::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_uploads_are_plain() {
        for good in ["01234567", "aB-3aB-3aB-3", &"x".repeat(64)] {
            assert!(UploadName::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "0123456",
            "../0123456",
            "a.b.c.d.e",
            "0123/4567",
            &"x".repeat(65),
        ] {
            assert!(UploadName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_whole_is_all_chunks_in_their_order() {
        let layout = Layout::new(CHUNK_BYTES + 1).unwrap();
        let (one, two) = ([1; 32], [2; 32]);
        let whole: Digest = Sha256::digest([one, two].concat()).into();
        assert!(check(layout, &[one, two], &whole).is_ok());
        assert!(matches!(
            check(layout, &[two, one], &whole),
            Err(Fault::Whole)
        ));
        let missing = check(layout, &[one, ABSENT], &whole);
        assert!(matches!(
            missing,
            Err(Fault::Missing {
                count: 1,
                first: CHUNK_BYTES
            })
        ));
    }
}
