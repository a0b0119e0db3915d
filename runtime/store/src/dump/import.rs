//! From lines into an empty store.
//!
//! The whole file is read and checked before anything is written. While it is written a mark says
//! so: a daemon does not start on half a state, and the next import begins anew.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::api::{ListRequest, Revision, Store};
use crate::dump::IMPORT_MARK;
use crate::dump::line::{End, Header, Line, LineError};
use crate::error::StoreError;
use crate::transaction::{Transaction, Write};

/// So many writes go together, and so many bytes of them at most but for a single larger one:
/// well below what a transaction may have.
const WRITES_PER_COMMIT: usize = 100;
const BYTES_PER_COMMIT: usize = 256 * 1024;

/// How many keys are erased at once.
const ERASED_AT_ONCE: usize = 100;

/// Nothing was imported, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a whole export.
    #[error("{path} cannot be imported")]
    Line {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: LineError,
    },
    /// There is something in the store already.
    #[error(
        "the store is not empty, it has `{key}` for example: import into a new data directory, or \
         under another prefix of etcd"
    )]
    NotEmpty {
        /// One of its keys.
        key: String,
    },
    /// The store failed. The import can be started again.
    #[error("the import stopped; start it again")]
    Store(#[from] StoreError),
}

/// A file that was read through and can be imported.
#[derive(Debug)]
pub struct ImportPlan {
    path: PathBuf,
    header: Header,
    end: End,
}

/// What was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The keys that the store has now.
    pub keys: u64,
    /// The revision that the state had where it comes from.
    pub revision: Revision,
}

/// Whether an import into this store was begun and has not ended.
pub async fn is_half_imported(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(store.get(IMPORT_MARK).await?.is_some())
}

impl ImportPlan {
    /// Reads and checks the whole file.
    pub fn read(path: &Path) -> Result<Self, ImportError> {
        let mut lines = Lines::open(path)?;
        let header = lines.header()?;
        loop {
            match lines.next(|line| match line {
                Line::End(end) => Some(*end),
                _ => None,
            })? {
                // The first line and the last are not counted.
                Some(Some(end)) if end.lines + 2 == lines.number => {
                    let path = path.to_owned();
                    return Ok(Self { path, header, end });
                }
                Some(None) => {}
                Some(Some(_)) | None => return Err(lines.cut_off()),
            }
        }
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Fills the store, which must be empty or hold half an import.
    pub async fn import(&self, store: &dyn Store) -> Result<Imported, ImportError> {
        begin(store).await?;
        let mut lines = Lines::open(&self.path)?;
        lines.header()?;
        let mut batch = Batch::default();
        while let Some(change) = lines.next(change)? {
            let Some((key, value)) = change else { break };
            if batch.is_full_for(&key) {
                batch.commit(store).await?;
            }
            batch.add(key, value);
        }
        batch.commit(store).await?;
        let request = ListRequest {
            keys_only: true,
            ..ListRequest::default()
        };
        let keys = store.list(request).await?.items.len() as u64;
        store.commit(Transaction::new().delete(IMPORT_MARK)).await?;
        Ok(Imported {
            // All but the mark.
            keys: keys.saturating_sub(1),
            revision: self.end.revision,
        })
    }
}

fn change(line: &Line<'_>) -> Option<(String, Option<String>)> {
    match line {
        Line::Put { key, value } => Some(((**key).to_owned(), Some((*value).to_owned()))),
        Line::Delete { key } => Some(((**key).to_owned(), None)),
        Line::End(_) => None,
    }
}

/// Makes sure of an empty store, and sets the mark.
async fn begin(store: &dyn Store) -> Result<(), ImportError> {
    if is_half_imported(store).await? {
        erase_half(store).await?;
        return Ok(());
    }
    let request = ListRequest {
        limit: Some(1),
        keys_only: true,
        ..ListRequest::default()
    };
    let mark = Transaction::new()
        .require_absent(IMPORT_MARK)
        .put(IMPORT_MARK, "true");
    let first = store.list(request).await?.items.pop();
    match first {
        Some(found) => Err(ImportError::NotEmpty { key: found.key }),
        None if store.commit(mark).await?.is_applied() => Ok(()),
        // Somebody else began just now.
        None => Err(ImportError::NotEmpty {
            key: IMPORT_MARK.to_owned(),
        }),
    }
}

async fn erase_half(store: &dyn Store) -> Result<(), StoreError> {
    loop {
        let request = ListRequest {
            limit: Some(ERASED_AT_ONCE + 1),
            keys_only: true,
            ..ListRequest::default()
        };
        let found = store.list(request).await?.items;
        let keys = found.into_iter().map(|found| found.key);
        let keys: Vec<_> = keys.filter(|key| key != IMPORT_MARK).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let deletions = keys.into_iter().take(ERASED_AT_ONCE).map(Write::delete);
        let transaction = deletions.fold(Transaction::new(), Transaction::write);
        store.commit(transaction).await?;
    }
}

/// Changes that are committed together; no two of one key.
#[derive(Debug, Default)]
struct Batch {
    keys: HashSet<String>,
    transaction: Transaction,
    bytes: usize,
}

impl Batch {
    fn is_full_for(&self, key: &str) -> bool {
        self.keys.len() >= WRITES_PER_COMMIT
            || self.bytes >= BYTES_PER_COMMIT
            || self.keys.contains(key)
    }

    fn add(&mut self, key: String, value: Option<String>) {
        self.bytes += key.len() + value.as_ref().map_or(0, String::len);
        self.keys.insert(key.clone());
        let write = match value {
            Some(value) => Write::put(key, value),
            None => Write::delete(key),
        };
        self.transaction.writes.push(write);
    }

    async fn commit(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let batch = std::mem::take(self);
        if !batch.keys.is_empty() {
            store.commit(batch.transaction).await?;
        }
        Ok(())
    }
}

/// The lines of a file, one at a time.
struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    text: String,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, ImportError> {
        let file = File::open(path).map_err(|source| ImportError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            text: String::new(),
            number: 0,
        })
    }

    fn header(&mut self) -> Result<Header, ImportError> {
        self.advance()?;
        Header::parse(self.text.trim_end()).map_err(|source| self.wrong(source))
    }

    /// What `read` makes of the next line; none at the end of the file.
    fn next<T>(&mut self, read: impl Fn(&Line<'_>) -> T) -> Result<Option<T>, ImportError> {
        if !self.advance()? {
            return Ok(None);
        }
        let line = Line::parse(self.text.trim_end(), self.number);
        match line.map(|line| read(&line)) {
            Ok(read) => Ok(Some(read)),
            Err(source) => Err(self.wrong(source)),
        }
    }

    fn advance(&mut self) -> Result<bool, ImportError> {
        self.text.clear();
        let read = self.file.read_line(&mut self.text);
        let length = read.map_err(|source| ImportError::Read {
            path: self.path.clone(),
            source,
        })?;
        self.number += u64::from(length > 0);
        Ok(length > 0)
    }

    fn cut_off(&self) -> ImportError {
        self.wrong(LineError::CutOff {
            number: self.number,
        })
    }

    fn wrong(&self, source: LineError) -> ImportError {
        ImportError::Line {
            path: self.path.clone(),
            source,
        }
    }
}
