//! A store whose watches tell everything a little later, as over a network.

use std::sync::Arc;
use std::time::Duration;

use lote_store::{
    Commit, LeaseId, ListRequest, Listing, Revision, Store, StoreError, Transaction, Versioned,
    Watch, WatchBatch, WatchSource,
};
use tokio::time::Instant;

/// Long compared with a commit, short compared with a test.
const DELAY: Duration = Duration::from_millis(3);

pub(crate) struct SlowWatches(pub(crate) Arc<dyn Store>);

#[async_trait::async_trait]
impl Store for SlowWatches {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.0.revision().await
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.0.get(key).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        self.0.list(request).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        self.0.commit(transaction).await
    }

    async fn watch(&self, prefix: &str, from_revision: Revision) -> Result<Watch, StoreError> {
        let watch = self.0.watch(prefix, from_revision).await?;
        Ok(Watch::new(SlowSource { watch, next: None }))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.0.grant_lease(ttl).await
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.renew_lease(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.revoke_lease(lease).await
    }
}

struct SlowSource {
    watch: Watch,
    next: Option<(Instant, WatchBatch)>,
}

#[async_trait::async_trait]
impl WatchSource for SlowSource {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        if self.next.is_none() {
            self.next = Some((Instant::now() + DELAY, self.watch.next().await?));
        }
        // Kept until it is told, so that a cancelled wait loses nothing.
        if let Some((at, _)) = &self.next {
            tokio::time::sleep_until(*at).await;
        }
        self.next
            .take()
            .map(|(_, batch)| batch)
            .ok_or(StoreError::Closed)
    }
}
