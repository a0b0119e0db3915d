//! Reading the whole store, and following it from there.

use jiff::Timestamp;
use lote_model::key;
use lote_store::{ListRequest, Revision, Store, StoreError, Transaction, Watch, WatchBatch};

use super::SYNC_AFTER;
use crate::config::Config;
use crate::snapshot::Snapshot;

/// Keys per list: bounds the memory that ten thousand finished jobs take while they are skipped.
const PAGE: usize = 500;

/// A store taken over.
pub(super) struct Loaded {
    pub(super) snapshot: Snapshot,
    pub(super) watch: Watch,
    /// The snapshot is the store at this revision; the watch goes on from there.
    pub(super) position: Revision,
}

/// Lists everything that matters, then replays what happened between the first and the last list.
pub(super) async fn load(store: &dyn Store, config: Config) -> Result<Loaded, StoreError> {
    let mut snapshot = Snapshot::new(config);
    snapshot.start_loading();
    let first = store.revision().await?;
    let mut last = first;
    for prefix in Snapshot::PREFIXES {
        last = last.max(load_prefix(store, &mut snapshot, prefix).await?);
    }
    let mut watch = store.watch("", first + 1).await?;
    let mut position = first;
    while position < last {
        let Ok(batch) = tokio::time::timeout(SYNC_AFTER, watch.next()).await else {
            make_revision(store).await?;
            continue;
        };
        let batch = batch?;
        apply_batch(&mut snapshot, &batch);
        position = batch.revision;
    }
    for (uid, attempt) in snapshot.running_gangs() {
        load_prefix(store, &mut snapshot, &key::plans_of_attempt(&uid, attempt)).await?;
    }
    snapshot.end_loading();
    Ok(Loaded {
        snapshot,
        watch,
        position,
    })
}

/// Makes a revision that every watch of everything tells. The newest one may be of somebody else
/// who shares the etcd, so that no watch would ever reach it.
pub(super) async fn make_revision(store: &dyn Store) -> Result<(), StoreError> {
    let transaction = Transaction::new().put(key::LEADER_SYNC, "null");
    store.commit(transaction).await.map(drop)
}

async fn load_prefix(
    store: &dyn Store,
    snapshot: &mut Snapshot,
    prefix: &str,
) -> Result<Revision, StoreError> {
    let mut request = ListRequest {
        limit: Some(PAGE),
        ..ListRequest::prefix(prefix)
    };
    loop {
        let listing = store.list(request.clone()).await?;
        request.after = listing.items.last().map(|item| item.key.clone());
        let now = Timestamp::now();
        for item in listing.items {
            if let Err(error) = snapshot.load(item, now) {
                tracing::error!(%error, "the leader ignores a record");
            }
        }
        if !listing.more {
            return Ok(listing.revision);
        }
    }
}

/// Follows one revision. A record that cannot be read is logged and left alone.
pub(super) fn apply_batch(snapshot: &mut Snapshot, batch: &WatchBatch) {
    let now = Timestamp::now();
    for event in &batch.events {
        if let Err(error) = snapshot.apply(event, now) {
            tracing::error!(%error, "the leader ignores a record");
        }
    }
}
