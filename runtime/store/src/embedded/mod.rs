//! The back end for one machine: one file of `redb`, one thread that writes.
//!
//! * `database`: the file, opened again after a failure.
//! * `codec`: its tables and rows.
//! * `commit`: the thread that groups, applies, syncs, publishes and answers.
//! * `apply`: one transaction against the tables.
//! * `history`: the events of past revisions, trimmed.
//! * `watch`: how events reach the watchers.
//! * `lease`: the clock of the leases.
//! * `failure`: the errors.
//!
//! Leases do not survive the process: at the next opening the keys of all leases are deleted, as
//! one revision.
//!
//! Short reads run on the caller's thread, see `INLINE_ITEMS`.

mod apply;
mod codec;
mod commit;
mod database;
mod failure;
mod history;
mod lease;
mod reserve;
mod watch;

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redb::ReadTransaction;
use tokio::sync::{Semaphore, oneshot};

pub use failure::{EngineError, OpenError};

use self::codec::{DATA, HISTORY, decode_row};
use self::commit::{Command, Committer, Reply};
use self::database::StoreFile;
use self::history::Chunk;
use self::reserve::Reserve;
use self::watch::{Publisher, Watcher};
use crate::api::{LeaseId, ListRequest, Listing, Revision, Store, Versioned, Watch};
use crate::error::StoreError;
use crate::transaction::{Commit, Transaction};

/// How large all transactions that wait for the commit thread may be together, in KiB. Beyond
/// that their callers wait, so that a flood of writes does not become a flood of memory.
const QUEUE_KIB: u32 = 16 * 1024;

/// So many items of a list are read on the caller's thread: about 0.05 ms, where handing the work
/// to another thread and being woken again takes 0.1 ms (measured with the example
/// `throughput`). A longer list would keep the runtime's thread from its other tasks, so it
/// starts again on a thread for blocking work.
const INLINE_ITEMS: usize = 256;

/// How an embedded store uses the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Memory for pages of the file, in bytes. What is not cached here is still in the page cache
    /// of the system, so little is enough.
    pub cache_bytes: usize,
    /// How many revisions of history to keep at least, for watches that start in the past.
    pub history_revisions: u64,
    /// Room on the disk that is kept for this store and for nothing else, in bytes: what a full
    /// disk does not take from it. Less where the disk is small.
    pub reserve_bytes: u64,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 4 << 20,
            history_revisions: 10_000,
            reserve_bytes: 16 << 20,
        }
    }
}

/// What an embedded store did since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedStats {
    /// Transactions that were answered, applied or in conflict.
    pub transactions: u64,
    /// Groups of them that were made durable together.
    pub syncs: u64,
}

/// What the callers, the watchers and the commit thread share.
struct Shared {
    file: StoreFile,
    reserve: Reserve,
    publisher: Publisher,
    history_revisions: u64,
    transactions: AtomicU64,
    syncs: AtomicU64,
}

impl Shared {
    fn newest_revision(&self) -> Result<Revision, EngineError> {
        self.file
            .read(|transaction| history::newest(&transaction.open_table(HISTORY)?))
    }

    fn list(&self, request: &ListRequest, limit: usize) -> Result<Listing, StoreError> {
        self.file
            .read(|transaction| list(transaction, request, limit))
            .map_err(EngineError::into_unavailable)
    }

    fn read_history(&self, from: Revision, prefix: &str) -> Result<Chunk, StoreError> {
        self.file
            .read(|transaction| history::read(&transaction.open_table(HISTORY)?, from, prefix))
            .map_err(EngineError::into_unavailable)
    }
}

