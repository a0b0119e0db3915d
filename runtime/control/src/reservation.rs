//! A promise to the first job that does not fit: when it can start at the latest, and where.
//!
//! Running jobs end by their own limit at the latest, so the time at which enough nodes are free
//! for the waiting job is known. A job behind it may start where it ends before that time, or
//! where it takes what the waiting job leaves over (backfilling as EASY does it).
//!
//! In each cluster the first job that does not fit is promised nodes. Where the cluster scales
//! automatically these may also be nodes of the pool, and those that other automatic clusters of
//! the size can give back; jobs of all these clusters respect the promise, and a cluster gives a
//! node that is promised elsewhere back at once. No node is promised to two.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use jiff::Timestamp;
use lote_model::id::{JobUid, NodeName};

use crate::decide::Pass;
use crate::pool;
use crate::room::{Amount, Hold, Request};
use crate::snapshot::{ClusterKey, ClusterState, LiveJob, NodeState};

/// The time and the nodes that are promised to a waiting job.
#[derive(Clone, Debug)]
pub(crate) struct Reservation<'a> {
    /// Whose it is.
    pub(crate) uid: &'a JobUid,
    /// The cluster of the job.
    pub(crate) cluster: &'a ClusterKey,
    /// When it can start at the latest.
    pub(crate) at: Timestamp,
    /// Its nodes, and what is left on each besides it from then on.
    pub(crate) slack: HashMap<&'a NodeName, Amount>,
}

/// When a node can be free for a job.
type FreeAt<'a> = (Timestamp, &'a NodeName);

/// A node that clusters of one size can take from the pool, or from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Loose<'a> {
    /// When nothing is held of it any more.
    at: Timestamp,
    name: &'a NodeName,
    /// The automatic cluster that has it.
    owner: Option<&'a ClusterKey>,
}

impl<'a> Reservation<'a> {
    /// The earliest one; none if there are too few nodes, so that the job waits for more than the
    /// end of others.
    pub(crate) fn new(
        pass: &mut Pass<'a>,
        key: &'a ClusterKey,
        cluster: &'a ClusterState,
        job: &'a LiveJob,
    ) -> Option<Self> {
        let request = &job.request;
        let avoided = job.unsuitable.as_ref().map(|unsuitable| &unsuitable.nodes);
        let count = request.node_count as usize;
        let mut own = own_nodes(pass, key, cluster, request, avoided);
        own.sort_unstable();
        own.truncate(count);
        let room = if cluster.is_automatic() {
            pool::room(pass, key, cluster).min(count)
        } else {
            0
        };
        let foreign = if room > 0 {
            foreign_nodes(pass, key, cluster, request, avoided, room)
        } else {
            Vec::new()
        };
        let mut free_at: Vec<(Timestamp, bool, &NodeName)> = own
            .into_iter()
            .map(|(at, name)| (at, false, name))
            .chain(foreign.into_iter().map(|(at, name)| (at, true, name)))
            .collect();
        if free_at.len() < count {
            return None;
        }
        free_at.sort_unstable();
        free_at.truncate(count);
        let at = free_at.last()?.0;
        let slack = free_at.into_iter().filter_map(|(_, is_foreign, name)| {
            let slack = if is_foreign {
                // It comes to the cluster for this job.
                Amount::default()
            } else {
                slack(pass, name, pass.node(name)?, request, at)?
            };
            Some((name, slack))
        });
        let slack = slack.collect();
        let uid = &job.record.uid;
        Some(Self {
            uid,
            cluster: key,
            at,
            slack,
        })
    }

    /// Notes that a job may take so much of a node until then, and tells what that leaves beside
    /// the reservation.
    pub(crate) fn take(
        &mut self,
        node: &NodeName,
        amount: &Amount,
        ends_by: Timestamp,
    ) -> Option<Amount> {
        let slack = self.slack.get_mut(node)?;
        if ends_by > self.at {
            *slack = slack.minus(amount);
        }
        Some(*slack)
    }
}

/// The nodes of the cluster that are promised to nobody.
fn own_nodes<'a>(
    pass: &Pass<'a>,
    key: &ClusterKey,
    cluster: &'a ClusterState,
    request: &Request,
    avoided: Option<&BTreeSet<NodeName>>,
) -> Vec<FreeAt<'a>> {
    let members = cluster
        .effective_status()
        .into_iter()
        .flat_map(|status| status.nodes.difference(&status.leaving));
    let taken = pass.taken.get(key).into_iter().flatten().copied();
    let names = members.chain(taken).filter(|name| {
        pass.promised_to(name).is_none()
            && !pass.is_withdrawn(name)
            && avoided.is_none_or(|avoided| !avoided.contains(*name))
    });
    names
        .filter_map(|name| {
            let node = pass.node(name).filter(|node| node.is_usable())?;
            Some((free_at(pass, name, node, request)?, name))
        })
        .collect()
}

