//! The node's record and its lease of life.
//!
//! A node without a lease may have lost its jobs to others. So before it says that it lives, at
//! its start and after its lease has ended, it looks which allocations it still has, and ends
//! whatever belongs to none of them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lote_model::fencing::LEASE;
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_model::problem::explain;
use lote_store::{Commit, LeaseId, ListRequest, Revision, StoreError, Transaction, Write};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::allocations::{Listed, end_what_is_not_listed};
use super::inventory::Nfs;
use super::{Node, sweep};
use crate::launch::boot_time;

/// Three renewals fit into a lease, so that one lost message is no loss.
const RENEWAL: Duration = Duration::from_secs(5);

/// Pause after a failed call of the store.
const RETRY: Duration = Duration::from_secs(1);

/// What one call of the store may take. A failed renewal, the question whether anybody can
/// write, and the pause until the next together take less time than a lease has.
const CALL_MAX: Duration = Duration::from_secs(4);

/// Pause between two looks at what the machine can do with NFS.
const NFS_PAUSE: Duration = Duration::from_secs(10);

/// Pause after the record was written.
const RECORD_PAUSE: Duration = Duration::from_millis(500);

/// Why this node is not known to live.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistrationError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the store did not answer within {} s", CALL_MAX.as_secs())]
    Silent,
    #[error("the record of this node cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("processes of jobs that this node has lost do not end")]
    Strays,
}

