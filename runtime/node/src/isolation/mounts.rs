//! A private view of the file system for one process.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, mount_remount, move_mount, open_tree, unmount,
};
use serde::{Deserialize, Serialize};

use super::dev::{self, DeviceNode};
use super::root::{self, ContainerRoot};

/// What the process sees different from the host.
///
/// The parts are applied in the order of the members. Sources and kept
/// directories are taken hold of first, so they may lie below something that is
/// replaced or hidden.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Another root than the machine's; what is hidden, detached or read-only is then not looked
    /// at, because nothing of it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ContainerRoot>,
    /// All device files that there are; `None` leaves the machine's `/dev`.
    pub devices: Option<Vec<DeviceNode>>,
    /// Directories replaced by private ones, such as `/tmp`.
    pub private: Vec<PrivateDirectory>,
    /// Directories that look empty (files: read as empty). Missing ones are no
    /// error: there is nothing to hide.
    pub hidden: Vec<PathBuf>,
    /// Directories that stay visible under their own path although they lie below
    /// a private or hidden one. One that lies below neither costs nothing.
    pub keep: Vec<PathBuf>,
    /// Files or directories shown at another place, over what is there.
    pub binds: Vec<BindMount>,
    /// File systems mounted for the job, with all that is mounted below them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trees: Vec<MountedTree>,
    /// Mount points of which the process sees nothing, with all that is mounted below them. One
    /// at which nothing is mounted is no error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detached: Vec<PathBuf>,
    /// Mount points or directories that cannot be written to.
    pub read_only: Vec<PathBuf>,
}

/// A directory that the process does not share with the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateDirectory {
    /// What is replaced; a missing one is skipped.
    pub target: PathBuf,
    /// What is there instead.
    pub source: PrivateSource,
}

/// Where the contents of a private directory live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivateSource {
    /// In this directory of the host, which the caller created with the right
    /// owner and removes afterwards. Processes given the same one share it.
    Directory(PathBuf),
    /// In memory, gone with the process; counted to the job's memory.
    Memory {
        /// The most it may hold.
        size_bytes: u64,
    },
}

/// A file or directory shown at another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// What is shown.
    pub source: PathBuf,
    /// Where; must exist.
    pub target: PathBuf,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// Something that is mounted for the job, and where the process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedTree {
    /// Where it is mounted on the host.
    pub source: PathBuf,
    /// A directory that only root can replace.
    pub base: PathBuf,
    /// The directory below that. The job may have made the way there, so no link is followed.
    pub relative: PathBuf,
}

/// A mount that failed.
#[derive(Debug)]
pub(crate) struct MountError {
    pub(crate) path: PathBuf,
    pub(crate) source: Errno,
}

/// Gives the calling process its private view. As root, before privileges go. In a container, the
/// user name space that it is to enter is handed back.
pub(crate) fn apply(plan: &MountPlan) -> Result<Option<OwnedFd>, MountError> {
    match &plan.root {
        Some(root) => root::enter(plan, root).map(Some),
        None => change(plan).map(|()| None),
    }
}

fn change(plan: &MountPlan) -> Result<(), MountError> {
    leave_host_namespace().map_err(at(Path::new("/")))?;
    // Copies of the mounts are taken before anything covers them.
    let private: Vec<_> = plan
        .private
        .iter()
        .map(take_private)
        .collect::<Result<_, _>>()?;
    let kept = plan.keep.iter().filter(|path| plan.covers(path));
    let kept: Vec<_> = kept
        .map(|path| Ok((path, take(path)?)))
        .collect::<Result<_, _>>()?;
    let binds: Vec<_> = plan
        .binds
        .iter()
        .map(|bind| take(&bind.source))
        .collect::<Result<_, _>>()?;
    let trees: Vec<_> = plan
        .trees
        .iter()
        .map(|tree| take(&tree.source))
        .collect::<Result<_, _>>()?;
    // Before something covers them; what this process needs of them has been taken.
    plan.detached.iter().try_for_each(|path| detach(path))?;
    if let Some(nodes) = &plan.devices {
        dev::replace(nodes)?;
    }
    for (directory, tree) in plan.private.iter().zip(private) {
        cover(directory, tree)?;
    }
    plan.hidden.iter().try_for_each(|path| hide(path, plan))?;
    for (path, tree) in kept {
        let target = plan.make_target(path).map_err(at(path))?;
        attach(&tree, target).map_err(at(path))?;
    }
    for (bind, tree) in plan.binds.iter().zip(binds) {
        attach(&tree, open(&bind.target)?).map_err(at(&bind.target))?;
        if bind.read_only {
            make_read_only(&bind.target)?;
        }
    }
    for (tree, taken) in plan.trees.iter().zip(trees) {
        show(tree, &taken)?;
    }
    plan.read_only.iter().try_for_each(|path| {
        attach(&take(path)?, open(path)?).map_err(at(path))?;
        make_read_only(path)
    })
}

