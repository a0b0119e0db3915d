//! A promise to the first job that does not fit: when it can start at the latest, and where.
//!
//! Running jobs end by their own limit at the latest, so the time at which enough nodes are free
//! for the waiting job is known. A job behind it may start where it ends before that time, or
//! where it takes what the waiting job leaves over (backfilling as EASY does it).
//!
//! In each cluster the first job that does not fit is promised nodes. Where the cluster scales
//! automatically these may also be nodes of the pool, and those that other automatic clusters of
//! the size can give back, and machines that are off; jobs of all these clusters respect the promise, and a cluster gives a
//! node that is promised elsewhere back at once. No node is promised to two.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::rc::Rc;

use jiff::Timestamp;
use lote_model::id::{JobUid, NodeName};

use crate::decide::Pass;
use crate::pool;
use crate::room::{Amount, Hold, Request};
use crate::snapshot::{ClusterKey, ClusterState, LiveJob, NodeState};
use crate::time::after;

/// The time and the nodes that are promised to a waiting job.
#[derive(Clone, Debug)]
pub(crate) struct Reservation<'a> {
    /// Whose it is.
    pub(crate) uid: &'a JobUid,
    /// The cluster of the job.
    pub(crate) cluster: &'a ClusterKey,
    /// When it can start at the latest.
    pub(crate) at: Timestamp,
    /// How many of its nodes the cluster must take from elsewhere; so much room is kept.
    pub(crate) foreign: usize,
    /// Its nodes, and what is left on each besides it from then on.
    pub(crate) slack: HashMap<&'a NodeName, Amount>,
}

/// When a node can be free for a job.
type FreeAt<'a> = (Timestamp, &'a NodeName);

/// The automatic clusters of a size, which can take nodes from the pool and from each other.
#[derive(Debug)]
pub(crate) struct Rivals<'a> {
    clusters: Vec<(&'a ClusterKey, &'a ClusterState)>,
    /// No fewer than all nodes that they and the pool have for jobs.
    nodes_max: usize,
}

impl Rivals<'_> {
    /// How many of their nodes and of the pool's are promised to jobs.
    fn promised(&self, pass: &Pass<'_>) -> usize {
        let reservations = pass.reservations.iter();
        let of_rivals = reservations.filter(|reservation| {
            let mut clusters = self.clusters.iter();
            clusters.any(|(key, _)| *key == reservation.cluster)
        });
        of_rivals.map(|reservation| reservation.slack.len()).sum()
    }
}

/// What a job may be promised.
struct Wish<'w> {
    request: &'w Request,
    avoided: Option<&'w BTreeSet<NodeName>>,
}

impl Wish<'_> {
    fn count(&self) -> usize {
        self.request.node_count as usize
    }

    /// Whether a node could hold its part, and is promised to nobody else.
    fn admits(&self, pass: &Pass<'_>, name: &NodeName) -> bool {
        let ports = pass.snapshot.config().ports_per_allocation;
        let record = || pass.node(name).and_then(|node| node.record.as_deref());
        pass.promised_to(name).is_none()
            && !pass.is_withdrawn(name)
            && self.avoided.is_none_or(|avoided| !avoided.contains(name))
            && record().is_some_and(|record| self.request.is_possible_on(record, ports))
    }
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
        let wish = Wish { request, avoided };
        let count = wish.count();
        let mut free_at: Vec<(Timestamp, bool, &NodeName)> = own_nodes(pass, key, cluster, &wish)
            .into_iter()
            .map(|(at, name)| (at, false, name))
            .collect();
        if cluster.is_automatic() {
            let room = pool::room(pass, key, cluster).min(count);
            let rivals = rivals(pass, &cluster.size);
            let unpromised = rivals.nodes_max.saturating_sub(rivals.promised(pass));
            if free_at.len() + room.min(unpromised) < count {
                return None;
            }
            let foreign = foreign_nodes(pass, key, cluster, &wish, room, &rivals);
            free_at.extend(foreign.into_iter().map(|(at, name)| (at, true, name)));
        }
        if free_at.len() < count {
            return None;
        }
        free_at.sort_unstable();
        free_at.truncate(count);
        let at = free_at.last()?.0;
        let foreign = free_at.iter().filter(|(_, is_foreign, _)| *is_foreign);
        let foreign = foreign.count();
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
            foreign,
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

/// The earliest nodes of the cluster for each part of a job.
fn own_nodes<'a>(
    pass: &mut Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    wish: &Wish<'_>,
) -> Vec<FreeAt<'a>> {
    let mut own: Vec<FreeAt<'a>> = if wish.request.share.is_none() {
        let placed = placed_nodes(pass, key);
        let empty = empty_nodes(pass, key, cluster);
        let empty = empty.filter(|(_, name)| wish.admits(pass, name));
        let earliest = empty.take(wish.count());
        let placed = placed.filter(|(_, name)| wish.admits(pass, name));
        earliest.chain(placed).collect()
    } else {
        let members = cluster
            .effective_status()
            .into_iter()
            .flat_map(|status| status.nodes.difference(&status.leaving));
        let taken = pass.taken.get(key).into_iter().flatten().copied();
        let names = members.chain(taken);
        let free_at = |name| {
            let node = pass.node(name).filter(|node| node.is_usable())?;
            let is_admitted = wish.admits(pass, name);
            let at = is_admitted.then(|| free_at(pass, name, node, wish.request));
            Some((at??, name))
        };
        names.filter_map(free_at).collect()
    };
    own.sort_unstable();
    own.truncate(wish.count());
    own
}

