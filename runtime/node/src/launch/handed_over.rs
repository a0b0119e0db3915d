//! Output files in a directory of the daemon's, which a job's processes reach by descriptor only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use crate::isolation::Identity;

/// Opens a file for appending, made if it is not there, that belongs to the user: its space counts
/// to them, and `/dev/stdout` can be opened. Nobody but the daemon can get at its directory, so
/// nothing has to be feared on the way.
pub(crate) fn open_handed_over(path: &Path, identity: Option<Identity>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = options
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NOCTTY)
        .open(path)?;
    if let Some(Identity { uid, gid }) = identity
        && file.metadata()?.uid() != uid
    {
        fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(file)
}
