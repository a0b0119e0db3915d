//! The file: creating, opening and reopening it, and reading from it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable,
    WriteTransaction,
};

use super::codec::{DATA, FORMAT, HISTORY, LEASED, META, META_FORMAT, META_OPENS};
use super::failure::{EngineError, OpenError};

/// The file's name in the data folder.
const FILE_NAME: &str = "store.redb";

/// Where the file of a data folder is.
pub(super) fn path_in(folder: &Path) -> PathBuf {
    folder.join(FILE_NAME)
}

/// An open file that can be closed and opened again under its readers.
///
/// After a failed write the engine refuses everything until it is opened again; until that
/// works, the slot is empty.
pub(super) struct StoreFile {
    path: PathBuf,
    cache_bytes: usize,
    slot: RwLock<Option<Database>>,
}

impl StoreFile {
    /// Opens the file in a folder, or creates it, readable by its owner only. Returns it with
    /// how often it was opened, this time included.
    pub(super) fn open(folder: &Path, cache_bytes: usize) -> Result<(Self, u64), OpenError> {
        let path = path_in(folder);
        create_if_missing(&path, folder).map_err(|source| OpenError::Create {
            path: path.clone(),
            source,
        })?;
        let database = builder(cache_bytes)
            .create(&path)
            .map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => OpenError::Locked { path: path.clone() },
                error => OpenError::Engine {
                    path: path.clone(),
                    source: error.into(),
                },
            })?;
        let opens = prepare(&database, &path)?;
        Ok((
            Self {
                path,
                cache_bytes,
                slot: RwLock::new(Some(database)),
            },
            opens,
        ))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives a read transaction to `read`: the newest committed state, which never waits for a
    /// commit.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = slot.as_ref().ok_or(EngineError::NotOpen)?.begin_read()?;
        read(&transaction)
    }

    /// Gives a write transaction to `write`, which must end it.
    pub(super) fn write<T, E: From<EngineError>>(
        &self,
        write: impl FnOnce(WriteTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.as_ref().ok_or(EngineError::NotOpen)?;
        write(begin_write(database)?)
    }

    /// Whether the last reopening worked.
    pub(super) fn is_open(&self) -> bool {
        self.slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Closes the file and opens it again. If that fails it stays closed; call it again later.
    pub(super) fn reopen(&self) -> Result<(), EngineError> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        // The old one must let go of its lock first.
        drop(slot.take());
        // Never `create`: if the file was taken away, an empty store must not take its place.
        *slot = Some(builder(self.cache_bytes).open(&self.path)?);
        Ok(())
    }

    /// Closes the file and gives up its lock.
    pub(super) fn close(&self) {
        drop(
            self.slot
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

/// Starts a write transaction whose commit is durable, and after which a crash needs no long
/// repair.
fn begin_write(database: &Database) -> Result<WriteTransaction, EngineError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// The folder is synced too: a file is only durable when its name is.
fn create_if_missing(path: &Path, folder: &Path) -> io::Result<()> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => File::open(folder)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

/// Checks the format, makes the tables and counts the opening.
fn prepare(database: &Database, path: &Path) -> Result<u64, OpenError> {
    let failed = |source| OpenError::Engine {
        path: path.to_owned(),
        source,
    };
    let transaction = begin_write(database).map_err(failed)?;
    let (format, opens) = count_opening(&transaction).map_err(failed)?;
    if format != FORMAT {
        return Err(OpenError::Format {
            path: path.to_owned(),
            found: format,
            supported: FORMAT,
        });
    }
    transaction.commit().map_err(|error| failed(error.into()))?;
    Ok(opens)
}

fn count_opening(transaction: &WriteTransaction) -> Result<(u64, u64), EngineError> {
    let mut meta = transaction.open_table(META)?;
    let format = meta.get(META_FORMAT)?.map_or(FORMAT, |row| row.value());
    let opens = meta.get(META_OPENS)?.map_or(0, |row| row.value()) + 1;
    if format == FORMAT {
        meta.insert(META_FORMAT, format)?;
        meta.insert(META_OPENS, opens)?;
        // Readers expect the tables to exist.
        transaction.open_table(DATA)?;
        transaction.open_table(HISTORY)?;
        transaction.open_table(LEASED)?;
    }
    Ok((format, opens))
}