/// So many nodes of the pool, and of automatic clusters that can give them back, or fewer.
fn foreign_nodes<'a>(
    pass: &mut Pass<'a>,
    key: &ClusterKey,
    cluster: &'a ClusterState,
    request: &Request,
    avoided: Option<&BTreeSet<NodeName>>,
    count: usize,
) -> Vec<FreeAt<'a>> {
    let loose = loose_nodes(pass, &cluster.size);
    let ports = pass.snapshot.config().ports_per_allocation;
    let mut spare: HashMap<&ClusterKey, usize> = HashMap::new();
    let mut may_take = |pass: &Pass<'a>, owner: Option<&'a ClusterKey>| {
        let Some(owner) = owner else { return true };
        let left = spare.entry(owner).or_insert_with(|| {
            let cluster = pass.cluster(owner);
            cluster.map_or(0, |cluster| pool::spare(pass, owner, cluster))
        });
        let is_left = *left > 0 && owner != key;
        *left -= usize::from(is_left);
        is_left
    };
    let mut chosen = Vec::with_capacity(count);
    let mut changed = Vec::new();
    for loose in loose.iter() {
        if chosen.len() == count {
            break;
        }
        let name = loose.name;
        let record = pass.node(name).and_then(|node| node.record.as_deref());
        let is_possible = record.is_some_and(|record| request.is_possible_on(record, ports))
            && avoided.is_none_or(|avoided| !avoided.contains(name))
            && pass.promised_to(name).is_none()
            && !pass.is_withdrawn(name);
        if !is_possible {
            continue;
        }
        if pass.placed.contains_key(name) || pass.taken_by.contains_key(name) {
            // Free when the list was made, and given since.
            changed.extend(loose_node(pass, name, loose.owner));
        } else if may_take(pass, loose.owner) {
            chosen.push((loose.at, name));
        }
    }
    changed.sort_unstable();
    for loose in changed {
        if may_take(pass, loose.owner) {
            chosen.push((loose.at, loose.name));
        }
    }
    chosen.sort_unstable();
    chosen.truncate(count);
    chosen
}

/// All nodes that clusters of a size can take from the pool, or from each other, by the time at
/// which they are free. The list is made once in a pass.
fn loose_nodes<'a>(pass: &mut Pass<'a>, size: &'a str) -> Rc<Vec<Loose<'a>>> {
    if let Some(known) = pass.loose.get(size) {
        return Rc::clone(known);
    }
    let snapshot = pass.snapshot;
    let pool = snapshot.free_in_pool(size);
    let pool = pool.into_iter().flat_map(crate::free::FreeNodes::iter);
    let clusters = snapshot.clusters().iter();
    let clusters = clusters.filter(|(_, cluster)| cluster.size == size && cluster.is_automatic());
    let owned = clusters.flat_map(|(key, cluster)| {
        let status = cluster.effective_status().into_iter();
        let names = status.flat_map(|status| status.nodes.difference(&status.leaving));
        names.map(move |name| (name, Some(key)))
    });
    let all = pool.map(|name| (name, None)).chain(owned);
    let mut loose: Vec<Loose<'a>> = all
        .filter_map(|(name, owner)| loose_node(pass, name, owner))
        .collect();
    loose.sort_unstable();
    let loose = Rc::new(loose);
    pass.loose.insert(size, Rc::clone(&loose));
    loose
}

/// When a node is free that such a cluster has, or the pool had; none if it is none of theirs.
fn loose_node<'a>(
    pass: &Pass<'a>,
    name: &'a NodeName,
    owner: Option<&'a ClusterKey>,
) -> Option<Loose<'a>> {
    let owner = pass.taken_by.get(name).copied().or(owner);
    let is_automatic =
        |owner: &ClusterKey| pass.cluster(owner).is_some_and(ClusterState::is_automatic);
    let node = pass
        .node(name)
        .filter(|node| node.is_usable() && !pass.is_withdrawn(name))?;
    let placed = pass.placed.get(name).into_iter().flatten();
    let held_until = placed.map(|hold| hold.ends_by).chain(node.held_until());
    // A job past its limit is being stopped.
    let at = held_until.fold(pass.now, Timestamp::max);
    owner
        .is_none_or(is_automatic)
        .then_some(Loose { at, name, owner })
}

/// When the node can hold the request at the latest; none if never.
fn free_at(
    pass: &Pass<'_>,
    name: &NodeName,
    node: &NodeState,
    request: &Request,
) -> Option<Timestamp> {
    let record = node.record.as_deref()?;
    if !request.is_possible_on(record, pass.snapshot.config().ports_per_allocation) {
        return None;
    }
    let holds = pass.holds_on(name, node);
    if request.share.is_none() {
        // A job past its limit is being stopped.
        return Some(
            holds
                .map(|hold| hold.ends_by)
                .fold(pass.now, Timestamp::max),
        );
    }
    let mut holds: Vec<&Hold> = holds.collect();
    holds.sort_unstable_by_key(|hold| hold.ends_by);
    let room = Amount::whole(record).minus(&request.amount_on(record));
    let mut held = pass.held_on(name, node);
    let mut exclusive = holds.iter().filter(|hold| hold.grant.exclusive).count();
    let mut at = pass.now;
    for hold in holds {
        if exclusive == 0 && held.is_within(&room) {
            break;
        }
        at = at.max(hold.ends_by);
        held = held.minus(&Amount::granted(&hold.grant));
        exclusive -= usize::from(hold.grant.exclusive);
    }
    Some(at)
}

/// What the node has besides the request from that time on.
fn slack(
    pass: &Pass<'_>,
    name: &NodeName,
    node: &NodeState,
    request: &Request,
    at: Timestamp,
) -> Option<Amount> {
    let record = node.record.as_deref()?;
    let staying = pass.holds_on(name, node).filter(|hold| hold.ends_by > at);
    let held = staying.fold(request.amount_on(record), |sum, hold| {
        sum.plus(&Amount::granted(&hold.grant))
    });
    Some(Amount::whole(record).minus(&held))
}
