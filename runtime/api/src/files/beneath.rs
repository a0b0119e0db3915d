//! Opening what lies below a directory, and nothing else.
//!
//! The kernel resolves the whole path with `RESOLVE_BENEATH` where it can: links
//! inside the directory work, and none leads out of it, whatever the job changes
//! in the meantime. An older kernel gets one part after the other, without
//! following any link.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};

use super::relative::RelativePath;

/// How often a path is tried again while directories of it are being moved.
const RACES_MAX: usize = 16;

/// Opens the directory itself. Its own name must not be a link: the node made a
/// directory there, so a link is the job's work.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// The same for a directory that lies below another one, where others made the way: no link on
/// it leads out of `within`, which itself is the word of the node or of its operator.
pub(crate) fn open_root_within(within: &Path, path: &Path) -> io::Result<OwnedFd> {
    let escapes = || io::Error::from(Errno::EXDEV);
    let way = path.strip_prefix(within).ok().and_then(Path::to_str);
    let way = RelativePath::parse(way.ok_or_else(escapes)?).map_err(|_| escapes())?;
    let base = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let base = open(within, base, Mode::empty())?;
    open_beneath(
        &base,
        &way,
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW,
    )
}

/// Opens a regular file below `root` for reading.
pub(crate) fn open_file(root: &OwnedFd, path: &RelativePath) -> io::Result<File> {
    // A pipe would block the open, a terminal could become the daemon's own.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::from(open_beneath(root, path, flags)?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}

/// Opens a directory below `root` for reading its names.
pub(crate) fn open_directory(root: &OwnedFd, path: &RelativePath) -> io::Result<OwnedFd> {
    open_beneath(root, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// Opens anything below `root`, only to ask what it is.
pub(crate) fn open_to_ask(root: &OwnedFd, path: &RelativePath) -> io::Result<OwnedFd> {
    open_beneath(root, path, OFlag::O_PATH)
}

/// Opens a directory below `root`, and makes it and those on the way to it if they
/// are not there.
pub(crate) fn make_directories(root: &OwnedFd, path: &RelativePath) -> io::Result<OwnedFd> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let opened = open_directory(root, path);
    if path.is_root() || !opened.as_ref().is_err_and(missing) {
        return opened;
    }
    // As deep as the path is long, which is limited.
    let parent = make_directories(root, &path.parent())?;
    match mkdirat(&parent, path.file_name(), Mode::from_bits_truncate(0o755)) {
        // Another request may have been faster.
        Ok(()) | Err(Errno::EEXIST) => open_directory(root, path),
        Err(error) => Err(error.into()),
    }
}

/// Whether an open failed because the path leads out of its directory.
pub(crate) fn is_escape(error: &io::Error) -> bool {
    [Errno::EXDEV, Errno::ELOOP]
        .iter()
        .any(|escape| error.raw_os_error() == Some(*escape as i32))
}

fn open_beneath(root: &OwnedFd, path: &RelativePath, flags: OFlag) -> io::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    for _ in 0..RACES_MAX {
        let how = OpenHow::new().flags(flags).resolve(resolve);
        match openat2(root, path.as_path(), how) {
            Ok(opened) => return Ok(opened),
            Err(Errno::EAGAIN) => {}
            // Not in this kernel, or forbidden by a sandbox that does not know it.
            Err(Errno::ENOSYS | Errno::EPERM) => return step_by_step(root.as_fd(), path, flags),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EAGAIN.into())
}

fn step_by_step(root: BorrowedFd<'_>, path: &RelativePath, flags: OFlag) -> io::Result<OwnedFd> {
    let on_the_way = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut parts = path.parts().peekable();
    let mut here: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let from = here.as_ref().map_or(root, AsFd::as_fd);
        let flags = if parts.peek().is_some() {
            on_the_way
        } else {
            flags | OFlag::O_NOFOLLOW
        };
        here = Some(openat(from, part.as_c_str(), flags, Mode::empty())?);
    }
    here.ok_or_else(|| Errno::ENOENT.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    /// `outside` and, beside it, `inside` with links of every kind.
    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("outside"), "secret").unwrap();
        let inside = folder.path().join("inside");
        fs::create_dir_all(inside.join("deep")).unwrap();
        fs::write(inside.join("deep/file"), "content").unwrap();
        symlink("../outside", inside.join("up")).unwrap();
        symlink(folder.path().join("outside"), inside.join("absolute")).unwrap();
        symlink("..", inside.join("parent")).unwrap();
        symlink("deep/file", inside.join("latest")).unwrap();
        symlink("inside", folder.path().join("link-to-inside")).unwrap();
        folder
    }

    #[test]
    fn no_link_leads_out() {
        let folder = tree();
        let root = open_root(&folder.path().join("inside")).unwrap();
        for bad in ["up", "absolute", "parent/outside"] {
            let error = open_file(&root, &path(bad)).unwrap_err();
            assert!(is_escape(&error), "{bad}: {error}");
            assert!(
                step_by_step(root.as_fd(), &path(bad), OFlag::O_RDONLY).is_err(),
                "{bad}"
            );
        }
        assert!(open_root(&folder.path().join("link-to-inside")).is_err());
    }

    #[test]
    fn what_is_inside_opens() {
        let folder = tree();
        let root = open_root(&folder.path().join("inside")).unwrap();
        let mut content = String::new();
        open_file(&root, &path("latest"))
            .unwrap()
            .read_to_string(&mut content)
            .unwrap();
        assert_eq!(content, "content");
        content.clear();
        let opened = step_by_step(root.as_fd(), &path("deep/file"), OFlag::O_RDONLY).unwrap();
        File::from(opened).read_to_string(&mut content).unwrap();
        assert_eq!(content, "content");
        assert!(open_directory(&root, &path(".")).is_ok());
    }

    #[test]
    fn directories_are_made_beneath_only() {
        let folder = tree();
        let root = open_root(&folder.path().join("inside")).unwrap();
        make_directories(&root, &path("a/b/c")).unwrap();
        make_directories(&root, &path("a/b/c")).unwrap();
        make_directories(&root, &path(".")).unwrap();
        assert!(folder.path().join("inside/a/b/c").is_dir());
        for bad in ["parent/new", "absolute/new", "up/new", "deep/file/new"] {
            assert!(make_directories(&root, &path(bad)).is_err(), "{bad}");
        }
        assert!(!folder.path().join("new").exists());
    }

    #[test]
    fn the_way_to_a_root_leads_through_no_link_that_leads_out() {
        let folder = tree();
        let inside = folder.path().join("inside");
        symlink(folder.path(), inside.join("out")).unwrap();
        symlink("deep", inside.join("newest")).unwrap();
        let opened = |path: &str| open_root_within(&inside, &inside.join(path));
        for good in ["", "deep"] {
            assert!(opened(good).is_ok(), "{good}");
        }
        fs::create_dir(inside.join("deep/er")).unwrap();
        assert!(opened("newest/er").is_ok());
        for bad in ["out/inside", "parent/inside", "../inside", "absolute"] {
            let error = opened(bad).unwrap_err();
            assert!(is_escape(&error) || bad == "absolute", "{bad}: {error}");
        }
        let elsewhere = open_root_within(&inside, folder.path()).unwrap_err();
        assert!(is_escape(&elsewhere), "{elsewhere}");
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tree();
        let root = open_root(&folder.path().join("inside")).unwrap();
        nix::unistd::mkfifo(&folder.path().join("inside/pipe"), Mode::S_IRUSR).unwrap();
        for bad in ["pipe", "deep", "none", "deep/file/x"] {
            assert!(open_file(&root, &path(bad)).is_err(), "{bad}");
        }
    }
}