/// Registers the node, again whenever its lease has ended, and renews the lease until `stop` is
/// cancelled. `registered` becomes true with the first lease.
pub(super) async fn stay_alive(
    node: Arc<Node>,
    registered: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let life = async {
        let mut lease = None;
        loop {
            let pause = match live_on(&node, &mut lease, &registered).await {
                Ok(()) => RENEWAL.min(node.fence.renewal_max()),
                Err(error) => {
                    tracing::warn!(
                        error = explain(&error),
                        "cannot say that this node lives; trying again"
                    );
                    ask_for_quorum(&node).await;
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = life => {}
        () = stop.cancelled() => {}
    }
}

/// One renewal, or a registration if there is no lease to renew.
async fn live_on(
    node: &Arc<Node>,
    lease: &mut Option<LeaseId>,
    registered: &watch::Sender<bool>,
) -> Result<(), RegistrationError> {
    if let Some(held) = *lease {
        let started = boot_time();
        match in_time(node.store.renew_lease(held)).await {
            Err(RegistrationError::Store(StoreError::LeaseNotFound { .. })) => {
                tracing::warn!("this node's lease has ended; looking what it still has to do");
                *lease = None;
            }
            renewed => {
                renewed?;
                node.fence.renewed(started);
                return Ok(());
            }
        }
    }
    let is_registered = *registered.borrow();
    end_what_is_not_ours(node, is_registered).await?;
    let started = boot_time();
    *lease = Some(register(node).await?);
    node.fence.renewed(started);
    registered.send_replace(true);
    Ok(())
}

/// Ends all that runs here without an allocation. The first time that is what an earlier daemon
/// left; later only this one can have started anything.
async fn end_what_is_not_ours(
    node: &Arc<Node>,
    is_registered: bool,
) -> Result<(), RegistrationError> {
    let request = ListRequest::prefix(key::allocations_of(&node.config.name));
    let listing = in_time(node.store.list(request)).await?;
    let listed = Listed::read(&listing);
    if is_registered {
        end_what_is_not_listed(node, listed).await;
    } else if !sweep::remove_strays(node, &listed).await && node.fence.file().is_some() {
        return Err(RegistrationError::Strays);
    }
    Ok(())
}

/// The record of this node as it is in the store.
#[derive(Debug)]
pub(super) struct KnownRecord {
    record: NodeRecord,
    revision: Revision,
}

/// Writes the record of this node and a sign of life, in one step.
async fn register(node: &Node) -> Result<LeaseId, RegistrationError> {
    let lease = in_time(node.store.grant_lease(LEASE)).await?;
    let mut known = node.known.lock().await;
    let record = node.current_record();
    let transaction = Transaction::new()
        .put(key::node(&node.config.name), serde_json::to_vec(&record)?)
        .write(alive(node, lease));
    let revision = in_time(node.store.commit(transaction)).await?.revision();
    *known = Some(KnownRecord { record, revision });
    Ok(lease)
}

/// Looks again and again what the machine can do with NFS.
async fn look_at_nfs(node: &Arc<Node>) {
    loop {
        tokio::time::sleep(NFS_PAUSE).await;
        let asked = Arc::clone(node);
        let looked =
            tokio::task::spawn_blocking(move || Nfs::look(&asked.config, asked.cgroups.is_some()));
        if let Ok(nfs) = looked.await {
            node.nfs.send_if_modified(|known| {
                let is_new = known.as_ref() != Some(&nfs);
                *known = Some(nfs);
                is_new
            });
        }
    }
}

/// Writes the record again whenever its GPUs have changed, or what it can do with NFS, until `stop`
/// is cancelled.
pub(super) async fn keep_record(node: Arc<Node>, stop: CancellationToken) {
    let (mut view, mut nfs) = (node.gpus.view(), node.nfs.subscribe());
    let follow = async {
        loop {
            tokio::select! {
                changed = view.changed() => if changed.is_err() { break },
                changed = nfs.changed() => if changed.is_err() { break },
            }
            while let Err(error) = publish(&node).await {
                tracing::warn!(
                    error = explain(&error),
                    "cannot say what has become of this node; trying again"
                );
                tokio::time::sleep(RETRY).await;
            }
            // What comes and goes is not written each time.
            tokio::time::sleep(RECORD_PAUSE).await;
        }
        // Nothing changes any more.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = follow => {}
        () = look_at_nfs(&node) => {}
        () = stop.cancelled() => {}
    }
}

/// Writes the record if it has changed since it was written last. Before the first registration,
/// which writes it, this does nothing.
pub(super) async fn publish(node: &Node) -> Result<(), RegistrationError> {
    let mut known = node.known.lock().await;
    let record = node.current_record();
    let Some(last) = known.as_mut().filter(|last| last.record != record) else {
        return Ok(());
    };
    let name = &node.config.name;
    let transaction = Transaction::new()
        .require_revision(key::node(name), last.revision)
        .put(key::node(name), serde_json::to_vec(&record)?);
    match in_time(node.store.commit(transaction)).await? {
        Commit::Applied { revision } => *last = KnownRecord { record, revision },
        // Somebody has removed the node. It is written when it registers again.
        Commit::Conflict { .. } => *known = None,
    }
    Ok(())
}

async fn in_time<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, RegistrationError> {
    match tokio::time::timeout(CALL_MAX, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(RegistrationError::Silent),
    }
}

/// While the store can accept nobody's writes, nobody can have been given the jobs of this node.
async fn ask_for_quorum(node: &Node) {
    if node.fence.file().is_none() {
        return;
    }
    let asked = boot_time();
    let answer = tokio::time::timeout(CALL_MAX, node.store.has_lost_quorum()).await;
    if answer == Ok(true) {
        node.fence.quorum_was_lost(asked);
    }
}

/// The sign of life; it tells which daemon lives, for whoever wonders.
fn alive(node: &Node, lease: LeaseId) -> Write {
    let value =
        serde_json::json!({"bootId": node.record.boot_id, "startedAt": node.record.started_at});
    Write::put(
        key::alive(&node.config.name),
        value.to_string().into_bytes(),
    )
    .with_lease(lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_asked_for_often_enough_to_cover_a_lease() {
        // From the start of a renewal to the next question, and between two questions.
        assert!(RENEWAL + CALL_MAX < LEASE);
        assert!(CALL_MAX + RETRY + CALL_MAX < LEASE);
    }
}
