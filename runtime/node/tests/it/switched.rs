//! A store that can be out of reach, as when a cable is pulled. Leases in it go on ending.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lote_store::{
    Commit, LeaseId, ListRequest, Listing, Revision, Store, StoreError, Transaction, Versioned,
    Watch, WatchBatch, WatchSource,
};

/// The switches, and the store behind them.
pub struct Switched {
    pub inner: Arc<dyn Store>,
    switches: Arc<Switches>,
}

#[derive(Default)]
struct Switches {
    away: AtomicBool,
    quorum_lost: AtomicBool,
    leases_ended: AtomicBool,
}

impl Switched {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            switches: Arc::default(),
        }
    }

    /// Puts the store out of reach, or back.
    pub fn set_away(&self, away: bool) {
        self.switches.away.store(away, Ordering::Relaxed);
    }

    /// What it says about its quorum.
    pub fn set_quorum_lost(&self, lost: bool) {
        self.switches.quorum_lost.store(lost, Ordering::Relaxed);
    }

    /// Lets the next renewal of a lease find that it has ended.
    pub fn end_leases(&self) {
        self.switches.leases_ended.store(true, Ordering::Relaxed);
    }

    fn reach(&self) -> Result<&dyn Store, StoreError> {
        self.switches.reach().map(|()| &*self.inner)
    }
}

impl Switches {
    fn reach(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::Relaxed) {
            let source = Arc::new(std::io::Error::other("switched off by a test"));
            return Err(StoreError::Unavailable { source });
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Switched {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.reach()?.revision().await
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.reach()?.get(key).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        self.reach()?.list(request).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        self.reach()?.commit(transaction).await
    }

    async fn watch(&self, prefix: &str, from_revision: Revision) -> Result<Watch, StoreError> {
        let watch = self.reach()?.watch(prefix, from_revision).await?;
        Ok(Watch::new(SwitchedWatch {
            watch,
            switches: Arc::clone(&self.switches),
        }))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.reach()?.grant_lease(ttl).await
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let store = self.reach()?;
        if self.switches.leases_ended.swap(false, Ordering::Relaxed) {
            store.revoke_lease(lease).await?;
        }
        store.renew_lease(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.reach()?.revoke_lease(lease).await
    }

    async fn has_lost_quorum(&self) -> bool {
        self.switches.quorum_lost.load(Ordering::Relaxed)
    }
}

struct SwitchedWatch {
    watch: Watch,
    switches: Arc<Switches>,
}

#[async_trait]
impl WatchSource for SwitchedWatch {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            self.switches.reach()?;
            let soon = Duration::from_millis(10);
            if let Ok(batch) = tokio::time::timeout(soon, self.watch.next()).await {
                // What arrives while the store is away is lost with the connection.
                self.switches.reach()?;
                return batch;
            }
        }
    }
}
