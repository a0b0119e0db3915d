//! Room on the disk that only the store can use.
//!
//! A job or a client of a file server may fill the disk that the store's file is on. Blocks that
//! belong to the file already cannot be taken by anybody else, so the file is given more of them
//! than it has in use: those of its holes, and some behind its end, where it will grow.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

/// At most this part of what is free goes behind the end of the file, and into it in all.
const SHARE_BEHIND: u64 = 8;
const SHARE: u64 = 2;

/// The store's room.
pub(super) struct Reserve {
    /// How much there is to be behind the end of the file; nothing at all if zero.
    bytes: u64,
    /// The length of the file for which that was done last.
    done_for: AtomicU64,
}

impl Reserve {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            done_for: AtomicU64::new(0),
        }
    }

    /// Sees to it after the file has grown. That there is no room for it is no error: what the
    /// file has is as good as before, and the next call tries again.
    pub(super) fn keep(&self, path: &Path) {
        if self.bytes > 0
            && let Err(error) = self.try_keep(path)
        {
            tracing::debug!(file = %path.display(), %error, "no room can be set aside for the store");
        }
    }

    fn try_keep(&self, path: &Path) -> io::Result<()> {
        let length = path.metadata()?.len();
        if length == self.done_for.load(Ordering::Relaxed) {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).open(path)?;
        let space = fstatvfs(&file)?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let has = file.metadata()?.blocks() * 512;
        let behind = self.bytes.min(free / SHARE_BEHIND);
        let wanted = length + behind;
        if behind == 0 || wanted.saturating_sub(has) > free / SHARE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        fallocate(&file, FallocateFlags::KEEP_SIZE, 0, wanted)?;
        self.done_for.store(length, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_owns_more_than_it_uses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        let reserve = Reserve::new(1 << 20);
        reserve.try_keep(&path).unwrap();
        let file = path.metadata().unwrap();
        assert_eq!(file.len(), 1 << 20);
        assert!(file.blocks() * 512 >= 2 << 20, "{} blocks", file.blocks());
        assert_eq!(reserve.done_for.load(Ordering::Relaxed), 1 << 20);
        Reserve::new(0).keep(Path::new("/no/such/file"));
    }
}
