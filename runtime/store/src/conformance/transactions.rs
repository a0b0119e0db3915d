//! Comparing and writing.

use std::sync::Arc;

use super::{apply, put, value_of};
use crate::transaction::{MAX_OPERATIONS, MAX_REQUEST_BYTES};
use crate::{Commit, ListRequest, Store, StoreError, Transaction, Write};

pub(super) async fn all_writes_share_one_revision(store: Arc<dyn Store>) {
    let before = put(&*store, "c", "1").await;
    let transaction = Transaction::new().put("a", "1").put("b", "1").delete("c");
    let revision = apply(&*store, transaction).await;
    assert_eq!(revision, before + 1);
    let listing = store.list(ListRequest::prefix("")).await.unwrap();
    let found: Vec<_> = listing
        .items
        .iter()
        .map(|item| (item.key.as_str(), item.mod_revision))
        .collect();
    assert_eq!(found, [("a", revision), ("b", revision)]);
    assert_eq!(listing.revision, revision);
}

pub(super) async fn a_conflict_changes_nothing(store: Arc<dyn Store>) {
    let revision = put(&*store, "a", "1").await;
    for transaction in [
        Transaction::new().require_absent("a"),
        Transaction::new().require_revision("a", revision + 1),
        Transaction::new()
            .require_revision("a", revision)
            .require_revision("b", revision),
    ] {
        let outcome = store
            .commit(transaction.put("a", "2").put("b", "2"))
            .await
            .unwrap();
        assert_eq!(outcome, Commit::Conflict { revision });
    }
    assert_eq!(value_of(&*store, "a").await.as_deref(), Some("1"));
    assert_eq!(value_of(&*store, "b").await, None);
    assert_eq!(store.revision().await.unwrap(), revision);
}

pub(super) async fn a_compare_sees_the_last_write_only(store: Arc<dyn Store>) {
    let created = apply(
        &*store,
        Transaction::new().require_absent("a").put("a", "1"),
    )
    .await;
    let update = Transaction::new()
        .require_revision("a", created)
        .require_absent("b");
    let updated = apply(&*store, update.put("a", "2")).await;
    let late = Transaction::new()
        .require_revision("a", created)
        .put("a", "3");
    assert!(!store.commit(late).await.unwrap().is_applied());
    apply(
        &*store,
        Transaction::new()
            .require_revision("a", updated)
            .delete("a"),
    )
    .await;
    apply(
        &*store,
        Transaction::new().require_absent("a").put("a", "4"),
    )
    .await;
    assert_eq!(value_of(&*store, "a").await.as_deref(), Some("4"));
}

pub(super) async fn what_changes_nothing_makes_no_revision(store: Arc<dyn Store>) {
    let revision = put(&*store, "a", "1").await;
    for transaction in [
        Transaction::new(),
        Transaction::new().require_revision("a", revision),
        Transaction::new().delete("b").delete_prefix("a/"),
    ] {
        assert_eq!(apply(&*store, transaction).await, revision);
    }
    assert_eq!(
        put(&*store, "a", "1").await,
        revision + 1,
        "the same value is a change"
    );
}

pub(super) async fn a_prefix_is_deleted_and_nothing_beside_it(store: Arc<dyn Store>) {
    for key in [
        "j/a",
        "j/a/",
        "j/a/1",
        "j/a/1/x",
        "j/a/\u{10FFFF}",
        "j/a0",
        "j/b",
    ] {
        put(&*store, key, "1").await;
    }
    let before = store.revision().await.unwrap();
    let transaction = Transaction::new().delete_prefix("j/a/").put("j/a", "2");
    assert_eq!(apply(&*store, transaction).await, before + 1);
    let listing = store.list(ListRequest::prefix("")).await.unwrap();
    let keys: Vec<_> = listing.items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["j/a", "j/a0", "j/b"]);
}

pub(super) async fn invalid_transactions_are_refused(store: Arc<dyn Store>) {
    let twice = Transaction::new().put("a", "1").delete("a");
    let under_prefix = Transaction::new().delete_prefix("a").put("ab", "1");
    let many = (0..=MAX_OPERATIONS).fold(Transaction::new(), |many, n| many.delete(n.to_string()));
    let large = Transaction::new().put("a", vec![0; MAX_REQUEST_BYTES]);
    for transaction in [twice, under_prefix] {
        let refused = store.commit(transaction).await;
        assert!(
            matches!(refused, Err(StoreError::DuplicateKey { .. })),
            "{refused:?}"
        );
    }
    assert!(matches!(
        store.commit(many).await,
        Err(StoreError::TooManyOperations { .. })
    ));
    assert!(matches!(
        store.commit(large).await,
        Err(StoreError::RequestTooLarge { .. })
    ));
    assert!(
        store
            .list(ListRequest::prefix(""))
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

pub(super) async fn the_largest_transaction_fits(store: Arc<dyn Store>) {
    let room = MAX_REQUEST_BYTES - Transaction::new().put("large", "").size_bytes();
    apply(&*store, Transaction::new().put("large", vec![7; room])).await;
    assert_eq!(
        store.get("large").await.unwrap().unwrap().value,
        vec![7; room]
    );
    let many = (0..MAX_OPERATIONS).fold(Transaction::new(), |many, n| {
        many.require_absent(format!("k{n}"))
            .write(Write::put(format!("k{n}"), "1"))
    });
    apply(&*store, many).await;
    assert_eq!(
        store
            .list(ListRequest::prefix("k"))
            .await
            .unwrap()
            .items
            .len(),
        MAX_OPERATIONS
    );
}

/// Adds one to a counter, again and again until no one else came between.
async fn increment(store: &dyn Store) {
    loop {
        let (before, count) = match store.get("counter").await.unwrap() {
            Some(found) => (
                found.mod_revision,
                super::text(&found).parse::<u32>().unwrap(),
            ),
            None => (0, 0),
        };
        let transaction = Transaction::new()
            .require_revision("counter", before)
            .put("counter", (count + 1).to_string());
        if store.commit(transaction).await.unwrap().is_applied() {
            return;
        }
    }
}

pub(super) async fn concurrent_increments_all_count(store: Arc<dyn Store>) {
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..20 {
                    increment(&*store).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(value_of(&*store, "counter").await.as_deref(), Some("160"));
    assert_eq!(store.get("counter").await.unwrap().unwrap().version, 160);
}

pub(super) async fn one_of_many_creators_wins(store: Arc<dyn Store>) {
    let creators: Vec<_> = (0..32)
        .map(|creator: u32| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let transaction = Transaction::new()
                    .require_absent("a")
                    .put("a", creator.to_string());
                let outcome = store.commit(transaction).await.unwrap();
                // What is acknowledged can be read at once, by the loser as by the winner.
                let found = value_of(&*store, "a").await.unwrap();
                outcome.is_applied().then_some((creator.to_string(), found))
            })
        })
        .collect();
    let mut winners = Vec::new();
    for creator in creators {
        winners.extend(creator.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].0, winners[0].1);
}
