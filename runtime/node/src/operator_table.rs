//! Tables of the operator's, in TOML: files that only root can write and nobody else can read,
//! because what stands in them is run, opened and shown with root's rights. Each is read again
//! for every job that needs it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Mode bits that such a file may not have.
const TOO_OPEN: u32 = 0o027;

/// What a table is called, and what it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Such as `storage table`.
    pub(crate) name: &'static str,
    /// What only root may say: `what an image is`.
    pub(crate) says: &'static str,
}

/// A table could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("cannot read the {} {path}", kind.name)]
    Read {
        kind: Kind,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the {} {path} belongs to user {owner}: only root may say {}; chown root it",
        kind.name,
        kind.says
    )]
    Owner {
        kind: Kind,
        path: PathBuf,
        owner: u32,
    },
    #[error("the {} {path} can be read or written by others: chmod 600 it", kind.name)]
    Open { kind: Kind, path: PathBuf },
    #[error("the {} {path} is wrong: {message}", kind.name)]
    Parse {
        kind: Kind,
        path: PathBuf,
        message: String,
    },
    #[error("the {} {path} is wrong at \"{entry}\": {message}", kind.name)]
    Entry {
        kind: Kind,
        path: PathBuf,
        entry: String,
        message: String,
    },
}

impl Kind {
    /// The text of such a table, if only root can have written it and nobody else can read it.
    pub(crate) fn read(self, path: &Path) -> Result<String, TableError> {
        let failed = |source| TableError::Read {
            kind: self,
            path: path.to_owned(),
            source,
        };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if metadata.uid() != 0 {
            return Err(TableError::Owner {
                kind: self,
                path: path.into(),
                owner: metadata.uid(),
            });
        }
        if metadata.mode() & TOO_OPEN != 0 {
            return Err(TableError::Open {
                kind: self,
                path: path.into(),
            });
        }
        std::fs::read_to_string(path).map_err(failed)
    }

    /// What its text says.
    pub(crate) fn parse<T: DeserializeOwned>(
        self,
        path: &Path,
        text: &str,
    ) -> Result<T, TableError> {
        toml::from_str(text).map_err(|error| {
            // What the parser would show quotes the line, and users read this.
            let line = error
                .span()
                .map(|span| 1 + text[..span.start].matches('\n').count());
            let line = line.map_or_else(String::new, |line| format!("line {line}: "));
            TableError::Parse {
                kind: self,
                path: path.into(),
                message: format!("{line}{}", error.message()),
            }
        })
    }

    /// One of its entries is wrong.
    pub(crate) fn wrong(self, path: &Path, entry: &str, message: impl Into<String>) -> TableError {
        TableError::Entry {
            kind: self,
            path: path.into(),
            entry: entry.into(),
            message: message.into(),
        }
    }
}
