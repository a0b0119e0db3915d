//! The cluster's key: 32 random bytes, the same on every daemon of a cluster, in a
//! file that stays with the data. Every other secret of the cluster is derived from
//! it or sealed with it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::file;

/// The name of the file in the data directory.
pub const FILE: &str = "cluster.key";

/// What stands before the purpose of a derived key.
const DERIVED: &str = "lote key 1 ";

/// What the fingerprint is derived for.
const FINGERPRINT: &str = "fingerprint";

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

    /// The key itself, for a machine that joins.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Another key for one purpose. It tells nothing about this one, nor about
    /// those for other purposes.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        // HMAC pads a short key with zeros to the block size of its hash.
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(&*self.0);
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(DERIVED.as_bytes());
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// What tells two keys apart and may be shown: hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let digest = self.derive(FINGERPRINT);
        digest[..16]
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
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
    file::key(&path)
        .map(SealingKey)
        .map_err(|source| KeyError { path, source })
}

/// Reads the key of this data directory; none if it has none yet.
pub fn find_sealing_key(data_directory: &Path) -> Result<Option<SealingKey>, KeyError> {
    let path = data_directory.join(FILE);
    file::find_key(&path)
        .map(|key| key.map(SealingKey))
        .map_err(|source| KeyError { path, source })
}

/// Writes a key that another member of the cluster gave.
pub fn adopt_sealing_key(data_directory: &Path, key: &SealingKey) -> Result<(), KeyError> {
    let path = data_directory.join(FILE);
    file::write(&path, key.bytes()).map_err(|source| KeyError { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_or_is_anothers() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find_sealing_key(folder.path()).unwrap().is_none());
        let first = sealing_key(folder.path()).unwrap();
        let found = find_sealing_key(folder.path()).unwrap().unwrap();
        assert_eq!(found.bytes(), first.bytes());
        assert_eq!(sealing_key(folder.path()).unwrap().bytes(), first.bytes());
        let other = tempfile::tempdir().unwrap();
        adopt_sealing_key(other.path(), &first).unwrap();
        assert_eq!(sealing_key(other.path()).unwrap().bytes(), first.bytes());
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_by_key() {
        let (one, other) = (SealingKey::new([1; 32]), SealingKey::new([2; 32]));
        assert_eq!(one.derive("links"), one.clone().derive("links"));
        assert_ne!(one.derive("links"), one.derive("link"));
        assert_ne!(one.derive("links"), other.derive("links"));
        assert_ne!(&one.derive("links"), one.bytes());
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.fingerprint().len(), 32);
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", SealingKey::new([7; 32])), "SealingKey(***)");
    }
}