/// A store in one file, `store.redb` in the data folder.
///
/// Dropping it answers what waits, then closes the file; watches get [`StoreError::Closed`].
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    /// `None` only while dropping.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Whether there is a store in a folder.
    pub fn is_in(folder: &Path) -> bool {
        database::path_in(folder).exists()
    }

    /// Opens the store in a folder, which must exist, or creates it there, readable by its owner
    /// only. The file is locked against a second daemon. Blocks for a few milliseconds.
    pub fn open(folder: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        let (file, opens) = StoreFile::open(folder, options.cache_bytes)?;
        let path = file.path().to_owned();
        let mut shared = Shared {
            file,
            reserve: Reserve::new(options.reserve_bytes),
            publisher: Publisher::new(0),
            history_revisions: options.history_revisions.max(1),
            transactions: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        };
        let revision =
            commit::end_leases_of_earlier_process(&shared).map_err(|source| OpenError::Engine {
                path: path.clone(),
                source,
            })?;
        shared.publisher = Publisher::new(revision);
        shared.reserve.keep(&path);
        let shared = Arc::new(shared);
        let (commands, receiver) = mpsc::channel();
        let committer = Committer::new(Arc::clone(&shared), receiver, opens, revision);
        let thread = std::thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::Thread { path, source })?;
        let room = Arc::new(Semaphore::new(QUEUE_KIB as usize));
        Ok(Self {
            shared,
            room,
            commands: Some(commands),
            thread: Some(thread),
        })
    }

    /// What it did so far.
    pub fn stats(&self) -> EmbeddedStats {
        EmbeddedStats {
            transactions: self.shared.transactions.load(Ordering::Relaxed),
            syncs: self.shared.syncs.load(Ordering::Relaxed),
        }
    }

    /// Sends a command to the commit thread and waits for its answer.
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(StoreError::Closed)?;
        commands
            .send(command(reply))
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the store ended with a panic");
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.shared
            .newest_revision()
            .map_err(EngineError::into_unavailable)
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        if key.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        let read = |transaction: &ReadTransaction| get(transaction, key);
        self.shared
            .file
            .read(read)
            .map_err(EngineError::into_unavailable)
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        let limit = request.limit.unwrap_or(usize::MAX);
        let listing = self.shared.list(&request, limit.min(INLINE_ITEMS))?;
        if !listing.more || limit <= INLINE_ITEMS {
            return Ok(listing);
        }
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || shared.list(&request, limit));
        read.await.map_err(|_| StoreError::Closed)?
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        transaction.validate()?;
        let kib = u32::try_from(transaction.size_bytes() / 1024 + 1).unwrap_or(QUEUE_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await;
        let permit = room.map_err(|_| StoreError::Closed)?;
        self.ask(|reply| Command::Commit {
            transaction,
            reply,
            permit,
        })
        .await
    }

    async fn watch(&self, prefix: &str, from_revision: Revision) -> Result<Watch, StoreError> {
        let shared = Arc::clone(&self.shared);
        Ok(Watch::new(Watcher::new(
            shared,
            prefix.to_owned(),
            from_revision,
        )))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.ask(|reply| Command::Grant { ttl, reply }).await
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Command::Renew { lease, reply }).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Command::Revoke { lease, reply }).await
    }
}

fn get(transaction: &ReadTransaction, key: &str) -> Result<Option<Versioned>, EngineError> {
    let row = transaction.open_table(DATA)?.get_owned(key)?;
    row.map(|row| versioned(key, row.value(), false))
        .transpose()
}

/// Leaves the limit of the request aside in favour of `limit`.
fn list(
    transaction: &ReadTransaction,
    request: &ListRequest,
    limit: usize,
) -> Result<Listing, EngineError> {
    let revision = history::newest(&transaction.open_table(HISTORY)?)?;
    let prefix = request.prefix.as_str();
    let start = match request.after.as_deref() {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let data = transaction.open_table(DATA)?;
    let mut listing = Listing {
        items: Vec::new(),
        revision,
        more: false,
    };
    for row in data.range::<&str>((start, Bound::Unbounded))? {
        let (key, row) = row?;
        if !key.value().starts_with(prefix) {
            break;
        }
        if listing.items.len() == limit {
            listing.more = true;
            break;
        }
        listing
            .items
            .push(versioned(key.value(), row.value(), request.keys_only)?);
    }
    Ok(listing)
}

fn versioned(key: &str, row: &[u8], key_only: bool) -> Result<Versioned, EngineError> {
    let (header, value) = decode_row(row)?;
    Ok(Versioned {
        key: key.to_owned(),
        value: if key_only {
            Bytes::new()
        } else {
            Bytes::copy_from_slice(value)
        },
        create_revision: header.create_revision,
        mod_revision: header.mod_revision,
        version: header.version,
    })
}