/// Nodes of a cluster by the time at which nothing is held of them any more, the earliest first,
/// without those of which this pass gave something.
fn empty_nodes<'a, 'p>(
    pass: &'p Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
) -> impl Iterator<Item = FreeAt<'a>> + use<'a, 'p> {
    let now = pass.now;
    let taken = pass.taken.get(key).into_iter().flatten().copied();
    let idle = cluster
        .idle
        .iter()
        .chain(taken)
        .map(move |name| (now, name));
    // A job past its limit is being stopped.
    let ends = cluster
        .ends
        .iter()
        .map(move |(at, name)| ((*at).max(now), name));
    idle.chain(ends)
        .filter(|(_, name)| !pass.placed.contains_key(name))
}

/// Nodes of which this pass gave something to jobs of the cluster, in no order.
fn placed_nodes<'a, 'p>(
    pass: &'p Pass<'a>,
    key: &ClusterKey,
) -> impl Iterator<Item = FreeAt<'a>> + use<'a, 'p> {
    let names = pass.placed_in.get(key).into_iter().flatten().copied();
    names.map(|name| {
        let placed = pass.placed.get(name).into_iter().flatten();
        let held_until = pass.node(name).and_then(NodeState::held_until);
        let held_until = placed.map(|hold| hold.ends_by).chain(held_until);
        (held_until.fold(pass.now, Timestamp::max), name)
    })
}

/// So many nodes of the pool, of automatic clusters that can give them back, and of those that are
/// off, the earliest; or fewer.
fn foreign_nodes<'a>(
    pass: &mut Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    wish: &Wish<'_>,
    count: usize,
    rivals: &Rivals<'a>,
) -> Vec<FreeAt<'a>> {
    let pool = pass.stock.of_pool(&cluster.size);
    let pass = &*pass;
    let known = |name: &NodeName| Some(pass.snapshot.nodes().get_key_value(name)?.0);
    let admitted = |free: &FreeAt<'a>| wish.admits(pass, free.1);
    let in_pool = pass.stock.open(pool).iter().filter_map(known);
    let in_pool = in_pool.map(|name| (pass.now, name)).filter(admitted);
    let mut chosen: Vec<FreeAt<'a>> = in_pool.take(count).collect();
    // All that others have, the earliest first.
    let others = rivals.clusters.iter().filter(|(other, _)| *other != key);
    let mut sources = Vec::new();
    let mut next = BinaryHeap::new();
    for (other, cluster) in others {
        let spare = pool::spare(pass, other, cluster);
        let mut placed: Vec<_> = placed_nodes(pass, other).collect();
        placed.sort_unstable();
        let both = [
            Box::new(empty_nodes(pass, other, cluster)) as Box<dyn Iterator<Item = FreeAt<'a>>>,
            Box::new(placed.into_iter()),
        ];
        for mut nodes in both {
            if let Some(first) = nodes.next().filter(|_| spare > 0) {
                next.push(Reverse((first, sources.len())));
                sources.push((*other, nodes));
            }
        }
    }
    let mut given: HashMap<&ClusterKey, usize> = HashMap::new();
    while chosen.len() < count
        && let Some(Reverse((free, source))) = next.pop()
    {
        let (owner, nodes) = &mut sources[source];
        if wish.admits(pass, free.1) {
            chosen.push(free);
            *given.entry(owner).or_default() += 1;
        }
        let given = given.get(owner).copied().unwrap_or_default();
        let cluster = pass.cluster(owner);
        let spare = cluster.map_or(0, |cluster| pool::spare(pass, owner, cluster));
        if let Some(following) = nodes.next().filter(|_| given < spare) {
            next.push(Reverse((following, source)));
        }
    }
    let sleepers = sleepers(pass, &cluster.size).filter(admitted);
    chosen.extend(sleepers.take(count));
    chosen.sort_unstable();
    chosen.truncate(count);
    chosen
}

/// Machines that are off, by the time at which they can have come back, the earliest first.
fn sleepers<'a, 'p>(
    pass: &'p Pass<'a>,
    size: &str,
) -> impl Iterator<Item = FreeAt<'a>> + use<'a, 'p> {
    let policy = pass.snapshot.config().power.as_ref();
    let by = policy.map_or(pass.now, |policy| after(pass.now, policy.on_within));
    let sleepers = pass.sleepers.get(size).into_iter();
    sleepers.flat_map(move |it| {
        let mut coming = it.coming.clone();
        coming.sort_unstable();
        coming
            .into_iter()
            .chain(it.able.iter().map(move |name| (by, *name)))
    })
}

/// The automatic clusters of a size. They are looked up once in a pass.
fn rivals<'a>(pass: &mut Pass<'a>, size: &'a str) -> Rc<Rivals<'a>> {
    if let Some(known) = pass.rivals.get(size) {
        return Rc::clone(known);
    }
    let clusters = pass.snapshot.clusters().iter();
    let clusters: Vec<_> = clusters
        .filter(|(_, cluster)| cluster.size == size && cluster.is_automatic())
        .collect();
    let in_pool = pass.snapshot.free_in_pool(size);
    let in_pool = in_pool.map_or(0, |free| free.iter().count());
    let owned = clusters.iter();
    let owned = owned.map(|(_, cluster)| cluster.idle.len() + cluster.ends.len());
    let sleepers = pass.sleepers.get(size);
    let sleepers = sleepers.map_or(0, |it| it.able.len() + it.coming.len());
    let rivals = Rc::new(Rivals {
        nodes_max: in_pool + sleepers + owned.sum::<usize>(),
        clusters,
    });
    pass.rivals.insert(size, Rc::clone(&rivals));
    rivals
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
