//! A promise to the first job that does not fit: when it can start at the latest, and where.
//!
//! Running jobs end by their own limit at the latest, so the time at which enough nodes are free
//! for the waiting job is known. A job behind it may start where it ends before that time, or
//! where it takes what the waiting job leaves over (backfilling as EASY does it).

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use lote_model::id::NodeName;

use crate::decide::Pass;
use crate::room::{Amount, Hold, Request};
use crate::scaling;
use crate::snapshot::{ClusterKey, ClusterState, NodeState};

/// The time and the nodes that are promised to a waiting job.
#[derive(Clone, Debug)]
pub(crate) struct Reservation<'a> {
    /// When it can start at the latest.
    pub(crate) at: Timestamp,
    /// Its nodes, and what is left on each besides it from then on.
    slack: HashMap<&'a NodeName, Amount>,
}

impl<'a> Reservation<'a> {
    /// The earliest one; none if the cluster has too few nodes, so that the job waits for more
    /// than the end of others.
    pub(crate) fn new(
        pass: &Pass<'a>,
        key: &ClusterKey,
        cluster: &'a ClusterState,
        request: &Request,
        avoided: Option<&BTreeSet<NodeName>>,
    ) -> Option<Self> {
        let from_pool = scaling::free_in_pool(pass, key, cluster);
        let members = cluster
            .effective_status()
            .into_iter()
            .flat_map(|status| status.nodes.difference(&status.leaving));
        let taken = pass.taken.get(key).into_iter().flatten().copied();
        let names = members
            .chain(taken)
            .chain(scaling::pool(pass, cluster).take(from_pool));
        let names = names.filter(|name| !avoided.is_some_and(|avoided| avoided.contains(*name)));
        let usable =
            names.filter_map(|name| Some((name, pass.node(name).filter(|node| node.is_usable())?)));
        let mut free_at: Vec<(Timestamp, &NodeName, &NodeState)> = usable
            .filter_map(|(name, node)| Some((free_at(pass, name, node, request)?, name, node)))
            .collect();
        let count = request.node_count as usize;
        if free_at.len() < count {
            return None;
        }
        free_at.sort_unstable_by_key(|(at, name, _)| (*at, *name));
        free_at.truncate(count);
        let at = free_at.last()?.0;
        let slack = free_at
            .into_iter()
            .filter_map(|(_, name, node)| Some((name, slack(pass, name, node, request, at)?)));
        Some(Self {
            at,
            slack: slack.collect(),
        })
    }

    /// Whether a job may take so much of this node until then.
    pub(crate) fn allows(&self, node: &NodeName, amount: &Amount, ends_by: Timestamp) -> bool {
        ends_by <= self.at
            || self
                .slack
                .get(node)
                .is_none_or(|slack| amount.is_within(slack))
    }

    /// Notes that a job was allowed to.
    pub(crate) fn take(&mut self, node: &NodeName, amount: &Amount, ends_by: Timestamp) {
        if let Some(slack) = self.slack.get_mut(node).filter(|_| ends_by > self.at) {
            *slack = slack.minus(amount);
        }
    }

    /// Whether the node is one of those promised.
    pub(crate) fn has(&self, node: &NodeName) -> bool {
        self.slack.contains_key(node)
    }
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
    let mut holds: Vec<&Hold> = pass.holds_on(name, node).collect();
    holds.sort_unstable_by_key(|hold| hold.ends_by);
    let room = Amount::whole(record).minus(&request.amount_on(record));
    let mut held = pass.held_on(name, node);
    let mut exclusive = holds.iter().filter(|hold| hold.grant.exclusive).count();
    let mut at = pass.now;
    for hold in holds {
        if exclusive == 0 && request.share.is_some() && held.is_within(&room) {
            break;
        }
        // A job past its limit is being stopped.
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
