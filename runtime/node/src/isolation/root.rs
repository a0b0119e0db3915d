//! The root of a container: a process leaves the machine's for it, and takes along what a job
//! sees at the same path everywhere.
//!
//! The contents of that root are an image's and a job's: whoever is root here may walk there only
//! without following links, and before `/proc` is there, whose links lead elsewhere.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{chdir, fchdir, pivot_root};
use serde::{Deserialize, Serialize};

use super::mounts::{
    DIRECTORY, MountError, MountPlan, PrivateSource, at, attach, leave_host_namespace,
    mount_memory, open, show, take, take_private,
};
use super::{Identity, attributes, dev};

/// A root that all processes of a job on a node share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRoot {
    /// Where the daemon has mounted it.
    pub path: PathBuf,
    /// The file that holds the user name space of its processes.
    pub user_namespace: PathBuf,
    /// Whom its root is outside.
    pub owner: Identity,
}

/// What of the machine a container sees, whatever its job is: all of it is read-only but the
/// processes.
const SYSTEM: [(&str, bool); 2] = [("/sys", true), ("/proc", false)];

/// Gives the calling process the container's root, and what the plan shows in it. As root, before
/// privileges go. What the plan hides is not there anyway.
///
/// The user name space is handed back, to be entered when nothing is left to do as root.
pub(super) fn enter(plan: &MountPlan, root: &ContainerRoot) -> Result<OwnedFd, MountError> {
    let namespace = &root.user_namespace;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let user_namespace =
        rustix::fs::open(namespace, flags, Mode::empty()).map_err(at(namespace))?;
    leave_host_namespace().map_err(at(Path::new("/")))?;
    let taken = Taken::all(plan)?;
    let machine = open(Path::new("/"))?;
    let devices = open(Path::new(dev::DEV))?;
    let queues = dev::take_queues(&devices);
    // Both at one place: what was the root covers the new one until it goes.
    chdir(&root.path).map_err(at(&root.path))?;
    pivot_root(".", ".").map_err(at(&root.path))?;
    chdir("/").map_err(at(&root.path))?;
    let umask = rustix::process::umask(Mode::empty());
    let filled = fill(plan, root, taken, (&devices, queues));
    rustix::process::umask(umask);
    filled?;
    fchdir(&machine).map_err(at(Path::new("/")))?;
    unmount(".", UnmountFlags::DETACH).map_err(at(Path::new("/")))?;
    chdir("/").map_err(at(Path::new("/")))?;
    Ok(user_namespace)
}

/// What is shown in the container, taken while its places on the machine can be seen.
struct Taken {
    private: Vec<Option<OwnedFd>>,
    kept: Vec<OwnedFd>,
    binds: Vec<OwnedFd>,
    trees: Vec<OwnedFd>,
    system: Vec<OwnedFd>,
}

impl Taken {
    fn all(plan: &MountPlan) -> Result<Self, MountError> {
        let paths =
            |paths: &mut dyn Iterator<Item = &Path>| paths.map(take).collect::<Result<Vec<_>, _>>();
        Ok(Self {
            private: plan
                .private
                .iter()
                .map(take_private)
                .collect::<Result<_, _>>()?,
            kept: paths(&mut plan.keep.iter().map(PathBuf::as_path))?,
            binds: paths(&mut plan.binds.iter().map(|bind| bind.source.as_path()))?,
            trees: paths(&mut plan.trees.iter().map(|tree| tree.source.as_path()))?,
            system: paths(&mut SYSTEM.iter().map(|(path, _)| Path::new(*path)))?,
        })
    }
}

fn fill(
    plan: &MountPlan,
    root: &ContainerRoot,
    taken: Taken,
    (devices, queues): (&OwnedFd, Option<OwnedFd>),
) -> Result<(), MountError> {
    let owner = root.owner;
    directory(Path::new(dev::DEV), owner)?;
    dev::fill(plan.devices.as_deref().unwrap_or_default(), devices, queues)?;
    for (private, tree) in plan.private.iter().zip(taken.private) {
        let path = &private.target;
        let place = match directory(path, owner) {
            Ok(place) => place,
            // As `/var/tmp` may lead to `/tmp`, which is private as well.
            Err(error) if is_link(error.source) => continue,
            Err(error) => return Err(error),
        };
        match (&private.source, tree) {
            (PrivateSource::Memory { size_bytes }, _) => {
                mount_memory(path, &format!("size={size_bytes},mode=1777"))?;
            }
            (PrivateSource::Directory(_), Some(tree)) => attach(&tree, place).map_err(at(path))?,
            (PrivateSource::Directory(_), None) => {}
        }
    }
    for (path, tree) in plan.keep.iter().zip(taken.kept) {
        attach(&tree, directory(path, owner)?).map_err(at(path))?;
    }
    for (bind, tree) in plan.binds.iter().zip(taken.binds) {
        let path = &bind.target;
        if bind.read_only {
            attributes::make_read_only(&tree).map_err(at(path))?;
        }
        let is_directory = rustix::fs::fstat(&tree).map_err(at(path))?;
        let is_directory = rustix::fs::FileType::from_raw_mode(is_directory.st_mode).is_dir();
        let place = if is_directory {
            directory(path, owner)?
        } else {
            file(path, owner)?
        };
        attach(&tree, place).map_err(at(path))?;
    }
    for (tree, taken) in plan.trees.iter().zip(taken.trees) {
        show(tree, &taken)?;
    }
    for ((path, read_only), tree) in SYSTEM.iter().zip(taken.system) {
        let path = Path::new(path);
        if *read_only {
            attributes::make_read_only(&tree).map_err(at(path))?;
        }
        attach(&tree, directory(path, owner)?).map_err(at(path))?;
    }
    Ok(())
}

fn is_link(errno: Errno) -> bool {
    matches!(errno, Errno::LOOP | Errno::NOTDIR)
}

/// Opens a directory of the root, and makes what is missing of the way; through no link.
fn directory(path: &Path, owner: Identity) -> Result<OwnedFd, MountError> {
    let mut here = open(Path::new("/"))?;
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    for name in parts {
        here = match openat(&here, name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {
                match mkdirat(&here, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => hand_over(&here, name, owner).map_err(at(path))?,
                    // Another process of the job is just being started.
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(at(path)(error)),
                }
                openat(&here, name, DIRECTORY, Mode::empty()).map_err(at(path))?
            }
            opened => opened.map_err(at(path))?,
        };
    }
    Ok(here)
}

/// Opens a file of the root to be covered; what is no plain file there makes room for an empty one.
fn file(path: &Path, owner: Identity) -> Result<OwnedFd, MountError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(at(path)(Errno::INVAL));
    };
    let parent = directory(parent, owner)?;
    let plain = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = || -> rustix::io::Result<Option<OwnedFd>> {
        let found = match openat(&parent, name, plain, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            found => found?,
        };
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        Ok(kind.is_file().then_some(found))
    };
    if let Some(found) = opened().map_err(at(path))? {
        return Ok(found);
    }
    match unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(at(path)(error)),
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map_err(at(path))?;
    hand_over(&parent, name, owner).map_err(at(path))?;
    opened()
        .map_err(at(path))?
        .ok_or_else(|| at(path)(Errno::LOOP))
}

fn hand_over(parent: &OwnedFd, name: &std::ffi::OsStr, owner: Identity) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)
}
