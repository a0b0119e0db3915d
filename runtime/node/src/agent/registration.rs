//! The node's record and its lease of life.

use std::sync::Arc;
use std::time::Duration;

use lote_model::key;
use lote_store::{LeaseId, StoreError, Transaction, Write};
use tokio_util::sync::CancellationToken;

use super::{AgentError, Node};

/// A node that has not renewed for this long is gone.
const LEASE: Duration = Duration::from_secs(15);

/// Three renewals fit into a lease, so that one lost message is no loss.
const RENEWAL: Duration = Duration::from_secs(5);

/// Writes the record of this node and a first sign of life, in one step.
pub(super) async fn register(node: &Node) -> Result<(), AgentError> {
    let lease = node.store.grant_lease(LEASE).await?;
    let transaction = Transaction::new()
        .put(
            key::node(&node.config.name),
            serde_json::to_vec(&node.record)?,
        )
        .write(alive(node, lease));
    node.store.commit(transaction).await?;
    Ok(())
}

/// Renews the sign of life until the end.
pub(super) async fn stay_alive(node: Arc<Node>, stop: CancellationToken) {
    let mut lease = None;
    while !stop.is_cancelled() {
        match renew(&node, lease).await {
            Ok(renewed) => lease = Some(renewed),
            Err(error) => {
                tracing::warn!(%error, "cannot renew this node's lease; trying again");
                lease = None;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RENEWAL) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn renew(node: &Node, lease: Option<LeaseId>) -> Result<LeaseId, StoreError> {
    if let Some(lease) = lease {
        match node.store.renew_lease(lease).await {
            Err(StoreError::LeaseNotFound { .. }) => {}
            other => return other.map(|()| lease),
        }
    }
    let lease = node.store.grant_lease(LEASE).await?;
    node.store
        .commit(Transaction::new().write(alive(node, lease)))
        .await?;
    Ok(lease)
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
