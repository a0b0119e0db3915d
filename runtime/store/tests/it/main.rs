//! Both back ends: the conformance suite, and what only one of them promises.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a failed test panics"
)]

mod conformance;
mod crash;
mod dump;
mod etcd;
mod file;
mod full_disk;
mod grouping;
mod history;
mod model;

use std::path::Path;
use std::time::Duration;

use lote_store::{
    Commit, EmbeddedOptions, EmbeddedStore, Revision, Store, StoreError, Transaction, Watch,
    WatchBatch,
};

/// How long a test waits for what must happen soon.
const PATIENCE: Duration = Duration::from_secs(20);

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, &EmbeddedOptions::default()).unwrap()
}

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    let outcome = store
        .commit(Transaction::new().put(key, value.to_owned()))
        .await
        .unwrap();
    assert!(matches!(outcome, Commit::Applied { .. }));
    outcome.revision()
}

async fn value_of(store: &dyn Store, key: &str) -> Option<String> {
    let found = store.get(key).await.unwrap()?;
    Some(String::from_utf8(found.value.to_vec()).unwrap())
}

async fn next(watch: &mut Watch) -> Result<WatchBatch, StoreError> {
    tokio::time::timeout(PATIENCE, watch.next())
        .await
        .expect("the watch says nothing")
}
