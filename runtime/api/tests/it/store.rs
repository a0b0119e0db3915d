//! A real store that can be made to fail.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lote_store::{
    Commit, EmbeddedOptions, EmbeddedStore, LeaseId, ListRequest, Listing, Revision, Store,
    StoreError, Transaction, Versioned, Watch,
};

pub(crate) struct Breakable {
    inner: EmbeddedStore,
    broken: AtomicBool,
}

impl Breakable {
    pub(crate) fn open(folder: &Path) -> Self {
        let inner = EmbeddedStore::open(folder, &EmbeddedOptions::default()).unwrap();
        Self {
            inner,
            broken: AtomicBool::new(false),
        }
    }

    pub(crate) fn break_down(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// The store itself, which works while the other way to it is broken.
    pub(crate) fn inner(&self) -> &EmbeddedStore {
        &self.inner
    }

    fn working(&self) -> Result<&EmbeddedStore, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                source: Arc::new(std::io::Error::other("broken by the test")),
            });
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl Store for Breakable {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.working()?.revision().await
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.working()?.get(key).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        self.working()?.list(request).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        self.working()?.commit(transaction).await
    }

    async fn watch(&self, prefix: &str, from_revision: Revision) -> Result<Watch, StoreError> {
        self.working()?.watch(prefix, from_revision).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.working()?.grant_lease(ttl).await
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.working()?.renew_lease(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.working()?.revoke_lease(lease).await
    }
}
