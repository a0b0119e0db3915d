//! What is told about one thing on a file server.

use std::os::fd::OwnedFd;

use jiff::Timestamp;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstatat};
use serde::{Deserialize, Serialize};

use crate::files::content::etag;

/// A file, a directory, a link, or something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// Its name in its directory.
    pub(super) name: String,
    /// Set when the name is not UTF-8: it is shown with marks in place of what
    /// cannot be read, and nothing can be done with it here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) name_is_not_utf8: bool,
    /// What it is.
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// The length of a file in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    /// When it was last written.
    pub(super) modified: Timestamp,
    /// Its permissions in octal digits: `0644`.
    pub(super) mode: String,
    /// The validator that its content is sent with; of files only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    /// Where a link leads, as it stands in the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    /// A pipe, a socket, a device.
    Other,
}

impl Kind {
    fn of(stat: &FileStat) -> Self {
        let kind = stat.st_mode & SFlag::S_IFMT.bits();
        let is = |flag: SFlag| kind == flag.bits();
        if is(SFlag::S_IFREG) {
            Self::File
        } else if is(SFlag::S_IFDIR) {
            Self::Directory
        } else if is(SFlag::S_IFLNK) {
            Self::Link
        } else {
            Self::Other
        }
    }
}

/// What `name` in a directory is, links not followed.
pub(super) fn look_at(directory: &OwnedFd, name: &std::ffi::OsStr) -> nix::Result<Entry> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = Kind::of(&stat);
    let target = (kind == Kind::Link)
        .then(|| readlinkat(directory, name))
        .transpose()?;
    let shown = name.to_string_lossy();
    Ok(Entry {
        name_is_not_utf8: name.to_str().is_none(),
        target: target.map(|target| target.to_string_lossy().into_owned()),
        ..described(&stat, kind, shown.into_owned())
    })
}

/// What an open directory is.
pub(super) fn described_root(stat: &FileStat) -> Entry {
    described(stat, Kind::of(stat), ".".into())
}

fn described(stat: &FileStat, kind: Kind, name: String) -> Entry {
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let is_file = kind == Kind::File;
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    let modified = Timestamp::new(stat.st_mtime, nanoseconds);
    Entry {
        name,
        name_is_not_utf8: false,
        kind,
        size: is_file.then_some(size),
        modified: modified.unwrap_or(Timestamp::UNIX_EPOCH),
        mode: format!("{:04o}", stat.st_mode & 0o7777),
        etag: is_file.then(|| etag((stat.st_mtime, stat.st_mtime_nsec), size, stat.st_ino)),
        target: None,
    }
}
