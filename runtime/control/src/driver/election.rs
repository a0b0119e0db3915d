//! Who leads.
//!
//! On a store of one daemon it is that daemon. On a store of many it is the one whose key
//! `leader` is there, bound to a lease that it renews. Its mandate ends with the lease: by the
//! answer that the lease is gone, or by its own clock before the lease can end. Should it not
//! notice, since it was paused, then every transaction of its own requires the key as it was
//! elected, and changes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::leader::LeaderRecord;
use lote_store::{Event, LeaseId, Revision, Store, StoreError, Transaction, Write};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{BACK_OFF_FIRST, BACK_OFF_MAX};
use crate::fence::require_leader;

/// How long a leader that says nothing stays the leader.
const TERM: Duration = Duration::from_secs(10);

/// How often it says something: three times in a term, so that one lost message is no loss.
const RENEWAL: Duration = Duration::from_secs(3);

/// How long before the end of its term a leader stops: more than clocks drift in a term.
const MARGIN: Duration = Duration::from_secs(1);

/// How soon a failed renewal is tried again.
const RENEWAL_AGAIN: Duration = Duration::from_millis(500);

/// How often a follower looks whether there is a leader, should it not have been told.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Whether others can lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Leadership {
    /// The store is this daemon's alone, which therefore leads.
    #[default]
    Sole,
    /// One of many daemons is elected.
    Elected {
        /// The node of this daemon.
        node: NodeName,
    },
}

/// The right to decide, for a time.
pub(super) struct Mandate {
    /// The revision of the election, which every transaction requires; `None` for the sole leader.
    elected: Option<Revision>,
    /// Until when it holds, as far as it was renewed.
    until: Mutex<Option<Instant>>,
    over: CancellationToken,
}

impl Mandate {
    fn sole() -> Self {
        Self {
            elected: None,
            until: Mutex::new(None),
            over: CancellationToken::new(),
        }
    }

    fn elected(revision: Revision, until: Instant) -> Self {
        Self {
            elected: Some(revision),
            until: Mutex::new(Some(until)),
            over: CancellationToken::new(),
        }
    }

    /// Whether the leader may still decide.
    pub(super) fn holds(&self) -> bool {
        !self.over.is_cancelled() && self.until().is_none_or(|until| Instant::now() < until)
    }

    /// Comes when it holds no more.
    pub(super) async fn ended(&self) {
        self.over.cancelled().await;
    }

    /// The transaction, which now changes nothing unless the mandate is in force.
    pub(super) fn fence(&self, transaction: Transaction) -> Transaction {
        match self.elected {
            Some(elected) => require_leader(transaction, elected),
            None => transaction,
        }
    }

