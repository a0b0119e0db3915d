//! The trait that every back end implements, and what its reads return.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;
use crate::transaction::{Commit, Transaction};

/// A point in the history of the store. Every transaction that changes something makes the next
/// one. 0 stands for "before everything".
pub type Revision = u64;

/// Names a lease of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}", self.0)
    }
}

/// A key with its value and its place in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The key, for example `jobs/default/ws/exp/train`.
    pub key: String,
    /// The value; JSON by convention. Empty when only keys were asked for.
    pub value: Bytes,
    /// The revision that created the key, the last time that it was absent before.
    pub create_revision: Revision,
    /// The revision that wrote this value.
    pub mod_revision: Revision,
    /// How often the key was written since it was created; 1 at creation.
    pub version: u64,
}

/// Which keys to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that start with this; empty for all keys.
    pub prefix: String,
    /// Only keys after this one, which need not exist. The last key of a page continues it.
    pub after: Option<String>,
    /// At most so many keys.
    pub limit: Option<usize>,
    /// Leave the values out.
    pub keys_only: bool,
}

impl ListRequest {
    /// All keys that start with `prefix`.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }
}

/// The keys found by one [`Store::list`], all as they were at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The keys in byte order.
    pub items: Vec<Versioned>,
    /// The revision of the whole store that was read. A watch from the next one misses nothing.
    pub revision: Revision,
    /// Whether the limit left keys out.
    pub more: bool,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key was written.
    Put(Versioned),
    /// The key was deleted, by a transaction or because its lease ended.
    Delete {
        /// The key.
        key: String,
        /// The revision that deleted it.
        mod_revision: Revision,
    },
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(versioned) => &versioned.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// Everything that one revision changed under the watched prefix, in the order of the writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision.
    pub revision: Revision,
    /// Its changes; never empty.
    pub events: Vec<Event>,
}

/// The changes under a prefix, revision by revision; made by [`Store::watch`].
pub struct Watch {
    source: Box<dyn WatchSource>,
}

impl Watch {
    /// Wraps what a back end implements.
    pub fn new(source: impl WatchSource + 'static) -> Self {
        Self {
            source: Box::new(source),
        }
    }

    /// Waits for the next revision that changed something under the prefix.
    ///
    /// Cancelling the wait loses nothing. After [`StoreError::Compacted`] or
    /// [`StoreError::Closed`] the watch is of no more use; after [`StoreError::Unavailable`] it can
    /// be asked again and goes on where it was.
    pub async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        self.source.next().await
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// What a back end implements for [`Watch`]; the contract is that of [`Watch::next`].
#[async_trait]
pub trait WatchSource: Send + Sync {
    /// Waits for the next batch.
    async fn next(&mut self) -> Result<WatchBatch, StoreError>;
}

/// The cluster's memory. Call it from a tokio runtime.
///
/// Keys are UTF-8 and not empty, with `/` between their parts by convention. Every method can
/// fail with [`StoreError::Unavailable`] or [`StoreError::Closed`].
#[async_trait]
pub trait Store: Send + Sync {
    /// The newest revision.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Reads one key. Sees every transaction that was acknowledged before the call.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;

    /// Reads the keys under a prefix at one revision. Sees every transaction that was
    /// acknowledged before the call. Two pages of one list may differ in revision.
    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError>;

    /// Compares, and writes everything if all compares hold. When this returns, the change is
    /// durable. A transaction whose writes change nothing is applied without a new revision.
    ///
    /// Fails as [`Transaction::validate`] does, with [`StoreError::LeaseNotFound`], or with
    /// [`StoreError::OutcomeUnknown`]. A call that is cancelled may still be applied.
    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError>;

    /// Watches a prefix (empty for everything): first the history from `from_revision`
    /// (inclusive), then what happens, in order, without gap or repetition. 0 starts with what
    /// happens after this call; a revision in the future starts there.
    ///
    /// When the store no longer has the history that is needed, at the start or because the
    /// reader is too slow, [`Watch::next`] returns [`StoreError::Compacted`].
    async fn watch(&self, prefix: &str, from_revision: Revision) -> Result<Watch, StoreError>;

    /// Makes a lease that ends after `ttl` (rounded up to whole seconds, at least one) unless it
    /// is renewed. Keys put with it are deleted, in one revision, when it ends. It ends late
    /// rather than early.
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Starts the time of a lease anew. Fails with [`StoreError::LeaseNotFound`] once it ended.
    async fn renew_lease(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease now and deletes its keys, in one revision, durably. Fails with
    /// [`StoreError::LeaseNotFound`] if it has ended already.
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Whether it is certain that nobody's transactions can be accepted now, by whatever way they
    /// come. `false` when unsure; takes a few seconds at most.
    async fn has_lost_quorum(&self) -> bool {
        false
    }
}
