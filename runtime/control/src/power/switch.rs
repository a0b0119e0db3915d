//! What is done about single machines.

use std::collections::BTreeMap;
use std::sync::Arc;

use lote_model::id::NodeName;
use lote_model::key;
use lote_model::node::{NodePower, NodeRecord, PowerState};
use lote_store::{Transaction, Write};

use super::{back_off, can_be_woken, is_own, need};
use crate::actions::{Action, Power, PowerOrder};
use crate::config::PowerPolicy;
use crate::decide::Pass;
use crate::snapshot::NodeState;
use crate::time::after;

/// Switches machines on that were chosen, and off that nobody needs, and looks what became of it.
pub(crate) fn settle(pass: &mut Pass<'_>) {
    follow_up(pass);
    let Some(policy) = &pass.snapshot.config().power else {
        return;
    };
    for name in std::mem::take(&mut pass.woken).into_values().flatten() {
        switch(pass, name, PowerState::Starting);
    }
    switch_off_idle(pass, policy);
}

/// Whether a machine has fallen silent, or has come back.
fn follow_up(pass: &mut Pass<'_>) {
    for (name, node) in pass.snapshot.switched() {
        let (Some(power), Some(record)) = (&node.power.record, &node.record) else {
            continue;
        };
        if node.power.in_flight {
            continue;
        }
        let is_there = node.absent_since.is_none();
        let has_come_back = is_there && record.started_at != power.told_daemon_of;
        match power.state {
            // Its machine never went off, or somebody switched it on.
            PowerState::Starting if is_there => forget(pass, node, record),
            _ if has_come_back || (is_there && is_own(pass.snapshot, name)) => {
                forget(pass, node, record);
            }
            PowerState::Off if is_there => wait_for(pass, node, record, power, PowerOrder::Off),
            PowerState::On if is_there => {}
            PowerState::Starting => wait_for(pass, node, record, power, PowerOrder::On),
            // It failed, or seemed to, and the daemon that was told is gone nevertheless.
            PowerState::On if record.started_at == power.told_daemon_of && is_nobodys(node) => {
                let power = NodePower {
                    state: PowerState::Off,
                    since: pass.now,
                    ..power.clone()
                };
                push(pass, node, record, Some(power), None, true);
            }
            PowerState::Off | PowerState::On => {}
        }
    }
}

/// Whether it is no part of a cluster, and nothing is held of it.
fn is_nobodys(node: &NodeState) -> bool {
    node.cluster.is_none() && node.holds.is_empty()
}

/// Waits until a machine that was told to go off is silent, or one that was told to come is there.
fn wait_for(
    pass: &mut Pass<'_>,
    node: &NodeState,
    record: &Arc<NodeRecord>,
    power: &NodePower,
    order: PowerOrder,
) {
    let Some(policy) = &pass.snapshot.config().power else {
        return;
    };
    let (word, within, otherwise) = match order {
        PowerOrder::Off => ("off", policy.off_within, PowerState::On),
        PowerOrder::On => ("on", policy.on_within, PowerState::Off),
    };
    match progress(pass, node, within) {
        Progress::Untried => repeat(pass, node, record, power, order),
        Progress::Waits => {}
        Progress::Failed(failure) => {
            let error = failure.unwrap_or_else(|| overdue(order, within));
            tracing::warn!(node = %record.name, error, "a machine cannot be switched {word}");
            give_up(pass, node, record, power, otherwise, error);
        }
    }
}

/// That an order had no effect.
fn overdue(order: PowerOrder, within: jiff::SignedDuration) -> String {
    let minutes = within.as_secs().div_euclid(60).max(1);
    match order {
        PowerOrder::Off => format!(
            "it was told to switch off and was still there {minutes} min later: see the log of its daemon"
        ),
        PowerOrder::On => format!(
            "it was switched on and has not come back within {minutes} min: look at its console"
        ),
    }
}

enum Progress {
    /// This leader has not done what the record says, whatever another one did.
    Untried,
    Waits,
    /// It failed, or nothing came of it in time.
    Failed(Option<String>),
}

fn progress(pass: &mut Pass<'_>, node: &NodeState, within: jiff::SignedDuration) -> Progress {
    if let Some(failure) = &node.power.failure {
        return Progress::Failed(Some(failure.clone()));
    }
    let Some(switched_at) = node.power.switched_at else {
        return Progress::Untried;
    };
    let until = after(switched_at, within);
    if until <= pass.now {
        return Progress::Failed(None);
    }
    pass.wake_at(until);
    Progress::Waits
}