/// Lets go of a mount point and all that is mounted below it.
fn detach(path: &Path) -> Result<(), MountError> {
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // Nothing is mounted there.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(at(path)(error)),
    }
}

/// Shows a file system of the job. This is root walking where the job may have planted a link.
pub(super) fn show(tree: &MountedTree, taken: &OwnedFd) -> Result<(), MountError> {
    let path = tree.base.join(&tree.relative);
    let base = rustix::fs::open(&tree.base, DIRECTORY, Mode::empty()).map_err(at(&tree.base))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let target = openat2(&base, &tree.relative, DIRECTORY, Mode::empty(), resolve);
    attach(taken, target.map_err(at(&path))?).map_err(at(&path))
}

/// Mounts made here stay here; those the host makes or removes later still show,
/// so that a job never keeps a file server busy that the host has let go.
pub(super) fn leave_host_namespace() -> rustix::io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
}

/// What a private directory is to be covered with, if it is a directory's copy.
pub(super) fn take_private(directory: &PrivateDirectory) -> Result<Option<OwnedFd>, MountError> {
    match &directory.source {
        PrivateSource::Directory(source) => take(source).map(Some),
        PrivateSource::Memory { .. } => Ok(None),
    }
}

fn cover(directory: &PrivateDirectory, tree: Option<OwnedFd>) -> Result<(), MountError> {
    let path = &directory.target;
    if !path.exists() {
        return Ok(());
    }
    match (&directory.source, tree) {
        (PrivateSource::Memory { size_bytes }, _) => {
            // Open to all like the original: the process is the only one there.
            mount_memory(path, &format!("size={size_bytes},mode=1777"))
        }
        (PrivateSource::Directory(_), Some(tree)) => attach(&tree, open(path)?).map_err(at(path)),
        (PrivateSource::Directory(_), None) => Ok(()),
    }
}

fn hide(path: &Path, plan: &MountPlan) -> Result<(), MountError> {
    match path.metadata() {
        Err(_) => Ok(()),
        Ok(metadata) if metadata.is_dir() => {
            let passable = plan.keep.iter().any(|kept| is_below(kept, path));
            mount_memory(
                path,
                if passable {
                    "size=64k,mode=0711"
                } else {
                    "size=4k,mode=0000"
                },
            )
        }
        Ok(_) => attach(&take(Path::new("/dev/null"))?, open(path)?).map_err(at(path)),
    }
}

impl MountPlan {
    /// Whether a path would disappear under something private or hidden.
    fn covers(&self, path: &Path) -> bool {
        self.covering(path, |_| true).is_some()
    }

    /// The innermost directory that covers a path, of those that `counts`.
    fn covering(&self, path: &Path, counts: impl Fn(&Path) -> bool) -> Option<&Path> {
        let private = self
            .private
            .iter()
            .map(|directory| directory.target.as_path());
        let covering = private.chain(self.hidden.iter().map(PathBuf::as_path));
        covering
            .filter(|cover| is_below(path, cover) && counts(cover))
            .max_by_key(|cover| cover.as_os_str().len())
    }

    /// Creates the place for a kept directory inside what covers it. The job may
    /// own that place from an earlier process, so no symbolic link is followed:
    /// this is root walking through another's directory.
    fn make_target(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        // A hidden directory may itself have disappeared under a private one.
        let cover = self.covering(path, Path::exists).ok_or(Errno::NOENT)?;
        let mut place = rustix::fs::open(cover, DIRECTORY, Mode::empty())?;
        for part in path.strip_prefix(cover).map_err(|_| Errno::NOENT)? {
            match mkdirat(&place, part, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) | Ok(()) => {}
                Err(error) => return Err(error),
            }
            place = openat(&place, part, DIRECTORY, Mode::empty())?;
        }
        Ok(place)
    }
}

/// A handle on a directory that is not a symbolic link.
pub(super) const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn is_below(path: &Path, directory: &Path) -> bool {
    path != directory && path.starts_with(directory)
}

/// A detached copy of what is mounted and stored at a path.
pub(super) fn take(path: &Path) -> Result<OwnedFd, MountError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).map_err(at(path))
}

pub(super) fn open(path: &Path) -> Result<OwnedFd, MountError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(at(path))
}

pub(super) fn attach(tree: &OwnedFd, target: OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, c"", target, c"", flags)
}

pub(super) fn mount_memory(path: &Path, options: &str) -> Result<(), MountError> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let options = std::ffi::CString::new(options).map_err(|_| at(path)(Errno::INVAL))?;
    mount(c"tmpfs", path, c"tmpfs", flags, Some(options.as_c_str())).map_err(at(path))
}

fn make_read_only(path: &Path) -> Result<(), MountError> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
    mount_remount(path, flags, c"").map_err(at(path))
}

pub(super) fn at(path: &Path) -> impl FnOnce(Errno) -> MountError {
    move |source| MountError {
        path: path.into(),
        source,
    }
}
