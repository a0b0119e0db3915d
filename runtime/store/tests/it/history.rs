//! Compaction, and watchers that do not keep up.

use lote_store::{EmbeddedOptions, EmbeddedStore, Event, Store, StoreError, Transaction};

use crate::{next, put};

fn open_with_history(folder: &std::path::Path, history_revisions: u64) -> EmbeddedStore {
    let options = EmbeddedOptions {
        history_revisions,
        ..EmbeddedOptions::default()
    };
    EmbeddedStore::open(folder, &options).unwrap()
}

/// Makes many revisions quickly: all wait together, so that few syncs are needed.
async fn make_revisions(store: &EmbeddedStore, count: usize, value: &str) {
    let commits: Vec<_> = (0..count)
        .map(|_| store.commit(Transaction::new().put("a", value.to_owned())))
        .collect();
    let mut commits: Vec<_> = commits.into_iter().map(Box::pin).collect();
    // Polling all once puts them into the queue.
    let all = std::future::poll_fn(|context| {
        commits.retain_mut(|commit| match commit.as_mut().poll(context) {
            std::task::Poll::Ready(outcome) => !outcome.unwrap().is_applied(),
            std::task::Poll::Pending => true,
        });
        if commits.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    });
    all.await;
}

#[tokio::test]
async fn old_history_goes_and_the_promised_part_stays() {
    const KEPT: u64 = 100;
    let folder = tempfile::tempdir().unwrap();
    let store = open_with_history(folder.path(), KEPT);
    make_revisions(&store, 1000, "1").await;
    let newest = store.revision().await.unwrap();
    assert_eq!(newest, 1000);

    // The oldest revisions may still be in memory, so it is the file that is asked.
    drop(store);
    let store = open_with_history(folder.path(), KEPT);
    let mut watch = store.watch("", 1).await.unwrap();
    let Err(StoreError::Compacted { oldest }) = next(&mut watch).await else {
        panic!("revision 1 is still there")
    };
    assert!(
        newest + 1 - oldest >= KEPT,
        "only {} kept",
        newest + 1 - oldest
    );
    let mut watch = store.watch("", oldest).await.unwrap();
    for revision in oldest..=newest {
        assert_eq!(next(&mut watch).await.unwrap().revision, revision);
    }
    assert_eq!(store.get("a").await.unwrap().unwrap().version, 1000);
}

#[tokio::test]
async fn a_watcher_that_fell_behind_is_served_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with_history(folder.path(), 10_000);
    let mut slow = store.watch("a", 0).await.unwrap();
    let mut other = store.watch("b", 0).await.unwrap();
    // Far more than is kept in memory, in number and in bytes.
    make_revisions(&store, 1000, &"x".repeat(4096)).await;
    let last = put(&store, "b", "1").await;
    for revision in 1..=1000 {
        let batch = next(&mut slow).await.unwrap();
        let Event::Put(put) = &batch.events[0] else {
            panic!("a deletion")
        };
        assert_eq!(
            (batch.revision, put.version, put.value.len()),
            (revision, revision, 4096)
        );
    }
    assert_eq!(next(&mut other).await.unwrap().revision, last);
    // Having caught up, it goes on live.
    let live = put(&store, "a", "live").await;
    assert_eq!(next(&mut slow).await.unwrap().revision, live);
}

#[tokio::test]
async fn a_watcher_that_fell_behind_the_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_with_history(folder.path(), 10);
    let mut slow = store.watch("", 0).await.unwrap();
    make_revisions(&store, 2000, "1").await;
    assert!(matches!(next(&mut slow).await, Err(StoreError::Compacted { oldest }) if oldest > 1));
}
