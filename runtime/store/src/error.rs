//! What can go wrong in a store, the same for every back end.

use std::error::Error;
use std::sync::Arc;

use thiserror::Error;

use crate::api::{LeaseId, Revision};

/// The failure underneath, shared by all calls that it hit.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a call to a store failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A key, or the prefix of a deletion, is empty.
    #[error("a key in a request to the store is empty: give every read and write a key")]
    EmptyKey,
    /// Two writes of one transaction touch the same key.
    #[error("the transaction writes key `{key}` more than once: keep one write per key")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// Too many compares or too many writes in one transaction.
    #[error(
        "the transaction has {count} operations of one kind, at most {limit} are allowed: split it"
    )]
    TooManyOperations {
        /// How many it has.
        count: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The transaction is too large.
    #[error(
        "the transaction has {bytes} bytes, at most {limit} are allowed: keep large data in files"
    )]
    RequestTooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The largest size in bytes.
        limit: usize,
    },
    /// The history that a watch needs is gone.
    #[error(
        "the history before revision {oldest} is gone: list the keys again and watch from there"
    )]
    Compacted {
        /// The oldest revision that can still be watched.
        oldest: Revision,
    },
    /// The lease ended or never existed.
    #[error("lease {lease} has ended: grant a new one and put its keys again")]
    LeaseNotFound {
        /// The lease.
        lease: LeaseId,
    },
    /// A value is not what the reader expects.
    #[error("the value of key `{key}` cannot be read as {expected}")]
    Decode {
        /// The key.
        key: String,
        /// The Rust type that was expected.
        expected: &'static str,
        /// What is wrong with the JSON.
        source: serde_json::Error,
    },
    /// A value cannot be written as JSON.
    #[error("the value for key `{key}` cannot be written as JSON")]
    Encode {
        /// The key.
        key: String,
        /// What is wrong with the value.
        source: serde_json::Error,
    },
    /// The store cannot answer now. Nothing was changed; try again later.
    #[error(
        "the store cannot answer, nothing was changed: check etcd, or the disk of the data folder, then try again"
    )]
    Unavailable {
        /// The failure underneath.
        source: Cause,
    },
    /// The store failed while it made a change durable.
    #[error(
        "the store failed while saving, the change may or may not be in force: read before trying again"
    )]
    OutcomeUnknown {
        /// The failure underneath.
        source: Cause,
    },
    /// The store is as large as it may be. The change may or may not be in force.
    #[error(
        "etcd is full, the change may or may not be in force: compact and defragment it and disarm its alarm, then try again"
    )]
    Full {
        /// What etcd says.
        source: Cause,
    },
    /// The store was shut down.
    #[error("the store is closed: the daemon is stopping")]
    Closed,
}
