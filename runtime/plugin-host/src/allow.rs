//! The operator's list of components that may be loaded from the plugin folder.
//!
//! It is what `sha256sum *.wasm` prints: a digest and a name in each line. The digest
//! decides; the name is for people.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// More than any folder of plugins has.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AllowListError {
    /// It cannot be read.
    #[error("cannot read the list of allowed plugins {}", path.display())]
    Io {
        /// The list.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is none.
    #[error(
        "line {line} of {} is not a SHA-256 digest and a name, as `sha256sum FILE` prints them",
        path.display()
    )]
    Line {
        /// The list.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
}

/// The digests of components that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    path: PathBuf,
    digests: BTreeSet<String>,
}

impl AllowList {
    /// Reads a list. Empty lines and those that begin with `#` are for people.
    ///
    /// # Errors
    /// When it cannot be read, or a line is neither.
    pub fn read(path: &Path) -> Result<Self, AllowListError> {
        let io = |source| AllowListError::Io {
            path: path.to_owned(),
            source,
        };
        if fs::metadata(path).map_err(io)?.len() > MAX_LIST_BYTES {
            return Err(io(io::Error::other("it is larger than any such list")));
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let mut digests = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let digest = digest_of(line).ok_or_else(|| AllowListError::Line {
                path: path.to_owned(),
                line: index + 1,
            })?;
            digests.insert(digest);
        }
        Ok(Self {
            path: path.to_owned(),
            digests,
        })
    }

    /// Whether a component may be loaded.
    pub fn has(&self, digest: &str) -> bool {
        self.digests.contains(digest)
    }

    /// Where the list is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// `DIGEST  NAME`, or `DIGEST *NAME` as in binary mode.
fn digest_of(line: &str) -> Option<String> {
    let (digest, name) = line.split_once(char::is_whitespace)?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_digest && !name.trim().is_empty()).then(|| digest.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_sha256sum() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, two) = ("a".repeat(64), "B".repeat(64));
        fs::write(
            file.path(),
            format!("# trusted\n\n{one}  ray.wasm\n{two} *x.wasm\n"),
        )
        .unwrap();
        let list = AllowList::read(file.path()).unwrap();
        assert!(list.has(&one) && list.has(&two.to_lowercase()));
        assert!(!list.has(&"c".repeat(64)));
        for bad in ["ray.wasm", &one, &format!("{one}x  ray.wasm"), &one[..63]] {
            fs::write(file.path(), format!("\n{bad}\n")).unwrap();
            let error = AllowList::read(file.path()).unwrap_err();
            assert!(
                matches!(error, AllowListError::Line { line: 2, .. }),
                "{error}"
            );
        }
    }
}
