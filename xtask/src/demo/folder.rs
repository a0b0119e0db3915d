//! The temporary folder of the demo.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::install;

/// Where root's folder goes: every user may pass, and, unlike `/tmp` and
/// `/var/tmp`, a job sees there what everybody sees.
const ROOTS_PARENT: &str = "/srv";

/// Where anybody else's folder goes: on disk, and open to every user.
const PARENT: &str = "/var/tmp";

/// A folder that is removed in the end, or kept and named.
#[derive(Debug)]
pub(super) struct Folder {
    /// The folder.
    pub(super) path: PathBuf,
    /// Whether it stays.
    keep: bool,
}

impl Folder {
    /// Makes a folder that others may pass through but not list: a job runs as a
    /// user of its own and has to reach its script.
    pub(super) fn create(keep: bool) -> Result<Self, Error> {
        let parent = Path::new(if install::is_root() {
            ROOTS_PARENT
        } else {
            PARENT
        });
        std::fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        let path = parent.join(format!("lote-demo-{}", std::process::id()));
        make(&path, 0o711)?;
        Ok(Self { path, keep })
    }

    /// A folder in it whose files everybody may read.
    pub(super) fn readable(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        make(&path, 0o755)?;
        Ok(path)
    }

    /// Removes it, unless it is to be kept.
    pub(super) fn remove(mut self) -> Result<(), Error> {
        if self.keep {
            println!("the daemon's folder is kept: {}", self.path.display());
            return Ok(());
        }
        self.keep = true;
        std::fs::remove_dir_all(&self.path).map_err(Error::file("remove", &self.path))?;
        println!("removed the daemon's folder {}", self.path.display());
        Ok(())
    }
}

/// After a failure: nothing stays behind unless asked for.
impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // The failure itself is what gets reported.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Makes one folder with exactly this mode, whatever the mask of new files.
fn make(path: &Path, mode: u32) -> Result<(), Error> {
    std::fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(Error::file("create", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(Error::file("set the permissions of", path))
}

/// Copies a file so that everybody may read it.
pub(super) fn copy_readable(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::copy(from, to).map_err(Error::file("copy", from))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o644))
        .map_err(Error::file("set the permissions of", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_may_pass_and_nothing_stays() {
        let folder = Folder::create(false).unwrap();
        let path = folder.path.clone();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o711);
        assert_eq!(mode(&folder.readable("input").unwrap()), 0o755);
        folder.remove().unwrap();
        assert!(!path.exists());
    }
}
