//! What can go wrong inside the embedded back end.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::error::StoreError;

/// Why the store's file could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store of this one, has the file open.
    #[error(
        "`{path}` is in use by another daemon: stop that one or give this one its own data folder"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be created.
    #[error("`{path}` cannot be created: check that the data folder exists and is writable")]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A later version wrote the file.
    #[error(
        "`{path}` has format {found}, this version reads format {supported}: run the version that wrote it"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u64,
        /// The format that this version reads.
        supported: u64,
    },
    /// The file cannot be read, or is not a store.
    #[error(
        "`{path}` cannot be opened as a store: check the disk, or restore the file from a backup"
    )]
    Engine {
        /// The file.
        path: PathBuf,
        /// The failure underneath.
        source: EngineError,
    },
    /// The commit thread cannot be started.
    #[error("the thread that writes `{path}` cannot be started: check the limit of threads")]
    Thread {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A failure of the file or of what is in it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The database engine failed.
    #[error("the database engine failed")]
    Database(#[source] Box<dyn Error + Send + Sync>),
    /// A row is not what this back end writes.
    #[error("a row of table `{table}` is damaged")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        source: postcard::Error,
    },
    /// The file was closed after a failure and could not be opened again yet.
    #[error("the file is closed after a failure and cannot be opened again yet")]
    NotOpen,
}

impl EngineError {
    /// As the error of a call that changed nothing.
    pub(super) fn into_unavailable(self) -> StoreError {
        StoreError::Unavailable {
            source: Arc::new(self),
        }
    }
}

macro_rules! from_redb {
    ($($error:ty),+) => {$(
        impl From<$error> for EngineError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(redb::Error::from(error)))
            }
        }
    )+};
}

from_redb!(
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);
