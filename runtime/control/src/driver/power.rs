//! Switching machines on and off.

use std::future::Future;
use std::pin::Pin;

use lote_model::node::NodeRecord;
use lote_store::{Commit, Revision, StoreError};

use super::Tools;
use super::election::Mandate;
use crate::actions::{Power, PowerOrder};

/// A switch of machines.
///
/// What it does must be harmless to do twice: a new leader does again what the one before it may
/// have left undone.
pub trait PowerSwitch: Send + Sync {
    /// Switches a machine; returns when that is under way, and not only when the machine is on or off.
    /// An error says what was tried and what came of it.
    fn switch<'a>(&'a self, node: &'a NodeRecord, order: PowerOrder) -> Switching<'a>;
}

/// What [`PowerSwitch::switch`] returns.
pub type Switching<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// For a site where nobody can switch machines.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSwitch;

impl PowerSwitch for NoSwitch {
    fn switch<'a>(&'a self, _: &'a NodeRecord, _: PowerOrder) -> Switching<'a> {
        Box::pin(async { Err("this daemon has no --power option".to_owned()) })
    }
}

/// Writes what is to be done, and does it if that was applied. Tells the revision at which it can be
/// seen, and why the machine could not be switched.
pub(super) async fn act(
    tools: &Tools,
    mandate: &Mandate,
    power: Power,
) -> Result<(Revision, Option<String>), StoreError> {
    let Power {
        node,
        transaction,
        order,
        ..
    } = power;
    let mut revision = 0;
    if let Some(transaction) = transaction {
        if !mandate.holds() {
            return Ok((0, None));
        }
        match tools.store.commit(mandate.fence(transaction)).await? {
            Commit::Applied { revision: newest } => revision = newest,
            Commit::Conflict { revision } => {
                mandate.check(tools.store.as_ref()).await;
                return Ok((revision, None));
            }
        }
    }
    let Some(order) = order else {
        return Ok((revision, None));
    };
    let _turn = tools.switches.acquire().await;
    // Another leader may have decided otherwise meanwhile.
    if !mandate.holds() {
        return Ok((revision, None));
    }
    tracing::info!(node = %node.name, ?order, "switching a machine");
    let switched = tools.power.switch(&node, order).await;
    Ok((revision, switched.err()))
}
