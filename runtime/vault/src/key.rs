//! The cluster's key: 32 random bytes in a file that stays with the data.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::Generate;
use zeroize::Zeroizing;

/// The name of the file in the data directory.
const FILE: &str = "cluster.key";

/// The key that seals the secrets of a cluster. Clones are the same key.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

/// The key could not be read or made.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the key file {path}")]
pub struct KeyError {
    path: PathBuf,
    source: io::Error,
}

impl SealingKey {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(***)")
    }
}

/// Reads the key of this data directory, or makes one that nobody can guess.
pub fn sealing_key(data_directory: &Path) -> Result<SealingKey, KeyError> {
    let path = data_directory.join(FILE);
    let read = read(&path).and_then(|found| found.map_or_else(|| make(&path), Ok));
    read.map_err(|source| KeyError { path, source })
}

/// `None` if there is no such file. Half a key is an error and no key.
fn read(path: &Path) -> io::Result<Option<SealingKey>> {
    let mut file = match OpenOptions::new().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Zeroizing::new([0; 32]);
    file.read_exact(&mut *bytes)?;
    Ok(Some(SealingKey(bytes)))
}

fn make(path: &Path) -> io::Result<SealingKey> {
    let bytes = <[u8; 32]>::try_generate().map_err(io::Error::other)?;
    let key = SealingKey::new(bytes);
    // Complete under another name first: a crash must not leave half a key.
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(key.bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    // What is sealed with it is durable, so the name must be as well.
    let folder = path.parent().unwrap_or(Path::new("."));
    OpenOptions::new().read(true).open(folder)?.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_and_is_nobody_elses_to_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let first = sealing_key(folder.path()).unwrap();
        assert_ne!(first.bytes(), &[0; 32]);
        assert_eq!(sealing_key(folder.path()).unwrap().bytes(), first.bytes());
        let file = std::fs::metadata(folder.path().join(FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(sealing_key(other.path()).unwrap().bytes(), first.bytes());
    }

    #[test]
    fn half_a_key_is_an_error_and_not_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), [1; 5]).unwrap();
        assert!(sealing_key(folder.path()).is_err());
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", SealingKey::new([7; 32])), "SealingKey(***)");
    }
}
