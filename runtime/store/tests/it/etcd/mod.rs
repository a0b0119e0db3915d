//! The store in etcd: the conformance suite, and what networks and members do to it.

mod certificates;
mod failures;
mod large;
pub(crate) mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use etcd_client::Client;
use lote_store::{EtcdOptions, EtcdStore, EtcdTls, ListRequest, Store, StoreError, conformance};

use self::certificates::Certificates;
use self::server::Cluster;
use crate::{next, put, value_of};

/// Each case gets a prefix of its own. Leases of the case before are ended, whose end would be a
/// revision that the next case does not expect.
async fn fresh(cluster: &Cluster, cases: &AtomicUsize) -> Arc<dyn Store> {
    let mut client = Client::connect(cluster.endpoints(), None).await.unwrap();
    for lease in client.leases().await.unwrap().leases() {
        client.lease_revoke(lease.id()).await.unwrap();
    }
    let case = cases.fetch_add(1, Ordering::Relaxed);
    let options = EtcdOptions {
        prefix: format!("/case/{case}/"),
        ..cluster.options()
    };
    Arc::new(EtcdStore::open(&options).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_etcd_conforms() {
    let cluster = Cluster::start(1).await;
    let cases = AtomicUsize::new(0);
    conformance::run_all(|| fresh(&cluster, &cases)).await;
}

#[tokio::test]
async fn other_keys_are_not_seen() {
    let cluster = Cluster::start(1).await;
    let mut client = Client::connect(cluster.endpoints(), None).await.unwrap();
    client.put("/other", "1", None).await.unwrap();
    client.put("/lote", "1", None).await.unwrap();
    client.put("/lote0", "1", None).await.unwrap();
    let store = cluster.store().await;
    put(&store, "a", "1").await;
    let all = store.list(ListRequest::prefix("")).await.unwrap();
    let keys: Vec<_> = all.items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["a"]);
    let found = client.get("/lote/a", None).await.unwrap();
    assert_eq!(found.kvs()[0].value(), b"1");
}

#[tokio::test]
async fn certificates_open_the_door_and_nothing_else_does() {
    let cluster = Cluster::start_with(1, Some(Certificates::new()), &[]).await;
    let store = cluster.store().await;
    put(&store, "a", "1").await;
    assert_eq!(value_of(&store, "a").await.as_deref(), Some("1"));

    let good = cluster.options().tls.unwrap();
    let strangers = Certificates::new().for_client();
    for tls in [
        EtcdTls {
            identity: None,
            ..good.clone()
        },
        EtcdTls {
            identity: strangers.identity.clone(),
            ..good.clone()
        },
        EtcdTls {
            authority: strangers.authority.clone(),
            ..good.clone()
        },
    ] {
        let options = EtcdOptions {
            tls: Some(tls),
            ..cluster.options()
        };
        let store = EtcdStore::open(&options).await.unwrap();
        let refused = store.get("a").await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn compacted_history_is_told() {
    let cluster = Cluster::start(1).await;
    let store = cluster.store().await;
    let first = put(&store, "a", "1").await;
    for _ in 0..10 {
        put(&store, "a", "2").await;
    }
    let kept = first + 5;
    let mut client = Client::connect(cluster.endpoints(), None).await.unwrap();
    let signed = i64::try_from(kept).unwrap();
    client.compact(signed, None).await.unwrap();
    let mut watch = store.watch("", first).await.unwrap();
    let Err(StoreError::Compacted { oldest }) = next(&mut watch).await else {
        panic!("revision {first} is still there")
    };
    assert_eq!(oldest, kept);
    let mut watch = store.watch("", oldest).await.unwrap();
    assert_eq!(next(&mut watch).await.unwrap().revision, oldest);
}

#[tokio::test]
async fn a_dropped_store_ends_its_watches() {
    let cluster = Cluster::start(1).await;
    let store = cluster.store().await;
    let mut watch = store.watch("", 0).await.unwrap();
    drop(store);
    assert!(matches!(next(&mut watch).await, Err(StoreError::Closed)));
}
