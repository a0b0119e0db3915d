//! Machines of the pool that nobody needs are switched off, and on again when clusters lack nodes.
//!
//! ```text
//!            idle for long          a cluster lacks nodes       its daemon registers again
//! (no record) ──────────▶ off ──────────────────────▶ starting ──────────────────▶ (no record)
//!      ▲                  │ ▲                             │
//!      │  does not fall   │ └─────────────────────────────┘
//!      └── silent: on ◀───┘     does not come back: off, with an error
//! ```
//!
//! A machine that is `off` or `starting` takes no jobs, is not missed, and counts as one that
//! clusters can get ([`wake`]); [`reservation`](crate::reservation) promises it as free once it
//! can have come back. The record is written first, and what it says is done after that, again by
//! every new leader: so it does not matter at which moment one leader follows another. Which
//! daemon was told is in the record, so that a machine that somebody switched on by hand is
//! simply there, and one that falls silent after it was given up (`on`) is `off` after all.
//!
//! Never switched off are machines of which a cluster or a job has something, those that have file
//! servers, the one whose daemon leads, those that say so of themselves ([`always_on`](lote_model::node::NodeRecord::always_on)),
//! and those that could not be woken.

mod need;
mod switch;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use lote_model::id::NodeName;
use lote_model::node::{NodeRecord, PowerState};

use crate::config::PowerPolicy;
use crate::decide::Pass;
use crate::driver::Leadership;
use crate::snapshot::{NodeState, Snapshot};
use crate::time::after;

pub(crate) use need::wake;
pub(crate) use switch::settle;

/// How long a machine must have been silent before it is woken: daemons stop some time before
/// their machines are off, and one that is still going down does not hear the call.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(15);

/// The first pause before the same is tried again; each further one is twice as long.
const BACK_OFF_FIRST: SignedDuration = SignedDuration::from_secs(30);

/// How often the pause doubles: to two hours.
const BACK_OFF_DOUBLINGS: u32 = 8;

/// How long after a try the next may follow.
fn back_off(failures: u32) -> SignedDuration {
    match failures.checked_sub(1) {
        None => SignedDuration::ZERO,
        Some(doublings) => BACK_OFF_FIRST * 2_i32.pow(doublings.min(BACK_OFF_DOUBLINGS)),
    }
}

/// Whether a machine that is off can be woken now, or when; none if it cannot.
fn can_wake_at(policy: &PowerPolicy, node: &NodeState) -> Option<Timestamp> {
    let power = node.power.record.as_ref()?;
    let record = node.record.as_ref()?;
    let is_asleep = power.state == PowerState::Off && !node.power.in_flight;
    let is_wanted = !node.is_drained() && record.is_schedulable() && can_be_woken(policy, record);
    let silent_since = node.absent_since.filter(|_| is_asleep && is_wanted)?;
    let settled_at = after(silent_since, SETTLED_AFTER);
    let tried_at = node.power.switched_at.filter(|_| power.failures > 0);
    let again_at = tried_at.map(|tried_at| after(tried_at, back_off(power.failures)));
    Some(again_at.map_or(settled_at, |again_at| again_at.max(settled_at)))
}

fn can_be_woken(policy: &PowerPolicy, record: &NodeRecord) -> bool {
    !policy.needs_mac_address || record.mac_address.is_some()
}

/// Whether this is the machine of the daemon that leads.
fn is_own(snapshot: &Snapshot, name: &NodeName) -> bool {
    match &snapshot.config().leadership {
        // It has the store for itself, and so no other machines.
        Leadership::Sole => true,
        Leadership::Elected { node } => node == name,
    }
}

/// The machines of a size that are not on.
#[derive(Debug, Default)]
pub(crate) struct Sleepers<'a> {
    /// Those that can be woken, the best first.
    pub(crate) able: Vec<&'a NodeName>,
    /// Those that are on their way already, and by when.
    pub(crate) coming: Vec<(Timestamp, &'a NodeName)>,
}

/// The machines that are not on, by their sizes in lower case; nothing where nobody can switch
/// any.
pub(crate) fn sleepers<'a>(pass: &mut Pass<'a>) -> BTreeMap<String, Sleepers<'a>> {
    let snapshot = pass.snapshot;
    let mut sizes: BTreeMap<String, Sleepers<'a>> = BTreeMap::new();
    let Some(policy) = &snapshot.config().power else {
        return sizes;
    };
    let mut wake_at = None;
    for (name, node) in snapshot.switched() {
        let Some(record) = &node.record else { continue };
        let size = || record.size.to_ascii_lowercase();
        if node.power.is_starting() {
            let since = node.power.switched_at.unwrap_or(pass.now);
            let by = after(since, policy.on_within).max(pass.now);
            sizes.entry(size()).or_default().coming.push((by, name));
        } else if let Some(at) = can_wake_at(policy, node) {
            if at <= pass.now {
                sizes.entry(size()).or_default().able.push(name);
            } else {
                wake_at = crate::time::earlier(wake_at, Some(at));
            }
        }
    }
    if let Some(at) = wake_at {
        pass.wake_at(at);
    }
    for sleepers in sizes.values_mut() {
        // Those that did not come back the last time come last.
        sleepers.able.sort_by_key(|name| failures(snapshot, name));
    }
    sizes
}

fn failures(snapshot: &Snapshot, name: &NodeName) -> u32 {
    let power = snapshot
        .node(name)
        .and_then(|node| node.power.record.as_ref());
    power.map_or(0, |power| power.failures)
}

/// How many machines of a size are being switched on, by this pass too.
pub(crate) fn count_coming(pass: &Pass<'_>, size: &str) -> usize {
    let coming = pass.sleepers.get(size).map_or(0, |it| it.coming.len());
    coming + pass.woken.get(size).map_or(0, BTreeSet::len)
}

#[cfg(test)]
mod tests;
