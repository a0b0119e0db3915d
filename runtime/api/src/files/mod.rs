//! Output directories: what is in them, and the way to the bytes.
//!
//! * [`relative`] — paths below a directory, as clients write them.
//! * [`beneath`] — opening them so that nothing outside can be reached.
//! * [`identity`] — doing so with the rights of the job's user.
//! * [`listing`] — one page of a directory; [`merge`] — of several nodes' directories.
//! * [`link`] — signed links and their download.
//! * [`output`] — the output directories of a job.
//! * [`content`] — the bytes of a file as an answer; [`range`] — which of them.
//! * [`growth`] — waiting until a file grows.
//! * [`stream`] — bytes on their way to a client.

pub(crate) mod beneath;
pub(crate) mod content;
pub(crate) mod growth;
pub(crate) mod identity;
pub(crate) mod link;
pub(crate) mod listing;
pub(crate) mod merge;
pub(crate) mod output;
pub(crate) mod range;
pub(crate) mod relative;
pub(crate) mod stream;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use lote_model::id::UnixId;

use self::identity::FsIdentity;
use self::relative::RelativePath;

/// A directory on this node, and whose rights count there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    /// Absolute path.
    pub(crate) path: PathBuf,
    /// What no link on the way to it may lead out of, if others made that way.
    pub(crate) within: Option<PathBuf>,
    /// The job's user; none to use the daemon's own rights.
    pub(crate) owner: Option<UnixId>,
}

impl Directory {
    /// Opens the directory itself, with the rights of this thread.
    fn open(&self) -> io::Result<OwnedFd> {
        match &self.within {
            Some(within) => beneath::open_root_within(within, &self.path),
            None => beneath::open_root(&self.path),
        }
    }

    /// Opens a regular file below it for reading. Blocks.
    pub(crate) fn open_file(&self, path: &RelativePath) -> io::Result<File> {
        let _identity = FsIdentity::assume(self.owner)?;
        let root = self.open()?;
        beneath::open_file(&root, path)
    }

    /// Opens a directory below it, to watch it. Blocks.
    pub(crate) fn open_directory(&self, path: &RelativePath) -> io::Result<File> {
        let _identity = FsIdentity::assume(self.owner)?;
        let root = self.open()?;
        beneath::open_directory(&root, path).map(File::from)
    }
}

/// Runs file work on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