/// Switches idle machines off that no cluster waits with, those that were idle longest first.
fn switch_off_idle(pass: &mut Pass<'_>, policy: &PowerPolicy) {
    let Some(off_after) = policy.off_after else {
        return;
    };
    // How many idle machines of each size there are beyond those that stay on.
    let mut spare: BTreeMap<String, usize> = BTreeMap::new();
    for (since, name) in pass.snapshot.pooled() {
        let due_at = after(since, off_after);
        if due_at > pass.now {
            pass.wake_at(due_at);
            return;
        }
        let Some(node) = pass.node(name) else {
            continue;
        };
        let Some(record) = &node.record else { continue };
        if is_needed(pass, name)
            || pass.serving.contains_key(name)
            || record.always_on
            || is_own(pass.snapshot, name)
            || !can_be_woken(policy, record)
        {
            continue;
        }
        let again_at = node.power.record.as_ref().and_then(|power| {
            let tried_at = node.power.switched_at?;
            Some(after(tried_at, back_off(power.failures)))
        });
        if let Some(again_at) = again_at.filter(|at| *at > pass.now) {
            pass.wake_at(again_at);
            continue;
        }
        let size = record.size.to_ascii_lowercase();
        let spare = spare.entry(size).or_insert_with_key(|size| {
            let idle = pass
                .snapshot
                .pool(size)
                .filter(|name| !is_needed(pass, name));
            let kept = need::count(pass, size) + policy.keep_powered;
            idle.count().saturating_sub(kept)
        });
        if *spare > 0 {
            *spare -= 1;
            switch(pass, name, PowerState::Off);
        }
    }
}

/// Whether somebody has or is to have a node of the pool.
fn is_needed(pass: &Pass<'_>, name: &NodeName) -> bool {
    pass.taken_by_any.contains(name)
        || pass.placed.contains_key(name)
        || pass.promised.contains_key(name)
        || pass.claimed.contains(name)
}

/// Does what another leader may have left undone.
fn repeat(
    pass: &mut Pass<'_>,
    node: &NodeState,
    record: &Arc<NodeRecord>,
    power: &NodePower,
    order: PowerOrder,
) {
    let node_power = Some(power.clone());
    push(pass, node, record, node_power, Some(order), false);
}

/// Switches a machine on or off.
fn switch(pass: &mut Pass<'_>, name: &NodeName, state: PowerState) {
    let Some(node) = pass.node(name) else { return };
    let Some(record) = &node.record else { return };
    let known = node.power.record.as_ref();
    let power = NodePower {
        state,
        since: pass.now,
        told_daemon_of: known
            .filter(|_| state == PowerState::Starting)
            .map_or(record.started_at, |known| known.told_daemon_of),
        failures: known.map_or(0, |known| known.failures),
        error: known.and_then(|known| known.error.clone()),
    };
    let order = match state {
        PowerState::Off => PowerOrder::Off,
        PowerState::Starting | PowerState::On => PowerOrder::On,
    };
    push(pass, node, record, Some(power), Some(order), true);
}

/// Notes that something did not work.
fn give_up(
    pass: &mut Pass<'_>,
    node: &NodeState,
    record: &Arc<NodeRecord>,
    power: &NodePower,
    state: PowerState,
    error: String,
) {
    let power = NodePower {
        state,
        since: pass.now,
        failures: power.failures.saturating_add(1),
        error: Some(error),
        ..power.clone()
    };
    push(pass, node, record, Some(power), None, true);
}

/// All is well with a machine.
fn forget(pass: &mut Pass<'_>, node: &NodeState, record: &Arc<NodeRecord>) {
    push(pass, node, record, None, None, true);
}

fn push(
    pass: &mut Pass<'_>,
    node: &NodeState,
    record: &Arc<NodeRecord>,
    power: Option<NodePower>,
    order: Option<PowerOrder>,
    is_news: bool,
) {
    let key = key::power(&record.name);
    let transaction = Transaction::new().require_revision(&key, node.power.revision);
    let transaction = match &power {
        _ if !is_news => None,
        None => Some(transaction.delete(key)),
        Some(power) => match Write::put_json(key, power) {
            Ok(write) => Some(transaction.write(write)),
            Err(error) => {
                tracing::error!(node = %record.name, %error, "the power of a machine cannot be written");
                return;
            }
        },
    };
    pass.decisions.actions.push(Action::Power(Power {
        node: Arc::clone(record),
        transaction,
        record: power,
        order,
    }));
}
