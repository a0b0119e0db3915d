//! Asking the kernel to mount and unmount, and what is mounted.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_change, mount_remount, move_mount, open_tree, unmount,
};
use tokio::sync::oneshot;

/// Something that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) path: PathBuf,
    /// `ro`, `noexec` and so on, of this mount.
    options: Vec<String>,
}

impl Point {
    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }
}

/// What this process sees mounted, in the kernel's order.
pub(super) fn points() -> io::Result<Vec<Point>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Lines are `id parent device root PATH OPTIONS …` (proc(5)).
fn parse(mountinfo: &[u8]) -> Vec<Point> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let point = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ').skip(4);
        let path = OsString::from_vec(unescaped(fields.next()?));
        let options = String::from_utf8_lossy(fields.next()?).into_owned();
        Some(Point {
            path: path.into(),
            options: options.split(',').map(str::to_owned).collect(),
        })
    };
    lines.filter_map(point).collect()
}

/// Blanks, line ends and backslashes stand there as `\040` and so on.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\').then(|| after.get(..3)).flatten();
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        text.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    text
}

/// What is mounted at or below a directory, the innermost first and the last one before what
/// it covers. The directory's own path must not go through a link.
pub(super) fn points_in(directory: &Path) -> io::Result<Vec<Point>> {
    let mut found = points()?;
    found.retain(|point| point.path.starts_with(directory));
    found.reverse();
    found.sort_by_key(|point| std::cmp::Reverse(point.path.components().count()));
    Ok(found)
}

pub(super) fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(points()?.iter().any(|point| point.path == path))
}

/// A file system in memory for mount points. What is mounted and unmounted there shows in name
/// spaces that began as copies of this one, so that none of them keeps anything busy.
pub(super) fn mount_memory(path: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(c"lote", path, c"tmpfs", flags, Some(c"mode=0711,size=16m"))?;
    Ok(mount_change(path, MountPropagationFlags::SHARED)?)
}

/// A handle on a directory that is not a symbolic link.
const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Shows a directory at another place. `below` is a way from it that leads through no link out
/// of it; the place must be one that only root can replace.
pub(super) fn bind(directory: &Path, below: Option<&str>, place: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut shown = openat(CWD, directory, flags, Mode::empty())?;
    if let Some(below) = below
        .map(|path| path.trim_matches('/'))
        .filter(|path| !path.is_empty())
    {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        shown = openat2(&shown, below, flags, Mode::empty(), resolve)?;
    }
    let place = openat(CWD, place, DIRECTORY, Mode::empty())?;
    attach(&copy_of(&shown, OpenTreeFlags::empty())?, &place)
}

/// Shows all that is mounted at `shown` at an open directory as well.
pub(super) fn bind_at(shown: &Path, place: &OwnedFd) -> io::Result<()> {
    let shown = openat(CWD, shown, DIRECTORY, Mode::empty())?;
    attach(&copy_of(&shown, OpenTreeFlags::AT_RECURSIVE)?, place)
}

fn copy_of(shown: &OwnedFd, flags: OpenTreeFlags) -> io::Result<OwnedFd> {
    let flags = flags
        | OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(shown, c"", flags)?)
}

fn attach(tree: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, c"", place, c"", flags)?)
}

/// Opens a directory below another one, and makes what is missing of the way; through no link,
/// because others may change what lies there.
pub(super) fn directory_below(base: &Path, way: &str, mode: u32) -> io::Result<OwnedFd> {
    let mut here = openat(CWD, base, DIRECTORY, Mode::empty())?;
    for part in way.split('/').filter(|part| !part.is_empty()) {
        here = match openat(&here, part, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {
                match mkdirat(&here, part, Mode::from_raw_mode(mode)) {
                    // Another node of the job may be quicker.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                openat(&here, part, DIRECTORY, Mode::empty())?
            }
            opened => opened?,
        };
    }
    Ok(here)
}

/// What a mount does not allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Restrictions {
    pub(super) read_only: bool,
    pub(super) no_exec: bool,
}

/// No set-user-id programs and no device files at a mount point, and what else is not allowed; on
/// top of what is not allowed there already.
pub(super) fn restrict(place: &Path, restrictions: Restrictions) -> io::Result<()> {
    let known = points()?;
    let point = known.iter().rev().find(|point| point.path == place);
    let has = |option| point.is_some_and(|point| point.has(option));
    let mut flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::RDONLY, restrictions.read_only || has("ro"));
    flags.set(MountFlags::NOEXEC, restrictions.no_exec || has("noexec"));
    flags.set(MountFlags::NOATIME, has("noatime"));
    flags.set(MountFlags::NODIRATIME, has("nodiratime"));
    flags.set(MountFlags::RELATIME, has("relatime"));
    Ok(mount_remount(place, flags, c"")?)
}

/// How a mount goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Only if nobody uses it.
    Unused,
    /// At once from its place; it ends when nobody uses it any more.
    Lazily,
    /// The same, and what waits for its server fails.
    ByForce,
}

/// Unmounts what was mounted last at a place. What is no mount point any more is no error.
pub(super) fn leave(place: &Path, how: Leaving) -> io::Result<()> {
    let flags = match how {
        Leaving::Unused => UnmountFlags::empty(),
        Leaving::Lazily => UnmountFlags::DETACH,
        Leaving::ByForce => UnmountFlags::DETACH | UnmountFlags::FORCE,
    };
    match unmount(place, flags | UnmountFlags::NOFOLLOW) {
        Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

/// Does something that a file system may keep for ever, in a thread of its own: one that hangs
/// must not take a place among those that work. None if it takes too long; it goes on then.
pub(crate) async fn bounded<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("mount".into());
    let started = thread.spawn(move || done.send(work()).ok());
    if let Err(error) = started {
        tracing::warn!(%error, "cannot start a thread for a mount");
        return None;
    }
    tokio::time::timeout(limit, result).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read() {
        let text =
            b"36 35 98:0 /mnt1 /mnt/my\\040disk\\134x rw,noatime master:1 - ext3 /dev/root rw\n\
                     37 36 0:3 / /mnt ro,nosuid - tmpfs lote rw\n";
        let found = parse(text);
        assert_eq!(found[0].path, Path::new("/mnt/my disk\\x"));
        assert!(found[0].has("noatime") && !found[0].has("ro"));
        assert_eq!(found[1].options, ["ro", "nosuid"]);
    }

    #[test]
    fn this_process_sees_its_root() {
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        assert!(!is_mount_point(Path::new("/proc/self")).unwrap());
    }

    #[tokio::test]
    async fn what_hangs_is_left_behind() {
        let (hold, wait) = std::sync::mpsc::channel::<()>();
        let never = bounded(Duration::from_millis(20), move || wait.recv().ok()).await;
        assert_eq!(never, None);
        drop(hold);
        let limit = Duration::from_mins(1);
        assert_eq!(bounded(limit, || 7).await, Some(7));
    }

    #[test]
    fn a_way_through_a_link_is_not_gone() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("link")).unwrap();
        assert!(directory_below(folder.path(), "link/tmp", 0o700).is_err());
        assert!(directory_below(folder.path(), "made/deep", 0o700).is_ok());
        assert!(folder.path().join("made/deep").is_dir());
    }
}
