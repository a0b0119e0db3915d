//! How many machines clusters lack, and which of those that are off are to make that good.

use std::collections::BTreeSet;

use lote_model::cluster::VmPriority;
use lote_model::id::NodeName;

use crate::decide::Pass;
use crate::pool;
use crate::room::{Amount, Request};
use crate::scaling::{self, preemption};
use crate::snapshot::{Class, ClusterKey, ClusterState, QueueKey};

/// Decides which machines are switched on: with as many as are off, for whole gangs that could
/// start then, and for promises that are due by the time they are there. First for dedicated
/// clusters alone, so that those of low priority lose nodes only where that does not help.
pub(crate) fn wake(pass: &mut Pass<'_>, priority: VmPriority) {
    let sizes: Vec<String> = pass.sleepers.keys().cloned().collect();
    for size in sizes {
        wake_due(pass, &size);
        let mut supply = Supply::new(pass, &size);
        for (key, cluster) in clusters(pass, &size, priority) {
            supply.serve(pass, key, cluster);
        }
        let chosen = supply.chosen;
        pass.woken.entry(size).or_default().extend(chosen);
    }
}

/// How many nodes of the pool clusters of a size wait with, for gangs that could start with them
/// and those that are off.
pub(super) fn count(pass: &Pass<'_>, size: &str) -> usize {
    let mut supply = Supply::new(pass, size);
    let before = supply.at_hand;
    for (key, cluster) in clusters(pass, size, VmPriority::LowPriority) {
        supply.serve(pass, key, cluster);
    }
    before - supply.at_hand
}

/// The clusters of a size, dedicated ones first; those alone, or those of low priority as well.
fn clusters<'a>(
    pass: &Pass<'a>,
    size: &str,
    down_to: VmPriority,
) -> Vec<(&'a ClusterKey, &'a ClusterState)> {
    let clusters = pass.snapshot.clusters().iter();
    let of_size = clusters.filter(|(_, cluster)| cluster.is_open() && cluster.size == size);
    let mut found: Vec<_> = of_size
        .filter(|(_, cluster)| down_to == VmPriority::LowPriority || !cluster.is_low_priority())
        .collect();
    found.sort_by_key(|(_, cluster)| cluster.is_low_priority());
    found
}

/// Machines that a promise names are switched on in time for it, and those that have file servers
/// at once.
fn wake_due(pass: &mut Pass<'_>, size: &str) {
    let Some(policy) = &pass.snapshot.config().power else {
        return;
    };
    let in_time = crate::time::after(pass.now, policy.on_within);
    let able = pass.sleepers.get(size).map_or(&[][..], |it| &it.able);
    let is_due = |name: &&NodeName| {
        let promise = pass.promised.get(*name).copied();
        let promise = promise.and_then(|id| pass.reservations.get(id));
        promise.is_some_and(|promise| promise.at <= in_time) || pass.serving.contains_key(*name)
    };
    let due: Vec<_> = able.iter().copied().filter(is_due).collect();
    pass.woken.entry(size.to_owned()).or_default().extend(due);
}

/// What the clusters of a size can get without taking it from anybody.
struct Supply<'a> {
    /// How many nodes are there or on their way.
    at_hand: usize,
    /// Machines that can be woken.
    able: Vec<&'a NodeName>,
    chosen: BTreeSet<&'a NodeName>,
}

impl<'a> Supply<'a> {
    fn new(pass: &Pass<'a>, size: &str) -> Self {
        let woken = pass.woken.get(size);
        let is_left = |name: &&'a NodeName| woken.is_none_or(|woken| !woken.contains(name));
        let able = pass.sleepers.get(size).map_or(&[][..], |it| &it.able);
        let (promised, others): (Vec<_>, Vec<_>) = able
            .iter()
            .copied()
            .filter(is_left)
            .partition(|name| pass.promised.contains_key(*name));
        Self {
            at_hand: preemption::count_supply(pass, size),
            // What is promised to somebody is of less use to others.
            able: others.into_iter().chain(promised).collect(),
            chosen: BTreeSet::new(),
        }
    }

