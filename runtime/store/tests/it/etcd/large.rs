//! Much data.

use std::sync::Arc;

use lote_store::{ListRequest, Store, StoreError, Transaction, Write};

use super::server::Cluster;
use crate::put;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_prefix_is_read_at_one_revision() {
    const KEYS: usize = 4000;
    let cluster = Cluster::start(1).await;
    let store = Arc::new(cluster.store().await);
    let value = "x".repeat(2000);
    for start in (0..KEYS).step_by(100) {
        let writes = (start..start + 100)
            .map(|index| Write::put(format!("k/{index:05}"), value.clone()))
            .collect();
        let transaction = Transaction {
            writes,
            ..Transaction::default()
        };
        assert!(store.commit(transaction).await.unwrap().is_applied());
    }
    // Each write touches the first and the last page. A list that mixed revisions would show it.
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0.. {
                let both = Transaction::new()
                    .put("k/00000", format!("{round}"))
                    .put("k/03999", format!("{round}"));
                assert!(store.commit(both).await.unwrap().is_applied());
            }
        })
    };
    for _ in 0..10 {
        let listing = store.list(ListRequest::prefix("k/")).await.unwrap();
        assert_eq!((listing.items.len(), listing.more), (KEYS, false));
        let (first, last) = (&listing.items[0], &listing.items[KEYS - 1]);
        assert_eq!(first.value, last.value);
        assert!(
            listing
                .items
                .iter()
                .all(|item| item.mod_revision <= listing.revision)
        );
    }
    writer.abort();
    let request = ListRequest {
        limit: Some(2500),
        keys_only: true,
        ..ListRequest::prefix("k/")
    };
    let part = store.list(request).await.unwrap();
    assert_eq!((part.items.len(), part.more), (2500, true));
    assert!(part.items.iter().all(|item| item.value.is_empty()));
}

#[tokio::test]
async fn answers_larger_than_the_usual_limit_are_read() {
    let cluster = Cluster::start(1).await;
    let store = cluster.store().await;
    let value = "x".repeat(1400 * 1024);
    let mut revisions = Vec::new();
    for index in 0..5 {
        revisions.push(put(&store, &format!("large/{index}"), &value).await);
    }
    let listing = store.list(ListRequest::prefix("large/")).await.unwrap();
    assert_eq!(listing.items.len(), 5);
    // Etcd tells the whole history in one message.
    let mut watch = store.watch("", revisions[0]).await.unwrap();
    for revision in revisions {
        assert_eq!(crate::next(&mut watch).await.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn a_full_etcd_says_so() {
    let quota = (16 << 20).to_string();
    let cluster = Cluster::start_with(1, None, &["--quota-backend-bytes", &quota]).await;
    let store = cluster.store().await;
    let value = "x".repeat(1 << 20);
    let mut refused = None;
    for index in 0..40 {
        let transaction = Transaction::new().put(format!("k/{index}"), value.clone());
        if let Err(error) = store.commit(transaction).await {
            refused = Some(error);
            break;
        }
    }
    let Some(StoreError::Full { source }) = refused else {
        panic!("not refused as full: {refused:?}")
    };
    assert!(source.to_string().contains("space exceeded"), "{source}");
    // It can still be read.
    store.get("k/0").await.unwrap().unwrap();
}
