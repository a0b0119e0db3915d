//! The directory of an export, inside what the operator set aside.
//!
//! Users own directories below these places, so nothing here follows a symbolic link of theirs.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use lote_model::id::{FileServerUid, UnixId};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fchmod, fchown, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::mount_table;
use crate::directories::{self, PathError, cannot};

/// The mode of a directory that is made for a file server.
pub(super) const FOR_ALL: Mode = Mode::from_raw_mode(0o755);

/// The mode of a directory that the nodes of a job share.
pub(super) const OWNERS_ONLY: Mode = Mode::from_raw_mode(0o700);

/// An export cannot have this directory, or its directory cannot be made or emptied.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    #[error(
        "the directory {} is not among those that the operator of this node set aside \
         (--export-directory)",
        path.display()
    )]
    NotAllowed { path: PathBuf },
    #[error(
        "the directory {} cannot be exported: its name has characters that NFS servers do not \
         take in their configuration",
        path.display()
    )]
    Name { path: PathBuf },
    #[error(
        "the directory {} is, is above or is below that of another file server ({other})",
        path.display()
    )]
    Overlap { path: PathBuf, other: FileServerUid },
    #[error(
        "{} leads through a symbolic link, which exports may not",
        path.display()
    )]
    Link { path: PathBuf },
    #[error("{} cannot be used: no more file servers fit on this node", path.display())]
    Full { path: PathBuf },
    #[error("something is mounted at {}, inside the directory that is to be erased: unmount it", path.display())]
    MountedBelow { path: PathBuf },
    #[error(transparent)]
    Path(#[from] PathError),
}

impl DirectoryError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotAllowed { .. } | Self::Link { .. } => "DirectoryNotAllowed",
            Self::Name { .. } => "DirectoryName",
            Self::Overlap { .. } => "DirectoryInUse",
            Self::Full { .. } => "TooManyFileServers",
            Self::MountedBelow { .. } => "DirectoryNotEmpty",
            Self::Path(_) => "DirectoryFailed",
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> DirectoryError {
    move |errno| match errno {
        Errno::LOOP => DirectoryError::Link {
            path: path.to_owned(),
        },
        errno => cannot(action, path)(errno),
    }
}

fn failed_io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    cannot(action, path)
}

/// Makes the place for exports that the daemon chooses itself; users may pass through it, and
/// nobody may list it.
pub(super) fn make_place(path: &Path) -> Result<(), DirectoryError> {
    directories::with_mode(path, 0o711).map_err(cannot("make", path))
}

/// The directory of an export's own, below the first place.
pub(super) fn own(places: &[PathBuf], uid: &FileServerUid) -> Result<PathBuf, DirectoryError> {
    let name = Path::new(uid.as_str());
    let refused = || DirectoryError::NotAllowed {
        path: name.to_owned(),
    };
    let is_one_name = matches!(
        name.components().collect::<Vec<_>>().as_slice(),
        [Component::Normal(_)]
    );
    let place = places.first().filter(|_| is_one_name).ok_or_else(refused)?;
    Ok(canonical(place)?.join(name))
}

/// The directory that a user asks for, as it is without symbolic links: one of the places, or
/// below one.
pub(super) fn given(places: &[PathBuf], path: &Path) -> Result<PathBuf, DirectoryError> {
    let is_plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !is_plain || !path.is_absolute() {
        return Err(DirectoryError::NotAllowed {
            path: path.to_owned(),
        });
    }
    for place in places {
        let Ok(real) = canonical(place) else { continue };
        for prefix in [place, &real] {
            if let Ok(rest) = path.strip_prefix(prefix) {
                // Joining nothing would add a slash.
                return Ok(real.components().chain(rest.components()).collect());
            }
        }
    }
    Err(DirectoryError::NotAllowed {
        path: path.to_owned(),
    })
}

/// The place as it is; the operator may use symbolic links.
fn canonical(place: &Path) -> Result<PathBuf, DirectoryError> {
    let real = std::fs::canonicalize(place).map_err(failed_io("find", place))?;
    checked_name(real)
}

/// Names that stand in the servers' configuration: these bytes need no quoting there that one of
/// them might read otherwise.
pub(super) fn checked_name(path: PathBuf) -> Result<PathBuf, DirectoryError> {
    let is_good = |text: &str| {
        !text
            .chars()
            .any(|c| c.is_control() || ['"', '\'', '\\', '#', '*', '?', '[', ']'].contains(&c))
    };
    // The daemon hides `/run` from Ganesha.
    let is_hidden = path.starts_with("/run") || path.starts_with("/proc");
    match path.to_str() {
        Some(text) if is_good(text) && !is_hidden => Ok(path),
        _ => Err(DirectoryError::Name { path }),
    }
}

/// Opens the directory of an export, which lies below one of the places, and makes it if it is
/// not there. A new one belongs to `owner`, with this mode; one that was there stays as it is.
pub(super) fn open_or_make(
    path: &Path,
    owner: UnixId,
    mode: Mode,
) -> Result<OwnedFd, DirectoryError> {
    match open(path) {
        Err(Errno::NOENT) => make(path, Some(owner), mode),
        opened => opened.map_err(failed("open", path)),
    }
}