    fn serve(&mut self, pass: &Pass<'a>, key: &'a ClusterKey, cluster: &'a ClusterState) {
        let missing = scaling::missing(pass, key, cluster);
        self.take(missing, |_| true);
        if !cluster.is_automatic() {
            return;
        }
        let mut room = pool::room(pass, key, cluster).saturating_sub(missing);
        let mut own = scaling::count_idle(pass, key, cluster);
        let mut classes: Vec<_> = cluster.classes.iter().collect();
        classes.sort_unstable_by_key(|(_, keys)| keys.keys().next());
        for (class, keys) in classes {
            if room == 0 || self.at_hand + self.able.len() == 0 {
                return;
            }
            let suits = |name: &NodeName| suits(pass, class, name);
            let able = self.able.iter().filter(|name| suits(name)).count();
            let most = own + room.min(self.at_hand + able);
            let waiting = keys.keys().filter(|key| !pass.started.contains(&key.uid));
            let count = nodes_for(pass, class, waiting, most);
            let from_own = own.min(count);
            own -= from_own;
            room -= count - from_own;
            self.take(count - from_own, suits);
        }
    }

    /// So many nodes, or as many as there are.
    fn take(&mut self, count: usize, suits: impl Fn(&NodeName) -> bool) {
        let at_hand = self.at_hand.min(count);
        self.at_hand -= at_hand;
        let rest = self.able.iter().copied().filter(|name| suits(name));
        let rest: BTreeSet<_> = rest.take(count - at_hand).collect();
        self.able.retain(|name| !rest.contains(name));
        self.chosen.extend(rest);
    }
}

/// How many nodes the waiting jobs of a class fill, at most so many, whole gangs only.
fn nodes_for<'k>(
    pass: &Pass<'_>,
    class: &Class,
    waiting: impl Iterator<Item = &'k QueueKey>,
    most: usize,
) -> usize {
    let gang = class.request.node_count as usize;
    if gang > most {
        return 0;
    }
    let parts_per_node = parts_per_node(pass, &class.request).max(1);
    let jobs = waiting.take(most * parts_per_node / gang).count();
    if jobs == 0 {
        return 0;
    }
    // No two parts of a gang are on one node.
    (jobs * gang).div_ceil(parts_per_node).max(gang)
}

/// How many parts of jobs a node holds, as the smallest of those that hold one.
fn parts_per_node(pass: &Pass<'_>, request: &Request) -> usize {
    let Some(share) = &request.share else {
        return 1;
    };
    let ports = pass.snapshot.config().ports_per_allocation;
    let amount = share.amount();
    let switched = pass.snapshot.switched();
    let records = switched.filter_map(|(_, node)| node.record.as_deref());
    let able = records.filter(|record| request.is_possible_on(record, ports));
    able.map(|record| times_within(&amount, &Amount::whole(record)))
        .min()
        .unwrap_or(1)
}

/// How often an amount goes into another.
fn times_within(part: &Amount, whole: &Amount) -> usize {
    let times = |part: u64, whole: u64| whole.checked_div(part).unwrap_or(u64::MAX);
    let times = times(part.gpus.into(), whole.gpus.into())
        .min(times(part.cpu_millis.into(), whole.cpu_millis.into()))
        .min(times(part.memory_bytes, whole.memory_bytes));
    usize::try_from(times).unwrap_or(usize::MAX)
}

/// Whether a machine that is off could hold its part of such a job.
fn suits(pass: &Pass<'_>, class: &Class, name: &NodeName) -> bool {
    let is_avoided = |uid| {
        let job = pass.snapshot.job(uid);
        let unsuitable = job.and_then(|job| job.unsuitable.as_ref());
        unsuitable.is_some_and(|unsuitable| unsuitable.nodes.contains(name))
    };
    let ports = pass.snapshot.config().ports_per_allocation;
    let record = pass.node(name).and_then(|node| node.record.as_deref());
    record.is_some_and(|record| class.request.is_possible_on(record, ports))
        && !class.picky.as_ref().is_some_and(is_avoided)
}
