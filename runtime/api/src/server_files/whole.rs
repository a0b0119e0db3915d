//! A small file that comes in one request.

use std::fs::File;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use lote_model::id::UnixId;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::fault::Fault;
use super::target::{Target, enter, incomplete};
use crate::files::Directory;
use crate::files::identity::FsIdentity;
use crate::files::relative::RelativePath;

/// How a file is to be once it is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    /// Whether it may take the place of another.
    pub(super) overwrite: bool,
    /// Its permissions.
    pub(super) mode: u32,
    /// When it was last written, as far as those are concerned who look at it.
    pub(super) modified: Option<Timestamp>,
}

impl Finish {
    /// Says so of the file, and has all of it on disk.
    pub(super) fn settle(self, file: &File) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(std::fs::Permissions::from_mode(self.mode))?;
        if let Some(modified) = self.modified {
            file.set_modified(modified.into())?;
        }
        file.sync_all()
    }
}

/// A file without its name yet; removed when it does not get it.
pub(super) struct Draft {
    target: Option<Target>,
    name: std::ffi::CString,
    pub(super) file: Arc<File>,
    owner: Option<UnixId>,
}

impl Draft {
    /// Begins one beside the target. Blocks.
    pub(super) fn begin(
        directory: &Directory,
        path: &RelativePath,
        overwrite: bool,
    ) -> Result<Self, Fault> {
        let export = enter(directory)?;
        let target = Target::make_way(&export, path)?;
        if !overwrite && target.is_taken()? {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
        }
        let name = incomplete(&uuid::Uuid::new_v4().to_string())?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&target.parent, name.as_c_str(), flags, mode)?;
        Ok(Self {
            target: Some(target),
            name,
            file: Arc::new(file.into()),
            owner: directory.owner,
        })
    }

    /// Gives the file its name. Blocks.
    pub(super) fn keep(mut self, finish: Finish) -> Result<(), Fault> {
        let _identity = FsIdentity::assume(self.owner)?;
        finish.settle(&self.file)?;
        if let Some(target) = self.target.take() {
            if let Err(error) = target.take(&self.name, finish.overwrite) {
                // It is removed on the way out.
                self.target = Some(target);
                return Err(error.into());
            }
            nix::unistd::fsync(&target.parent)?;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(target) = self.target.take() else {
            return;
        };
        let removed = FsIdentity::assume(self.owner).and_then(|_identity| {
            Ok(unlinkat(
                &target.parent,
                self.name.as_c_str(),
                UnlinkatFlags::NoRemoveDir,
            )?)
        });
        if let Err(error) = removed {
            tracing::debug!("a file that did not become complete is still there: {error}");
        }
    }
}
