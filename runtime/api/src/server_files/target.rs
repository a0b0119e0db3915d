//! The name that something is written to.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, RenameFlags, renameat2};
use nix::sys::stat::fstatat;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::INCOMPLETE;
use super::fault::Fault;
use crate::files::Directory;
use crate::files::beneath::{make_directories, open_directory, open_root};
use crate::files::identity::FsIdentity;
use crate::files::relative::RelativePath;

/// The exported directory, with the rights of the workspace's user on this thread for
/// as long as it lives.
pub(super) struct Entered {
    pub(super) root: OwnedFd,
    _identity: FsIdentity,
}

/// Opens the exported directory. The way there is the operator's and may be closed to
/// users, so their rights count from there on.
pub(super) fn enter(directory: &Directory) -> io::Result<Entered> {
    let root = open_root(&directory.path)?;
    let identity = FsIdentity::assume(directory.owner)?;
    Ok(Entered {
        root,
        _identity: identity,
    })
}

/// A name in an open directory beneath the export.
pub(super) struct Target {
    /// The directory.
    pub(super) parent: OwnedFd,
    /// The name; one part of a path.
    pub(super) name: CString,
}

/// A path that can be written to: not the export itself, nor the name of an upload.
pub(super) fn writable(path: RelativePath) -> Result<RelativePath, Fault> {
    if path.is_root()
        || path
            .as_path()
            .iter()
            .any(|part| is_reserved(&part.to_string_lossy()))
    {
        return Err(Fault::Name);
    }
    Ok(path)
}

fn is_reserved(part: &str) -> bool {
    part.starts_with(INCOMPLETE)
}

/// How a file is called until it is complete.
pub(super) fn incomplete(upload: &str) -> io::Result<CString> {
    Ok(CString::new(format!("{INCOMPLETE}{upload}"))?)
}

impl Target {
    /// The name in a directory that must be there. Blocks.
    pub(super) fn find(export: &Entered, path: &RelativePath) -> io::Result<Self> {
        let parent = open_directory(&export.root, &path.parent())?;
        Self::of(parent, path.file_name())
    }

    /// The same; the directories on the way are made if they are not there.
    pub(super) fn make_way(export: &Entered, path: &RelativePath) -> io::Result<Self> {
        let parent = make_directories(&export.root, &path.parent())?;
        Self::of(parent, path.file_name())
    }

    fn of(parent: OwnedFd, name: &str) -> io::Result<Self> {
        let name = CString::new(name)?;
        Ok(Self { parent, name })
    }

    /// Whether something has the name, a link that leads nowhere included.
    pub(super) fn is_taken(&self) -> io::Result<bool> {
        match fstatat(
            &self.parent,
            self.name.as_c_str(),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        ) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the name to what is called `from` beside it, at one stroke.
    pub(super) fn take(&self, from: &CString, overwrite: bool) -> io::Result<()> {
        let flags = if overwrite {
            RenameFlags::empty()
        } else {
            RenameFlags::RENAME_NOREPLACE
        };
        let (parent, name) = (&self.parent, self.name.as_c_str());
        match renameat2(parent, from.as_c_str(), parent, name, flags) {
            // This file system cannot rename without replacing; a second name is never one too many.
            Err(Errno::EINVAL | Errno::ENOSYS) if !overwrite => {
                linkat(parent, from.as_c_str(), parent, name, AtFlags::empty())?;
                Ok(unlinkat(
                    parent,
                    from.as_c_str(),
                    UnlinkatFlags::NoRemoveDir,
                )?)
            }
            renamed => Ok(renamed?),
        }
    }
}
