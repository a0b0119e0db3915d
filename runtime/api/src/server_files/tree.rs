//! Directories, links, and removal. All of it blocks.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::target::{Target, enter, incomplete};
use crate::files::Directory;
use crate::files::beneath::{make_directories, open_to_ask};
use crate::files::relative::RelativePath;

/// How deep directories may lie in each other that are removed at once: each has a
/// descriptor open meanwhile.
const DEPTH_MAX: usize = 256;

/// Makes a directory, and those on the way to it; one that is there will do.
pub(super) fn make(directory: &Directory, path: &RelativePath) -> io::Result<()> {
    let export = enter(directory)?;
    make_directories(&export.root, path).map(drop)
}

/// Makes a link to `to`, which must lead to something beneath the export. With
/// `overwrite` it takes the place of what has its name, if that is no directory.
pub(super) fn link(
    directory: &Directory,
    path: &RelativePath,
    to: &str,
    overwrite: bool,
) -> io::Result<()> {
    let export = enter(directory)?;
    let target = Target::make_way(&export, path)?;
    // Under another name first, where it can be tried, and then moved at one stroke.
    let trial = incomplete(&uuid::Uuid::new_v4().to_string())?;
    symlinkat(to, &target.parent, trial.as_c_str())?;
    let trial_path = path
        .parent()
        .join(&trial.to_string_lossy())
        .map_err(io::Error::other)?;
    let placed =
        open_to_ask(&export.root, &trial_path).and_then(|_| target.take(&trial, overwrite));
    if placed.is_err() {
        unlinkat(&target.parent, trial.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
    }
    placed
}

/// Removes a file, a link, or a directory; one that is not empty only with
/// `recursive`. Whether there was one.
pub(super) fn remove(
    directory: &Directory,
    path: &RelativePath,
    recursive: bool,
) -> io::Result<bool> {
    let export = enter(directory)?;
    let target = match Target::find(&export, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        target => target?,
    };
    match remove_in(target.parent.as_fd(), &target.name, recursive, 0) {
        Err(Errno::ENOENT) => Ok(false),
        removed => Ok(removed.map(|()| true)?),
    }
}

/// Links are never followed, whatever takes whose place meanwhile.
fn remove_in(
    parent: BorrowedFd<'_>,
    name: &CStr,
    recursive: bool,
    depth: usize,
) -> nix::Result<()> {
    let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
        return unlinkat(parent, name, UnlinkatFlags::NoRemoveDir);
    }
    if recursive {
        empty(parent, name, depth)?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

fn empty(parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> nix::Result<()> {
    if depth >= DEPTH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = openat(parent, name, flags, Mode::empty())?;
    let mut names = Dir::openat(&opened, c".", flags, Mode::empty())?;
    for entry in names.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match remove_in(opened.as_fd(), name, true, depth + 1) {
            // Somebody else removed it.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::parse(text).unwrap()
    }

    fn tree() -> (tempfile::TempDir, Directory) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("export/a/b")).unwrap();
        fs::create_dir_all(folder.path().join("outside")).unwrap();
        fs::write(folder.path().join("outside/kept"), "x").unwrap();
        fs::write(folder.path().join("export/a/b/file"), "x").unwrap();
        symlink("../../outside", folder.path().join("export/a/out")).unwrap();
        let directory = Directory {
            path: folder.path().join("export"),
            within: None,
            owner: None,
        };
        (folder, directory)
    }

    #[test]
    fn what_a_link_leads_to_is_not_removed() {
        let (folder, directory) = tree();
        let full = remove(&directory, &path("a"), false).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::DirectoryNotEmpty);
        assert!(remove(&directory, &path("a/out/kept"), false).is_err());
        assert!(remove(&directory, &path("a"), true).unwrap());
        assert!(!remove(&directory, &path("a"), true).unwrap());
        assert!(!remove(&directory, &path("none/a"), false).unwrap());
        assert!(!folder.path().join("export/a").exists());
        assert!(folder.path().join("outside/kept").exists());
    }

    #[test]
    fn links_lead_to_what_is_inside() {
        let (folder, directory) = tree();
        link(&directory, &path("new/latest"), "../a/b/file", false).unwrap();
        let made = folder.path().join("export/new/latest");
        assert_eq!(fs::read_to_string(&made).unwrap(), "x");
        let taken = link(&directory, &path("new/latest"), "../a", false).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        link(&directory, &path("new/latest"), "../a/b", true).unwrap();
        assert!(made.is_dir());
        for out in [
            "../../outside/kept",
            "/etc/passwd",
            "../a/out/kept",
            "nowhere",
        ] {
            assert!(
                link(&directory, &path("new/bad"), out, true).is_err(),
                "{out}"
            );
        }
        let left: Vec<_> = fs::read_dir(folder.path().join("export/new"))
            .unwrap()
            .collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
