//! A store through which a daemon can be stopped where it is, as a paused process is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lote_store::{
    Commit, LeaseId, ListRequest, Listing, Revision, Store, StoreError, Transaction, Versioned,
    Watch,
};
use tokio::sync::watch;

/// Whether calls pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Commits and what keeps a lease wait; reads pass, so that a leader sees what it decides on.
    Held,
}

pub(crate) struct Held {
    inner: Arc<dyn Store>,
    gate: watch::Sender<Gate>,
    leases: Mutex<Vec<LeaseId>>,
    waiting: watch::Sender<usize>,
    /// What became of the commits that were held.
    outcomes: Mutex<Vec<Commit>>,
}

impl Held {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            gate: watch::Sender::new(Gate::Open),
            leases: Mutex::default(),
            waiting: watch::Sender::new(0),
            outcomes: Mutex::default(),
        })
    }

    pub(crate) fn hold(&self) {
        self.gate.send_replace(Gate::Held);
    }

    pub(crate) fn release(&self) {
        self.gate.send_replace(Gate::Open);
    }

    /// Waits until a commit is held.
    pub(crate) async fn until_held(&self) {
        let mut waiting = self.waiting.subscribe();
        waiting
            .wait_for(|count| *count > 0)
            .await
            .expect("a sender");
    }

    /// Waits until everything that was held has its answer.
    pub(crate) async fn until_answered(&self) {
        let mut waiting = self.waiting.subscribe();
        waiting
            .wait_for(|count| *count == 0)
            .await
            .expect("a sender");
    }

    pub(crate) fn outcomes(&self) -> Vec<Commit> {
        self.outcomes.lock().expect("a lock").clone()
    }

    /// The lease that was granted last.
    pub(crate) fn lease(&self) -> LeaseId {
        *self.leases.lock().expect("a lock").last().expect("a lease")
    }

    /// Waits at the gate; whether it had to.
    async fn pass(&self) -> bool {
        let mut gate = self.gate.subscribe();
        let held = *gate.borrow_and_update() == Gate::Held;
        gate.wait_for(|gate| *gate == Gate::Open)
            .await
            .expect("a sender");
        held
    }
}

#[async_trait::async_trait]
impl Store for Held {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        self.inner.list(request).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        if *self.gate.borrow() == Gate::Open {
            return self.inner.commit(transaction).await;
        }
        self.waiting.send_modify(|count| *count += 1);
        self.pass().await;
        let outcome = self.inner.commit(transaction).await;
        if let Ok(outcome) = &outcome {
            self.outcomes.lock().expect("a lock").push(*outcome);
        }
        self.waiting.send_modify(|count| *count -= 1);
        outcome
    }

    async fn watch(&self, prefix: &str, from_revision: Revision) -> Result<Watch, StoreError> {
        self.inner.watch(prefix, from_revision).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let lease = self.inner.grant_lease(ttl).await?;
        self.leases.lock().expect("a lock").push(lease);
        Ok(lease)
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.pass().await;
        self.inner.renew_lease(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.pass().await;
        self.inner.revoke_lease(lease).await
    }
}