/// Without following any symbolic link.
fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(
        CWD,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Makes what is missing; what is above the export's directory stays the daemon's.
fn make(path: &Path, owner: Option<UnixId>, mode: Mode) -> Result<OwnedFd, DirectoryError> {
    let refused = || DirectoryError::NotAllowed {
        path: path.to_owned(),
    };
    let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(refused)?;
    let above = match open(parent) {
        Err(Errno::NOENT) => make(parent, None, FOR_ALL)?,
        opened => opened.map_err(failed("open", parent))?,
    };
    mkdirat(&above, name, Mode::from_raw_mode(0o700)).map_err(failed("make", path))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(&above, name, flags, Mode::empty()).map_err(failed("open", path))?;
    if let Some(UnixId(id)) = owner {
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        fchown(&made, Some(uid), Some(gid)).map_err(failed("give away", path))?;
    }
    fchmod(&made, mode).map_err(failed("open for others", path))?;
    Ok(made)
}

/// Removes what is in a directory, and the directory itself if it was the daemon's own. One that
/// is not there is no error. Refuses to go into other file systems.
pub(super) fn erase(path: &Path, with_directory: bool) -> Result<(), DirectoryError> {
    let io = |action: &'static str| failed_io(action, path);
    let mounts = mount_table::read().map_err(io("look for mounts below"))?;
    if let Some(mounted) = mount_table::below(&mounts, path) {
        return Err(DirectoryError::MountedBelow {
            path: mounted.to_owned(),
        });
    }
    match open(path) {
        Err(Errno::NOENT) => return Ok(()),
        opened => drop(opened.map_err(failed("open", path))?),
    }
    for entry in std::fs::read_dir(path).map_err(io("list"))? {
        let entry = entry.map_err(io("list"))?;
        // Neither follows symbolic links, not even when the entry becomes one meanwhile.
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(entry.path()),
            Ok(_) => std::fs::remove_file(entry.path()),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io("erase")(error));
            }
            _ => {}
        }
    }
    if with_directory {
        std::fs::remove_dir(path).map_err(io("remove"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn own_id() -> UnixId {
        UnixId(nix::unistd::geteuid().as_raw())
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(folder.path()).unwrap();
        (folder, real)
    }

    #[test]
    fn only_what_was_set_aside_is_given() {
        let (_folder, real) = place();
        let places = [real.clone()];
        assert_eq!(given(&places, &real).unwrap(), real);
        assert_eq!(given(&places, &real.join("a/b")).unwrap(), real.join("a/b"));
        let outside = real.with_extension("x");
        for bad in [
            Path::new("/etc"),
            Path::new("/"),
            Path::new("relative"),
            &real.join("../etc"),
            &outside,
        ] {
            let error = given(&places, bad).unwrap_err();
            assert_eq!(error.code(), "DirectoryNotAllowed", "{}", bad.display());
        }
    }

    #[test]
    fn the_operators_links_are_followed_and_no_others() {
        let (_folder, real) = place();
        let (target, link) = (real.join("target"), real.join("link"));
        std::fs::create_dir(&target).unwrap();
        symlink(&target, &link).unwrap();
        let found = given(std::slice::from_ref(&link), &link.join("a")).unwrap();
        assert_eq!(found, target.join("a"));
        symlink("/etc", target.join("out")).unwrap();
        let out = given(&[link], &target.join("out/b")).unwrap();
        let error = open_or_make(&out, own_id(), FOR_ALL).unwrap_err();
        assert_eq!(error.code(), "DirectoryNotAllowed", "{error}");
    }

    #[test]
    fn a_new_directory_is_its_owners_and_an_old_one_stays_as_it_is() {
        let (_folder, real) = place();
        let new = real.join("a/b");
        drop(open_or_make(&new, own_id(), FOR_ALL).unwrap());
        let made = std::fs::metadata(&new).unwrap();
        assert_eq!((made.uid(), made.mode() & 0o7777), (own_id().0, 0o755));
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o2770)).unwrap();
        drop(open_or_make(&new, own_id(), FOR_ALL).unwrap());
        assert_eq!(std::fs::metadata(&new).unwrap().mode() & 0o7777, 0o2770);
    }

    #[test]
    fn an_export_has_a_directory_of_its_own() {
        let (_folder, real) = place();
        let places = [real.clone()];
        let own_of = |uid: &str| own(&places, &FileServerUid::new(uid));
        assert_eq!(own_of("u1").unwrap(), real.join("u1"));
        for bad in ["", "..", "a/b", "/etc"] {
            assert!(own_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn strange_names_are_refused() {
        for bad in ["/srv/a\nb", "/srv/\"", "/run/x", "/srv/a\\b", "/srv/*"] {
            assert!(checked_name(bad.into()).is_err(), "{bad}");
        }
        assert!(checked_name("/srv/my daten-ü".into()).is_ok());
    }

    #[test]
    fn erasing_stays_inside() {
        let (_folder, real) = place();
        let (export, outside) = (real.join("export"), real.join("outside"));
        std::fs::create_dir_all(export.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("keep"), "x").unwrap();
        std::fs::write(export.join("a/b/file"), "x").unwrap();
        symlink(&outside, export.join("out")).unwrap();
        symlink(&outside, export.join("a/out")).unwrap();
        erase(&export, false).unwrap();
        assert_eq!(std::fs::read_dir(&export).unwrap().count(), 0);
        assert!(outside.join("keep").exists());
        erase(&export, true).unwrap();
        assert!(!export.exists());
        erase(&export, true).unwrap();
        symlink(&outside, &export).unwrap();
        assert!(erase(&export, true).is_err());
        assert!(outside.join("keep").exists());
    }
}
