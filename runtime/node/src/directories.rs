//! Making and removing directories of the daemon, and what is said of files and directories that do not work.

use std::fs::{DirBuilder, Permissions, remove_dir_all, set_permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Something cannot be done with a file or a directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub(crate) struct PathError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Turns what the system says into an error that tells what was tried with which path.
pub(crate) fn cannot<S: Into<io::Error>, E: From<PathError>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(S) -> E {
    let path = path.to_owned();
    move |source| {
        let source = source.into();
        E::from(PathError {
            action,
            path,
            source,
        })
    }
}

/// Makes a directory, and those on the way to it, which others cannot look into.
pub(crate) fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a directory with this mode whatever the umask, and those on the way to it; one that exists
/// is given the mode.
pub(crate) fn with_mode(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(mode).create(path)?;
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    set_permissions(path, Permissions::from_mode(mode))
}

/// Removes a directory with all that is in it; that there is none is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
