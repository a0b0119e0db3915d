//! The key that signs links and operation ids; it stays with the data.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
    read_or_make(&path).map_err(|source| KeyError { path, source })
}

fn read_or_make(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    match OpenOptions::new().read(true).open(path) {
        Ok(mut file) => {
            file.read_exact(&mut key)?;
            return Ok(key);
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    OpenOptions::new()
        .read(true)
        .open("/dev/urandom")?
        .read_exact(&mut key)?;
    // Complete under another name first: a crash must not leave half a key.
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_and_is_nobody_elses_to_read() {
        use std::os::unix::fs::PermissionsExt;
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
