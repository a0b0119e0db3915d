//! The file: who may open it, and what is in it the next time.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use lote_store::{
    EmbeddedOptions, EmbeddedStore, Event, OpenError, Store, StoreError, Transaction, Write,
};

use crate::{next, open, put, value_of};

#[tokio::test]
async fn everything_is_there_after_reopening_and_revisions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!EmbeddedStore::is_in(folder.path()));
    let store = open(folder.path());
    assert!(EmbeddedStore::is_in(folder.path()));
    let first = put(&store, "a", "1").await;
    let second = put(&store, "a", "2").await;
    let before = store.get("a").await.unwrap();
    drop(store);

    let store = open(folder.path());
    assert_eq!(store.get("a").await.unwrap(), before);
    assert_eq!(store.revision().await.unwrap(), second);
    assert_eq!(put(&store, "b", "1").await, second + 1);
    let mut watch = store.watch("", first).await.unwrap();
    for revision in first..=second + 1 {
        assert_eq!(next(&mut watch).await.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn the_keys_of_leases_go_at_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let lease = store.grant_lease(Duration::from_hours(1)).await.unwrap();
    let keys = ["a/1", "a/2", "b"].into_iter();
    let transaction = keys.fold(Transaction::new(), |transaction, key| {
        transaction.write(Write::put(key, "1").with_lease(lease))
    });
    store.commit(transaction).await.unwrap();
    let last = put(&store, "b", "kept: no longer on the lease").await;
    drop(store);

    let store = open(folder.path());
    assert_eq!(store.revision().await.unwrap(), last + 1);
    assert_eq!(value_of(&store, "a/1").await, None);
    assert!(value_of(&store, "b").await.is_some());
    let mut watch = store.watch("", last + 1).await.unwrap();
    let batch = next(&mut watch).await.unwrap();
    assert_eq!(
        batch.events.iter().map(Event::key).collect::<Vec<_>>(),
        ["a/1", "a/2"]
    );
    let renewed = store.renew_lease(lease).await;
    assert!(matches!(renewed, Err(StoreError::LeaseNotFound { .. })));
    let new_lease = store.grant_lease(Duration::from_hours(1)).await.unwrap();
    assert_ne!(new_lease, lease);
}

#[tokio::test]
async fn a_second_daemon_is_told_that_the_file_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let second = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default());
    let Err(error) = second else {
        panic!("opened twice")
    };
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("store.redb"), "{error}");
    put(&first, "a", "the first one is not disturbed").await;
}

#[tokio::test]
async fn only_the_owner_can_read_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());
    let metadata = std::fs::metadata(folder.path().join("store.redb")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_missing_folder_and_a_foreign_file_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let missing = EmbeddedStore::open(&folder.path().join("missing"), &EmbeddedOptions::default());
    assert!(matches!(missing, Err(OpenError::Create { .. })));
    std::fs::write(
        folder.path().join("store.redb"),
        "not a database ".repeat(4096),
    )
    .unwrap();
    let foreign = EmbeddedStore::open(folder.path(), &EmbeddedOptions::default());
    assert!(matches!(foreign, Err(OpenError::Engine { .. })));
}

#[tokio::test]
async fn closing_ends_the_watches() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut watch = store.watch("", 0).await.unwrap();
    drop(store);
    assert!(matches!(next(&mut watch).await, Err(StoreError::Closed)));
    // A watch that is still held does not hold the file.
    open(folder.path());
}
