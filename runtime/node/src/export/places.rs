//! What Ganesha is shown of this machine's files: a mount for each export, and nothing above it.
//!
//! Ganesha takes names such as `/etc` and `../..` from clients as they are, so it must not see
//! anything that is not to be served. It lives in a root of its own (see
//! [`helper`](super::helper)); these mounts are made outside and show up there.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_bind, mount_change,
    move_mount, open_tree, unmount,
};

use super::ganesha_config::ServedExport;
use super::mount_table;
use crate::directories::{self, PathError, cannot};

fn failed<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> PathError {
    cannot(action, path)
}

/// The directory of these mounts.
pub(super) struct Places<'a>(&'a Path);

impl<'a> Places<'a> {
    pub(super) fn new(directory: &'a Path) -> Self {
        Self(directory)
    }

    /// Makes the directory a mount whose mounts show in other name spaces. Whether it was none.
    pub(super) fn share(&self) -> Result<bool, PathError> {
        let path = self.0;
        let mounts = mount_table::read().map_err(failed("share", path))?;
        match mount_table::find(&mounts, path) {
            Some(mount) if mount.is_shared => return Ok(false),
            Some(_) => {}
            None => mount_bind(path, path).map_err(failed("share", path))?,
        }
        mount_change(path, MountPropagationFlags::SHARED).map_err(failed("share", path))?;
        Ok(true)
    }

    /// Shows the directory of an export, without what is mounted below it.
    pub(super) fn show(&self, number: u16, directory: &Path) -> Result<(), PathError> {
        let place = self.0.join(number.to_string());
        let mounts = mount_table::read().map_err(failed("show", directory))?;
        if mount_table::find(&mounts, &place).is_some() {
            if is_same(&place, directory) {
                return Ok(());
            }
            Self::hide(&place)?;
        }
        directories::private(&place).map_err(failed("make", &place))?;
        // By a handle that followed no symbolic link.
        let opened = openat2(
            rustix::fs::CWD,
            directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        );
        let opened = opened.map_err(failed("open", directory))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(&opened, c"", flags).map_err(failed("show", directory))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, c"", rustix::fs::CWD, &place, flags).map_err(failed("show", directory))
    }

    /// Hides all but these.
    pub(super) fn keep_only(&self, exports: &[ServedExport]) -> Result<(), PathError> {
        let is_kept = |place: &Path| {
            let mut names = exports.iter().map(|export| export.number.to_string());
            names.any(|name| place.file_name() == Some(name.as_ref()))
        };
        let listed = std::fs::read_dir(self.0).map_err(failed("list", self.0))?;
        for entry in listed {
            let place = entry.map_err(failed("list", self.0))?.path();
            if !is_kept(&place) {
                Self::hide(&place)?;
                std::fs::remove_dir(&place).map_err(failed("remove", &place))?;
            }
        }
        Ok(())
    }

    /// Hides everything, and is no mount any more.
    pub(super) fn remove(&self) -> Result<(), PathError> {
        self.keep_only(&[])?;
        Self::hide(self.0)
    }

    /// Also while the server holds it.
    fn hide(place: &Path) -> Result<(), PathError> {
        loop {
            match unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                // Not mounted any more.
                Err(rustix::io::Errno::INVAL) => return Ok(()),
                Err(errno) => return Err(failed("hide", place)(errno)),
            }
        }
    }
}

fn is_same(place: &Path, directory: &Path) -> bool {
    let identity = |path: &Path| {
        let found = rustix::fs::stat(path).ok()?;
        Some((found.st_dev, found.st_ino))
    };
    identity(place).is_some() && identity(place) == identity(directory)
}
