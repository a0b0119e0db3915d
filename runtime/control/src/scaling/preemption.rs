//! Nodes of low-priority clusters for dedicated ones.
//!
//! A dedicated cluster lacks nodes when it has fewer than it shall have in any case, or when a
//! whole gang of its waiting jobs could start with more. What the pool has goes to it first, then
//! what is on its way to the pool; only what is still missing is taken from low-priority
//! clusters. Pool nodes that a dedicated cluster waits with for the rest of a gang are claimed:
//! no low-priority cluster takes them meanwhile, so that no node goes back and forth.

mod candidates;
mod supply;

use std::collections::{BTreeSet, HashSet};

use lote_model::cluster::Withdrawal;
use lote_model::id::NodeName;

use self::supply::{Need, Supply};
use super::{missing, waits};
use crate::decide::Pass;
use crate::obstacle::surroundings;
use crate::placement;
use crate::pool::room;
use crate::reservation::Reservation;
use crate::room::{Amount, Request};
use crate::snapshot::{ClusterKey, ClusterState, Hindrance, LiveJob};

/// How many waiting jobs of a cluster are looked at; others wait behind these.
const WAITING_MAX: usize = 16;

/// A node that a dedicated cluster has or gets, and what waiting jobs leave of it.
struct Bin<'a> {
    name: &'a NodeName,
    left: Amount,
}

/// Decides which nodes low-priority clusters lose, and which nodes of the pool they leave alone.
pub(crate) fn withdraw(pass: &mut Pass<'_>) {
    let low = pass.snapshot.clusters().values();
    let low = low.filter(|cluster| cluster.is_low_priority());
    let sizes: BTreeSet<&str> = low.map(|cluster| cluster.size.as_str()).collect();
    for size in sizes {
        withdraw_of_size(pass, size);
    }
}

fn withdraw_of_size<'a>(pass: &mut Pass<'a>, size: &'a str) {
    let dedicated: Vec<(&'a ClusterKey, &'a ClusterState)> = pass
        .snapshot
        .clusters()
        .iter()
        .filter(|(_, cluster)| cluster.is_open() && !cluster.is_low_priority())
        .filter(|(_, cluster)| cluster.size == size)
        .collect();
    let lacks = |(key, cluster): &(&ClusterKey, &ClusterState)| {
        waits(pass, cluster) || missing(pass, key, cluster) > 0
    };
    if !dedicated.iter().any(lacks) {
        return;
    }
    let mut supply = Supply::new(pass, size);
    for (key, cluster) in &dedicated {
        let missing = missing(pass, key, cluster);
        if missing > 0 {
            // Best effort: some are better than none.
            let count = missing.min(supply.count(pass, key));
            supply.take(pass, &Need::any(key), count, true);
        }
    }
    for (key, cluster) in dedicated {
        supply_waiting(pass, key, cluster, &mut supply);
    }
    let Supply {
        claimed, withdrawn, ..
    } = supply;
    pass.claimed.extend(claimed);
    for (key, name) in withdrawn {
        pass.withdraw(key, name, Withdrawal::Preempted);
    }
}

/// How many nodes of a size are free, on their way to the pool, or being switched on.
pub(crate) fn count_supply(pass: &Pass<'_>, size: &str) -> usize {
    Supply::new(pass, size).count_all()
}

/// Finds nodes for the gangs that wait, in their order, as far as whole gangs go.
fn supply_waiting<'a>(
    pass: &mut Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    supply: &mut Supply<'a>,
) {
    if !cluster.is_automatic() {
        return;
    }
    let mut places = room(pass, key, cluster).saturating_sub(missing(pass, key, cluster));
    let mut bins = own_bins(pass, key, cluster);
    let mut refused: HashSet<Request> = HashSet::new();
    let waiting = cluster.queue.iter();
    let waiting = waiting.filter(|(queue_key, waiting)| pass.still_waits(queue_key, waiting));
    let waiting: Vec<_> = waiting.take(WAITING_MAX).collect();
    for (queue_key, waiting) in waiting {
        let Some(job) = pass.snapshot.job(&queue_key.uid) else {
            continue;
        };
        if refused.contains(&job.request) {
            continue;
        }
        let may_withdraw = waiting.hindrance == Hindrance::None;
        let need = Need::of_job(key, job);
        let own = usable_bins(pass, &bins, &need, job);
        let more = (job.request.node_count as usize).saturating_sub(own.len());
        if let Err(error) = surroundings(pass.snapshot, job) {
            // Nobody loses nodes for it; it ends where it would have got them.
            if may_withdraw && more <= places && more <= supply.count(pass, key) {
                placement::fail(pass, job, error);
            }
            continue;
        }
        let found = if more <= places {
            supply.take(pass, &need, more, may_withdraw)
        } else {
            None
        };
        let Some(found) = found else {
            // One that has a promise goes before all others, even if it waits for running jobs.
            if has_promise(pass, key, cluster, job) {
                return;
            }
            refused.insert(job.request);
            continue;
        };
        places -= found.len();
        for index in own {
            fill_bin(pass, &mut bins, index, &job.request);
        }
        for name in found {
            bins.extend(whole_bin(pass, name));
            let last = bins.len().saturating_sub(1);
            fill_bin(pass, &mut bins, last, &job.request);
        }
    }
}

/// Whether running jobs that end make room for the job.
fn has_promise<'a>(
    pass: &mut Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    job: &'a LiveJob,
) -> bool {
    let mut made = pass.reservations.iter();
    made.any(|reservation| *reservation.uid == job.record.uid)
        || Reservation::new(pass, key, cluster, job).is_some()
}

/// The empty nodes that a cluster has already.
fn own_bins<'a>(pass: &Pass<'a>, key: &ClusterKey, cluster: &'a ClusterState) -> Vec<Bin<'a>> {
    let taken = pass.taken.get(key).into_iter().flatten().copied();
    let own = cluster.idle.iter().chain(taken);
    let free = own.filter(|name| !pass.placed.contains_key(name));
    free.filter_map(|name| whole_bin(pass, name)).collect()
}

fn whole_bin<'a>(pass: &Pass<'a>, name: &'a NodeName) -> Option<Bin<'a>> {
    let record = pass.node(name)?.record.as_deref()?;
    Some(Bin {
        name,
        left: Amount::whole(record),
    })
}

/// The bins with room for a node's part of the job, at most as many as it needs.
fn usable_bins(pass: &Pass<'_>, bins: &[Bin<'_>], need: &Need<'_>, job: &LiveJob) -> Vec<usize> {
    let fits = |bin: &Bin<'_>| {
        let record = pass.node(bin.name).and_then(|node| node.record.as_deref());
        need.suits(pass, bin.name)
            && record.is_some_and(|record| job.request.amount_on(record).is_within(&bin.left))
    };
    let indices = bins.iter().enumerate().filter(|(_, bin)| fits(bin));
    let indices = indices.map(|(index, _)| index);
    indices.take(job.request.node_count as usize).collect()
}

fn fill_bin(pass: &Pass<'_>, bins: &mut [Bin<'_>], index: usize, request: &Request) {
    let Some(bin) = bins.get_mut(index) else {
        return;
    };
    let record = pass.node(bin.name).and_then(|node| node.record.as_deref());
    if let Some(record) = record {
        bin.left = bin.left.minus(&request.amount_on(record));
    }
}

#[cfg(test)]
mod tests;
