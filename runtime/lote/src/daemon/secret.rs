//! The key that signs links and operation ids, which stays with the data.

use std::io;
use std::path::{Path, PathBuf};

use lote_vault::file;

/// The key could not be read or made.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the key file {path}")]
pub(super) struct KeyError {
    path: PathBuf,
    source: io::Error,
}

/// Reads the key of this data directory, or makes one that nobody can guess.
pub(super) fn link_key(data_directory: &Path) -> Result<[u8; 32], KeyError> {
    let path = data_directory.join("link.key");
    file::key(&path)
        .map(|key| *key)
        .map_err(|source| KeyError { path, source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_stays_and_is_nobody_elses_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let first = link_key(folder.path()).unwrap();
        assert_ne!(first, [0; 32]);
        assert_eq!(link_key(folder.path()).unwrap(), first);
        let mode = std::fs::metadata(folder.path().join("link.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(link_key(other.path()).unwrap(), first);
    }

    #[test]
    fn half_a_key_is_an_error_and_not_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("link.key"), [1; 5]).unwrap();
        assert!(link_key(folder.path()).is_err());
    }
}
