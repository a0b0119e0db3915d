//! The memory of the cluster behind one interface.
//!
//! Everything that the daemons agree on is a key with a JSON value in a store. The interface,
//! [`Store`], is what etcd offers: reads with a revision, transactions that compare revisions,
//! watches from a revision and leases. Callers hold an `Arc<dyn Store>` and cannot tell the back
//! ends apart.
//!
//! * [`api`]: the trait and what its reads return.
//! * [`transaction`]: what can be committed, and the limits that hold for every back end.
//! * [`error`]: what can go wrong.
//! * [`json`]: typed reads and writes on top of the trait.
//! * [`dump`]: the whole state as lines of JSON, and back.
//! * [`embedded`]: the back end for one machine, one file of `redb`.
//! * [`etcd`]: the back end for many machines.
//! * `conformance` (feature of the same name): the tests that every back end must pass.
//!
//! What must stay true here:
//!
//! * An acknowledged transaction is durable and visible to every later read.
//! * Revisions count up in one sequence, one per transaction that changed something.
//! * No other crate names `redb` or etcd, and nothing of theirs shows in the interface.

pub mod api;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod dump;
pub mod embedded;
pub mod error;
pub mod etcd;
pub mod json;
pub mod transaction;

pub use api::{
    Event, LeaseId, ListRequest, Listing, Revision, Store, Versioned, Watch, WatchBatch,
    WatchSource,
};
pub use embedded::{EmbeddedOptions, EmbeddedStats, EmbeddedStore, OpenError};
pub use error::StoreError;
pub use etcd::{EtcdIdentity, EtcdOptions, EtcdOptionsError, EtcdStore, EtcdTls};
pub use json::{Entry, JsonListing, get_json, list_json};
pub use transaction::{Commit, Compare, Transaction, Write};
