//! The key that signs links and operation ids, which stays with the data; and how
//! files of secrets are written and read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
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
    write(path, &key)?;
    Ok(key)
}

/// Writes a file that only its owner may read. Complete under another name first:
/// a crash must not leave half a secret.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

/// Reads a file of secrets, unless others than its owner may read it.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    // Of the open file, so that nobody can exchange it in between.
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        let message = format!(
            "others than its owner may read or change it (mode {:03o}); run `chmod 600` on it",
            mode & 0o777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
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
    fn a_secret_that_others_can_read_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        write(&path, b"secret").unwrap();
        assert_eq!(read(&path).unwrap(), b"secret");
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn half_a_key_is_an_error_and_not_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("link.key"), [1; 5]).unwrap();
        assert!(link_key(folder.path()).is_err());
    }
}
