//! The directory that a spool is copied to, reached through the host's own mount of its file
//! system, with the rights of the job's user.
//!
//! Any call here can hang for as long as the file server is away.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, mkdirat, open, openat2,
    statx,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::isolation::{FsIdentity, Identity};

/// Where a directory of a job lies in the host's view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Where the host has mounted its file system.
    pub(crate) mount_point: PathBuf,
    /// The directory below that.
    pub(crate) below: PathBuf,
    /// The mode of directories that are made on the way.
    pub(crate) mode: u32,
}

/// Why nothing arrives.
#[derive(Debug, thiserror::Error)]
pub(super) enum DestinationError {
    /// Nothing is mounted there: writing would fill the machine's own disk.
    #[error("no file system is mounted at {}", .0.display())]
    NotMounted(PathBuf),
    /// It cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

fn failed<E: Into<io::Error>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> DestinationError {
    let path = path.to_owned();
    move |source| DestinationError::Io {
        action,
        path,
        source: source.into(),
    }
}

/// The directory, open.
#[derive(Debug)]
pub(super) struct Destination {
    directory: OwnedFd,
    below: PathBuf,
    identity: Option<Identity>,
}

/// Links of the job's lead where they like on its own file system, and not out of it.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Destination {
    /// Opens it, made with all that leads to it if it is not there.
    pub(super) fn open(
        place: &Place,
        identity: Option<Identity>,
    ) -> Result<Self, DestinationError> {
        let mount_point = open_mount_point(&place.mount_point)?;
        let _rights =
            FsIdentity::assume_if(identity).map_err(failed("become the owner of", &place.below))?;
        let directory = make_directory(mount_point, &place.below, place.mode)
            .map_err(failed("create the directory", &place.below))?;
        Ok(Self {
            directory,
            below: place.below.clone(),
            identity,
        })
    }

    /// Opens one of its files, made if it is not there.
    pub(super) fn file(&self, name: &str) -> Result<File, DestinationError> {
        let path = self.below.join(name);
        self.act("open", &path, || {
            // Were it a pipe of the job's, opening it would wait for ever.
            let flags =
                OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o666);
            let file = File::from(openat2(&self.directory, name, flags, mode, INSIDE)?);
            if file.metadata()?.is_file() {
                Ok(file)
            } else {
                Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is not a regular file",
                ))
            }
        })
    }

    fn act<T>(
        &self,
        action: &'static str,
        path: &Path,
        what: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, DestinationError> {
        Self::act_as(self.identity, action, path, what)
    }

    /// Does something with the rights of the job's user.
    pub(super) fn act_as<T>(
        identity: Option<Identity>,
        action: &'static str,
        path: &Path,
        what: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, DestinationError> {
        let rights = FsIdentity::assume_if(identity);
        let done = rights.and_then(|_rights| what());
        done.map_err(failed(action, path))
    }
}

fn open_mount_point(path: &Path) -> Result<OwnedFd, DestinationError> {
    let not_mounted = || DestinationError::NotMounted(path.to_owned());
    let directory = match open(path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::NOENT) => return Err(not_mounted()),
        opened => opened.map_err(failed("open", path))?,
    };
    let about = statx(
        &directory,
        "",
        AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC,
        StatxFlags::empty(),
    );
    let about = about.map_err(failed("examine", path))?;
    let is_told = about
        .stx_attributes_mask
        .contains(StatxAttributes::MOUNT_ROOT);
    if is_told && !about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(not_mounted());
    }
    Ok(directory)
}

fn make_directory(root: OwnedFd, below: &Path, mode: u32) -> rustix::io::Result<OwnedFd> {
    if below.as_os_str().is_empty() {
        return Ok(root);
    }
    let inside = |path: &Path| openat2(&root, path, DIRECTORY, Mode::empty(), INSIDE);
    match inside(below) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    let mut path = PathBuf::new();
    let mut directory = openat2(&root, ".", DIRECTORY, Mode::empty(), INSIDE)?;
    for part in below {
        path.push(part);
        directory = match inside(&path) {
            Err(Errno::NOENT) => {
                match mkdirat(&directory, part, Mode::from_raw_mode(mode)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                inside(&path)?
            }
            opened => opened?,
        };
    }
    Ok(directory)
}

/// Gives the calling thread a umask of its own.
pub(super) fn set_umask(mask: u32) -> io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    Ok(())
}

/// Opens something of the spool itself, which belongs to the daemon.
pub(super) fn open_own(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    Ok(File::from(opened))
}