    /// After a conflict: whether it was the mandate that was missing. Ends it if so.
    pub(super) async fn check(&self, store: &dyn Store) {
        let Some(elected) = self.elected else { return };
        match store.get(key::LEADER).await {
            Ok(Some(found)) if found.mod_revision == elected => {}
            Ok(_) => self.over.cancel(),
            Err(error) => tracing::debug!(%error, "cannot see who leads"),
        }
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prolong(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

/// A mandate, and the task that renews it.
pub(super) struct Reign {
    pub(super) mandate: Arc<Mandate>,
    term: Option<(LeaseId, JoinHandle<()>)>,
}

impl Drop for Reign {
    fn drop(&mut self) {
        self.mandate.over.cancel();
        if let Some((_, keeper)) = &self.term {
            keeper.abort();
        }
    }
}

/// A daemon that wants to lead.
pub(super) struct Candidate {
    store: Arc<dyn Store>,
    leadership: Leadership,
    /// A lease that the key may still be bound to, and that is of no more use.
    left_over: Option<LeaseId>,
}

impl Candidate {
    pub(super) fn new(store: Arc<dyn Store>, leadership: Leadership) -> Self {
        Self {
            store,
            leadership,
            left_over: None,
        }
    }

    /// Waits until this daemon leads. Failures of the store are waited for, except its end.
    pub(super) async fn win(&mut self) -> Result<Reign, StoreError> {
        let node = match &self.leadership {
            Leadership::Sole => {
                return Ok(Reign {
                    mandate: Arc::new(Mandate::sole()),
                    term: None,
                });
            }
            Leadership::Elected { node } => node.clone(),
        };
        let mut pause = BACK_OFF_FIRST;
        loop {
            match self.stand(&node).await {
                Ok(Some(reign)) => return Ok(reign),
                Ok(None) => pause = BACK_OFF_FIRST,
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => {
                    tracing::warn!(%error, "no leader can be elected yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF_MAX);
                }
            }
        }
    }

    /// Waits until nobody leads and stands for election; `None` if another was quicker.
    async fn stand(&mut self, node: &NodeName) -> Result<Option<Reign>, StoreError> {
        self.give_back().await?;
        wait_for_vacancy(self.store.as_ref()).await?;
        let until = Instant::now() + TERM - MARGIN;
        let lease = self.store.grant_lease(TERM).await?;
        self.left_over = Some(lease);
        let record = LeaderRecord {
            node: node.clone(),
            since: Timestamp::now(),
        };
        let transaction = Transaction::new()
            .require_absent(key::LEADER)
            .write(Write::put_json(key::LEADER, &record)?.with_lease(lease));
        let commit = self.store.commit(transaction).await?;
        if !commit.is_applied() {
            return self.give_back().await.map(|()| None);
        }
        self.left_over = None;
        let mandate = Arc::new(Mandate::elected(commit.revision(), until));
        tracing::info!(%node, term = commit.revision(), "elected: this daemon leads");
        let keeper = keep(Arc::clone(&self.store), lease, Arc::clone(&mandate));
        Ok(Some(Reign {
            mandate,
            term: Some((lease, tokio::spawn(keeper))),
        }))
    }

    /// Ends the mandate and gives the lease back, so that another takes over at once.
    pub(super) async fn resign(&mut self, mut reign: Reign) {
        reign.mandate.over.cancel();
        let Some((lease, keeper)) = reign.term.take() else {
            return;
        };
        keeper.abort();
        self.left_over = Some(lease);
        if let Err(error) = self.give_back().await {
            tracing::warn!(
                %error,
                "the lease of the leader could not be given back: nobody leads until it ends"
            );
        }
    }

    /// Ends a lease of before, with the key that it may still hold.
    async fn give_back(&mut self) -> Result<(), StoreError> {
        let Some(lease) = self.left_over else {
            return Ok(());
        };
        match self.store.revoke_lease(lease).await {
            Ok(()) | Err(StoreError::LeaseNotFound { .. }) => {
                self.left_over = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Returns when nobody leads.
async fn wait_for_vacancy(store: &dyn Store) -> Result<(), StoreError> {
    let mut known = None;
    loop {
        let Some(found) = store.get(key::LEADER).await? else {
            return Ok(());
        };
        if known != Some(found.mod_revision) {
            known = Some(found.mod_revision);
            match serde_json::from_slice::<LeaderRecord>(&found.value) {
                Ok(leader) => tracing::info!(leader = %leader.node, "following"),
                Err(error) => tracing::warn!(%error, "the record of the leader cannot be read"),
            }
        }
        let gone = wait_until_deleted(store, found.mod_revision + 1);
        if let Ok(gone) = tokio::time::timeout(LOOK_EVERY, gone).await {
            gone?;
        }
    }
}

async fn wait_until_deleted(store: &dyn Store, from: Revision) -> Result<(), StoreError> {
    let mut watch = store.watch(key::LEADER, from).await?;
    loop {
        let batch = match watch.next().await {
            Ok(batch) => batch,
            // Goes on by itself.
            Err(StoreError::Unavailable { .. }) => continue,
            // It is looked for again.
            Err(StoreError::Compacted { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let is_end =
            |event: &Event| matches!(event, Event::Delete { key, .. } if key == key::LEADER);
        if batch.events.iter().any(is_end) {
            return Ok(());
        }
    }
}

/// Renews the lease until it is gone, or until it may be.
async fn keep(store: Arc<dyn Store>, lease: LeaseId, mandate: Arc<Mandate>) {
    let mut pause = RENEWAL;
    loop {
        let Some(until) = mandate.until() else { return };
        let round = async {
            tokio::time::sleep(pause).await;
            // The lease lasts from when etcd renewed it, which is not before the question.
            let asked = Instant::now();
            (asked, store.renew_lease(lease).await)
        };
        match tokio::time::timeout_at(until, round).await {
            Ok((asked, Ok(()))) => {
                mandate.prolong(asked + TERM - MARGIN);
                pause = RENEWAL;
            }
            Ok((_, Err(StoreError::LeaseNotFound { .. } | StoreError::Closed))) | Err(_) => break,
            Ok((_, Err(error))) => {
                tracing::warn!(%error, "the leader cannot renew its lease yet");
                pause = RENEWAL_AGAIN;
            }
        }
    }
    tracing::warn!("this daemon leads no more: it could not renew its lease in time");
    mandate.over.cancel();
}
