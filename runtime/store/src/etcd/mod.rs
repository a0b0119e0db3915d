//! The back end for many machines: an etcd of one or more members, version 3.4 or newer.
//!
//! * `options`: where etcd is, certificates, what cannot work.
//! * `members`: which member is asked, and what happens when it does not answer.
//! * `failure`: what a failed call means; above all, whether something may have changed.
//! * `keys`: the prefix that all keys have in etcd and nowhere else.
//! * `read`, `commit`, `lease`: the calls.
//! * `watch`: following changes over lost connections.
//! * `quorum`: whether anybody's writes can be accepted.
//!
//! No call hangs: each member has a few seconds. Opening the store connects to nothing; calls
//! fail with [`StoreError::Unavailable`] until etcd is there.
//!
//! Every revision is one of the whole etcd, so that those of others, who use it beside this
//! store, leave gaps.

mod commit;
mod failure;
mod keys;
mod lease;
mod members;
mod options;
mod quorum;
mod read;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::failure::EtcdError;
use self::keys::KeySpace;
use self::members::Members;
pub use self::options::{EtcdIdentity, EtcdOptions, EtcdOptionsError, EtcdTls};
use self::quorum::Size;
use self::watch::Watcher;
use crate::api::{LeaseId, ListRequest, Listing, Revision, Store, Versioned, Watch};
use crate::error::StoreError;
use crate::transaction::{Commit, Transaction};

/// A store in etcd. Dropping it ends its watches with [`StoreError::Closed`].
pub struct EtcdStore {
    members: Arc<Members>,
    space: KeySpace,
    size: Arc<Size>,
    /// Tells the tasks by its end that the store is gone.
    alive: tokio::sync::watch::Sender<()>,
}

impl EtcdStore {
    /// Prepares connections; etcd need not be there. Call it from a tokio runtime.
    pub async fn open(options: &EtcdOptions) -> Result<Self, EtcdOptionsError> {
        let members = Arc::new(Members::new(options).await?);
        let size = Arc::new(Size::default());
        let alive = tokio::sync::watch::Sender::new(());
        let mut end = alive.subscribe();
        let (counted, counter) = (Arc::clone(&members), Arc::clone(&size));
        tokio::spawn(async move {
            tokio::select! {
                () = counter.keep_counting(&counted) => {}
                _ = end.changed() => {}
            }
        });
        Ok(Self {
            members,
            space: KeySpace::new(options.prefix.clone()),
            size,
            alive,
        })
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        read::revision(&self.members, &self.space).await
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        if key.is_empty() {
            return Err(StoreError::EmptyKey);
        }
        read::get(&self.members, &self.space, key).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        read::list(&self.members, &self.space, &request).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        transaction.validate()?;
        commit::commit(&self.members, &self.space, &transaction).await
    }

    async fn watch(&self, prefix: &str, from_revision: Revision) -> Result<Watch, StoreError> {
        let from = match from_revision {
            0 => self.revision().await? + 1,
            revision => revision,
        };
        Ok(Watch::new(Watcher::start(
            Arc::clone(&self.members),
            self.space.clone(),
            prefix,
            from,
            self.alive.subscribe(),
        )))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        lease::grant(&self.members, ttl).await
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        lease::renew(&self.members, lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        lease::revoke(&self.members, lease).await
    }

    async fn has_lost_quorum(&self) -> bool {
        self.size.is_lost(&self.members).await
    }
}
