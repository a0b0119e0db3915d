//! Leases. The times are whole seconds because etcd knows no shorter ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{apply, next, put, value_of};
use crate::{Event, LeaseId, ListRequest, Store, StoreError, Transaction, Write};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_hours(1);

async fn put_leased(store: &dyn Store, key: &str, lease: LeaseId) -> u64 {
    apply(
        store,
        Transaction::new().write(Write::put(key, "1").with_lease(lease)),
    )
    .await
}

pub(super) async fn a_key_vanishes_when_its_lease_ends(store: Arc<dyn Store>) {
    let start = Instant::now();
    let lease = store.grant_lease(SECOND).await.unwrap();
    put(&*store, "b", "1").await;
    let revision = put_leased(&*store, "a", lease).await;
    let mut watch = store.watch("", revision + 1).await.unwrap();
    assert_eq!(value_of(&*store, "a").await.as_deref(), Some("1"));
    let batch = next(&mut watch).await;
    assert!(
        start.elapsed() >= SECOND,
        "ended after {:?}",
        start.elapsed()
    );
    let deleted = Event::Delete {
        key: "a".to_owned(),
        mod_revision: revision + 1,
    };
    assert_eq!(
        (batch.revision, batch.events),
        (revision + 1, vec![deleted])
    );
    assert_eq!(value_of(&*store, "a").await, None);
    assert_eq!(value_of(&*store, "b").await.as_deref(), Some("1"));
}

pub(super) async fn renewing_keeps_a_lease(store: Arc<dyn Store>) {
    let renewed = store.grant_lease(2 * SECOND).await.unwrap();
    let left_alone = store.grant_lease(2 * SECOND).await.unwrap();
    put_leased(&*store, "renewed", renewed).await;
    let revision = put_leased(&*store, "left-alone", left_alone).await;
    let mut watch = store.watch("left-alone", revision + 1).await.unwrap();
    let mut ticks = tokio::time::interval(SECOND / 5);
    let ended = loop {
        tokio::select! {
            batch = next(&mut watch) => break batch,
            _ = ticks.tick() => store.renew_lease(renewed).await.unwrap(),
        }
    };
    assert_eq!(ended.events[0].key(), "left-alone");
    assert_eq!(value_of(&*store, "renewed").await.as_deref(), Some("1"));
    store.renew_lease(renewed).await.unwrap();
}

pub(super) async fn revoking_deletes_all_keys_in_one_revision(store: Arc<dyn Store>) {
    let lease = store.grant_lease(LONG).await.unwrap();
    let other = store.grant_lease(LONG).await.unwrap();
    put_leased(&*store, "a/1", lease).await;
    put_leased(&*store, "b", other).await;
    let last = put_leased(&*store, "a/2", lease).await;
    let mut watch = store.watch("", last + 1).await.unwrap();
    store.revoke_lease(lease).await.unwrap();
    let listing = store.list(ListRequest::prefix("")).await.unwrap();
    assert_eq!((listing.items.len(), listing.revision), (1, last + 1));
    let mut keys: Vec<_> = next(&mut watch)
        .await
        .events
        .iter()
        .map(|event| event.key().to_owned())
        .collect();
    keys.sort();
    assert_eq!(keys, ["a/1", "a/2"]);
}

pub(super) async fn a_key_can_leave_its_lease(store: Arc<dyn Store>) {
    let lease = store.grant_lease(LONG).await.unwrap();
    let other = store.grant_lease(LONG).await.unwrap();
    for key in ["stays", "moves", "deleted", "goes"] {
        put_leased(&*store, key, lease).await;
    }
    put(&*store, "stays", "2").await;
    put_leased(&*store, "moves", other).await;
    apply(&*store, Transaction::new().delete("deleted")).await;
    put(&*store, "deleted", "2").await;
    store.revoke_lease(lease).await.unwrap();
    let found: Vec<_> = [
        value_of(&*store, "stays").await,
        value_of(&*store, "moves").await,
        value_of(&*store, "deleted").await,
        value_of(&*store, "goes").await,
    ]
    .into_iter()
    .map(|value| value.is_some())
    .collect();
    assert_eq!(found, [true, true, true, false]);
    store.revoke_lease(other).await.unwrap();
    assert_eq!(value_of(&*store, "moves").await, None);
}

pub(super) async fn an_ended_lease_is_refused(store: Arc<dyn Store>) {
    let ended = store.grant_lease(LONG).await.unwrap();
    store.revoke_lease(ended).await.unwrap();
    let revision = store.revision().await.unwrap();
    for lease in [ended, LeaseId(0x1234_5678_9abc)] {
        let transaction = Transaction::new()
            .put("a", "1")
            .write(Write::put("b", "1").with_lease(lease));
        let refused = [
            store.commit(transaction).await.map(|_| ()),
            store.renew_lease(lease).await,
            store.revoke_lease(lease).await,
        ];
        for result in refused {
            assert!(
                matches!(result, Err(StoreError::LeaseNotFound { lease: named }) if named == lease),
                "{result:?}"
            );
        }
    }
    assert_eq!(value_of(&*store, "a").await, None);
    assert_eq!(store.revision().await.unwrap(), revision);
}
