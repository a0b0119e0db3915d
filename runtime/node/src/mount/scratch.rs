//! The directory that the nodes of a gang share, on a file server.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use lote_model::environment::SHARED_SCRATCH;

use super::kernel;
use crate::directories;
use crate::isolation::{FsIdentity, Identity};

/// Makes it below a mount, with the rights of the job's user: the first node makes it, the
/// others find it.
pub(crate) async fn make(
    mount: &Path,
    name: &str,
    identity: Identity,
    limit: Duration,
) -> io::Result<()> {
    let (mount, name) = (mount.to_owned(), name.to_owned());
    let made = kernel::bounded(limit, move || {
        let _rights = FsIdentity::assume(identity)?;
        let way = format!("{SHARED_SCRATCH}/{name}");
        kernel::directory_below(&mount, &way, 0o700).map(drop)
    });
    made.await
        .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

/// Removes it with all that is in it, with the rights of the job's user.
pub(crate) async fn remove(
    mount: &Path,
    name: &str,
    identity: Identity,
    limit: Duration,
) -> io::Result<()> {
    let (mount, name) = (mount.to_owned(), name.to_owned());
    let removed = kernel::bounded(limit, move || {
        let _rights = FsIdentity::assume(identity)?;
        let parent = kernel::directory_below(&mount, SHARED_SCRATCH, 0o700)?;
        // The way to it may be changed by others; the open directory is the right one.
        let path = format!("/proc/self/fd/{}/{name}", parent.as_raw_fd());
        directories::remove(Path::new(&path))
    });
    removed
        .await
        .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}
