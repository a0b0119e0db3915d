//! Group commit.

use std::sync::Arc;

use lote_store::Store;

use crate::{open, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiting_transactions_share_a_sync() {
    const WRITERS: u64 = 64;
    const EACH: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for index in 0..EACH {
                    put(&*store, &format!("{writer}/{index}"), "1").await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.transactions, WRITERS * EACH);
    assert_eq!(store.revision().await.unwrap(), WRITERS * EACH);
    assert!(stats.syncs * 4 < stats.transactions, "{stats:?}");
}

#[tokio::test]
async fn what_changes_nothing_is_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "a", "1").await;
    let before = store.stats();
    let transaction = lote_store::Transaction::new()
        .require_absent("a")
        .put("a", "2");
    assert!(!store.commit(transaction).await.unwrap().is_applied());
    let after = store.stats();
    assert_eq!(
        (
            after.transactions - before.transactions,
            after.syncs - before.syncs
        ),
        (1, 0)
    );
}
