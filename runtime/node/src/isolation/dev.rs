//! A `/dev` with nothing in it but what a job was given.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountFlags, OpenTreeFlags, mount, open_tree};
use serde::{Deserialize, Serialize};

use super::mounts::{MountError, at, attach, open};
use crate::cgroup::{DeviceKind, DeviceRule};

/// Where it is.
pub(super) const DEV: &str = "/dev";

/// Names that programs expect there.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// A device file that a job is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Its path below `/dev`, as the job sees it.
    pub name: PathBuf,
    /// Where it is on the machine.
    pub host: PathBuf,
    /// What it leads to.
    pub kind: DeviceKind,
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl DeviceNode {
    /// What lets a cgroup use it.
    pub fn rule(&self) -> DeviceRule {
        DeviceRule {
            kind: self.kind,
            major: self.major,
            minor: Some(self.minor),
        }
    }
}

/// Replaces the calling process's `/dev`: the given files, terminals of its own, an empty `shm`,
/// and the machine's message queues if it shows them.
pub(super) fn replace(nodes: &[DeviceNode]) -> Result<(), MountError> {
    let machine = open(Path::new(DEV))?;
    let queues = take_queues(&machine);
    // The bits of the files are those of the machine's.
    let umask = rustix::process::umask(Mode::empty());
    let filled = fill(nodes, &machine, queues);
    rustix::process::umask(umask);
    filled
}

pub(super) fn fill(
    nodes: &[DeviceNode],
    machine: &OwnedFd,
    queues: Option<OwnedFd>,
) -> Result<(), MountError> {
    let dev = Path::new(DEV);
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount(c"tmpfs", dev, c"tmpfs", flags, c"size=64k,mode=0755").map_err(at(dev))?;
    let made = open(dev)?;
    for node in nodes {
        make(node, &made, machine).map_err(at(&dev.join(&node.name)))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, &made, *name).map_err(at(&dev.join(name)))?;
    }
    directory(&made, Path::new("shm"), 0o1777).map_err(at(Path::new("/dev/shm")))?;
    if let Some(queues) = queues {
        let path = Path::new("/dev/mqueue");
        directory(&made, Path::new("mqueue"), 0o755).map_err(at(path))?;
        attach(&queues, open(path)?).map_err(at(path))?;
    }
    let terminals = Path::new("/dev/pts");
    directory(&made, Path::new("pts"), 0o755).map_err(at(terminals))?;
    let options = c"newinstance,mode=0620,ptmxmode=0666";
    mount(c"devpts", terminals, c"devpts", flags, options).map_err(at(terminals))
}

/// The file system of POSIX message queues, if the machine has mounted it.
pub(super) fn take_queues(machine: &OwnedFd) -> Option<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(machine, "mqueue", flags).ok()
}

/// A new device file; where nobody may make one, in containers, the machine's own is shown.
fn make(node: &DeviceNode, made: &OwnedFd, machine: &OwnedFd) -> rustix::io::Result<()> {
    let mut parents: Vec<&Path> = node.name.ancestors().skip(1).collect();
    parents.pop();
    for parent in parents.into_iter().rev() {
        directory(made, parent, 0o755)?;
    }
    let kind = match node.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
    };
    let number = rustix::fs::makedev(node.major, node.minor);
    let mode = Mode::from_raw_mode(node.mode);
    match rustix::fs::mknodat(made, &node.name, kind, mode, number) {
        Err(Errno::PERM) => return show(node, made, machine),
        made => made?,
    }
    if (node.uid, node.gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(made, &node.name, Some(uid), Some(gid), flags)
}

fn show(node: &DeviceNode, made: &OwnedFd, machine: &OwnedFd) -> rustix::io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = match node.host.strip_prefix(DEV) {
        // The path leads to what covers it by now.
        Ok(below) => open_tree(machine, below, flags)?,
        Err(_) => open_tree(CWD, &node.host, flags)?,
    };
    let create = OFlags::CREATE | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(made, &node.name, create, Mode::from_raw_mode(0o600))?;
    let place = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    attach(
        &tree,
        rustix::fs::openat(made, &node.name, place, Mode::empty())?,
    )
}

fn directory(made: &OwnedFd, name: &Path, mode: u32) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(made, name, Mode::from_raw_mode(mode)) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}
