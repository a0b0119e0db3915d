//! Members that end, fall silent and come back.

use std::time::{Duration, Instant};

use lote_store::{EtcdOptions, EtcdStore, Event, Revision, Store, StoreError, Transaction, Watch};

use super::server::Cluster;
use crate::{PATIENCE, next, put, value_of};

/// Puts until it worked, as a caller does who can repeat it.
async fn put_at_last(store: &dyn Store, key: &str, value: &str) -> Revision {
    let start = Instant::now();
    loop {
        let transaction = Transaction::new().put(key, value.to_owned());
        match store.commit(transaction).await {
            Ok(commit) => return commit.revision(),
            Err(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        assert!(start.elapsed() < PATIENCE, "the store does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for the watch to tell a value, in the order of the revisions.
async fn wait_for(watch: &mut Watch, last: &mut Revision, value: &str) {
    loop {
        let batch = match next(watch).await {
            Ok(batch) => batch,
            Err(StoreError::Unavailable { .. }) => continue,
            Err(error) => panic!("{error:?}"),
        };
        assert!(batch.revision > *last, "{} after {last}", batch.revision);
        *last = batch.revision;
        let Some(Event::Put(put)) = batch.events.last() else {
            continue;
        };
        if put.value == value.as_bytes() {
            return;
        }
    }
}

async fn wait_until_lost(store: &dyn Store, expected: bool) {
    let start = Instant::now();
    while store.has_lost_quorum().await != expected {
        assert!(
            start.elapsed() < PATIENCE,
            "has_lost_quorum stays {}",
            !expected
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_unavailable_at_once() {
    // Nobody listens on port 1.
    let store = EtcdStore::open(&EtcdOptions::plain(["http://127.0.0.1:1"]))
        .await
        .unwrap();
    let start = Instant::now();
    for result in [
        store.revision().await.map(drop),
        store.get("a").await.map(drop),
        store.watch("", 0).await.map(drop),
        store
            .commit(Transaction::new().put("a", "1"))
            .await
            .map(drop),
        store.grant_lease(Duration::from_secs(1)).await.map(drop),
    ] {
        assert!(
            matches!(result, Err(StoreError::Unavailable { .. })),
            "{result:?}"
        );
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    // How many members there are was never heard, so that one refusal proves nothing.
    assert!(!store.has_lost_quorum().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_is_used_again() {
    let mut cluster = Cluster::start(1).await;
    let store = cluster.store().await;
    wait_until_lost(&store, false).await;
    let lease = store.grant_lease(Duration::from_mins(5)).await.unwrap();
    let mut watch = store.watch("", 0).await.unwrap();
    let mut last = put(&store, "a", "1").await - 1;
    wait_for(&mut watch, &mut last, "1").await;

    cluster.members[0].kill();
    let refused = store.commit(Transaction::new().put("a", "away")).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. })
        ),
        "{refused:?}"
    );
    assert!(matches!(
        store.renew_lease(lease).await,
        Err(StoreError::Unavailable { .. })
    ));
    wait_until_lost(&store, true).await;

    cluster.restart(0);
    put_at_last(&store, "a", "2").await;
    wait_for(&mut watch, &mut last, "2").await;
    wait_until_lost(&store, false).await;
    store.renew_lease(lease).await.unwrap();
    assert_eq!(value_of(&store, "a").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_members_are_enough() {
    let mut cluster = Cluster::start(3).await;
    let store = cluster.store().await;
    let mut watches = Vec::new();
    for _ in 0..3 {
        let watch = store.watch("", 0).await.unwrap();
        watches.push((watch, 0));
    }
    put(&store, "a", "0").await;

    // One after the other, so that whichever the store prefers has its turn.
    for index in 0..3 {
        cluster.members[index].kill();
        let value = format!("without {index}");
        put_at_last(&store, "a", &value).await;
        for (watch, last) in &mut watches {
            wait_for(watch, last, &value).await;
        }
        assert!(!store.has_lost_quorum().await);
        cluster.restart(index);
        wait_until_serving(&cluster, index).await;
    }

    // A paused member keeps its connections and says nothing.
    for index in 0..3 {
        cluster.members[index].pause();
        let value = format!("{index} paused");
        put_at_last(&store, "a", &value).await;
        for (watch, last) in &mut watches {
            wait_for(watch, last, &value).await;
        }
        assert!(!store.has_lost_quorum().await);
        cluster.members[index].resume();
        wait_until_serving(&cluster, index).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_members_can_do_nothing_and_this_is_known() {
    let mut cluster = Cluster::start(3).await;
    let store = cluster.store().await;
    put(&store, "a", "1").await;
    let mut watch = store.watch("", 0).await.unwrap();
    wait_until_lost(&store, false).await;

    cluster.members[0].kill();
    cluster.members[1].kill();
    wait_until_lost(&store, true).await;
    let start = Instant::now();
    let refused = store.commit(Transaction::new().put("a", "2")).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. })
        ),
        "{refused:?}"
    );
    let read = store.get("a").await;
    assert!(
        matches!(read, Err(StoreError::Unavailable { .. })),
        "{read:?}"
    );
    assert!(start.elapsed() < PATIENCE);

    cluster.restart(0);
    cluster.restart(1);
    put_at_last(&store, "a", "3").await;
    let mut last = 0;
    wait_for(&mut watch, &mut last, "3").await;
    wait_until_lost(&store, false).await;

    // Two that are silent may be well behind a wire that is cut: nothing is certain.
    cluster.members[1].pause();
    cluster.members[2].pause();
    assert!(!store.has_lost_quorum().await);
    cluster.members[1].resume();
    cluster.members[2].resume();
    put_at_last(&store, "a", "4").await;
}

/// Waits until one member answers by itself.
async fn wait_until_serving(cluster: &Cluster, index: usize) {
    let endpoint = cluster.endpoints().swap_remove(index);
    let store = EtcdStore::open(&EtcdOptions::plain([endpoint]))
        .await
        .unwrap();
    let start = Instant::now();
    while let Err(error) = store.revision().await {
        assert!(start.elapsed() < PATIENCE, "member {index}: {error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
