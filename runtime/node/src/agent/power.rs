//! Switches this machine off when the leader wants that and nobody else can do it.
//!
//! The leader writes that a machine is to be off, and which daemon is meant: one that started
//! later was switched on again and stays. The node looks at the record itself before it obeys, so
//! a leader that was replaced cannot switch it off any more.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lote_model::key;
use lote_model::node::{NodePower, PowerState};
use lote_model::problem::explain;
use lote_store::{StoreError, get_json};
use tokio_util::sync::CancellationToken;

use super::Node;

/// Pause after a failed call of the store.
const RETRY: Duration = Duration::from_secs(1);

/// Pause after the command has failed, or while jobs end.
const AGAIN: Duration = Duration::from_secs(30);

/// Obeys until `stop` is cancelled. Does nothing where machines do not switch themselves off.
pub(super) async fn obey(node: Arc<Node>, stop: CancellationToken) {
    if node.config.power_off.is_none() {
        return;
    }
    let forever = async {
        loop {
            match follow(&node).await {
                Ok(()) | Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::debug!(
                        error = explain(&error),
                        "cannot see whether this machine is to be off"
                    );
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = forever => {}
        () = stop.cancelled() => {}
    }
}

async fn follow(node: &Node) -> Result<(), StoreError> {
    let own_key = key::power(&node.config.name);
    let mut obeyed: Option<Timestamp> = None;
    loop {
        // Before the record is read, so that no change falls between the two.
        let from = node.store.revision().await? + 1;
        let found = get_json::<NodePower>(&*node.store, &own_key).await?;
        let is_meant = |power: &NodePower| {
            power.state == PowerState::Off && power.told_daemon_of == node.record.started_at
        };
        let order = found.map(|found| found.value).filter(is_meant);
        let pause = match order {
            Some(order) if obeyed != Some(order.since) => {
                if switch_off(node).await {
                    obeyed = Some(order.since);
                    None
                } else {
                    Some(AGAIN)
                }
            }
            _ => None,
        };
        let mut watch = node.store.watch(&own_key, from).await?;
        match pause {
            Some(pause) => {
                tokio::time::timeout(pause, watch.next()).await.ok();
            }
            None => {
                watch.next().await?;
            }
        }
    }
}

/// Whether the machine will be off in a moment.
async fn switch_off(node: &Node) -> bool {
    let Some(command) = &node.config.power_off else {
        return false;
    };
    if !node.tasks.are_none() {
        tracing::warn!("this machine is to be switched off, and still has jobs: waiting");
        return false;
    }
    tracing::info!("nobody needs this machine: switching it off");
    match command.run(&node.record).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(
                error = explain(&error),
                "this machine cannot be switched off"
            );
            false
        }
    }
}
