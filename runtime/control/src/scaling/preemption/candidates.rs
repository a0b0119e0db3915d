//! The nodes that low-priority clusters can lose, the cheapest loss first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lote_model::id::{JobUid, NodeName};
use lote_model::state::Priority;

use crate::decide::Pass;
use crate::snapshot::{ClusterKey, ClusterState, NodeState};

/// What is lost with a node: nothing at best, then jobs of low priority, then young ones.
type Loss = (bool, Priority, Reverse<Timestamp>);

/// Nodes of one size that can be taken, in the order in which they are.
pub(super) struct Candidates<'a> {
    /// Of which cluster each is, and the jobs that would be lost.
    nodes: BTreeMap<&'a NodeName, (&'a ClusterKey, Vec<&'a JobUid>)>,
    order: Vec<&'a NodeName>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(pass: &Pass<'a>, size: &str) -> Self {
        let mut nodes = BTreeMap::new();
        let mut order = Vec::new();
        for (key, cluster) in pass.snapshot.clusters() {
            if !cluster.is_low_priority() || cluster.size != size {
                continue;
            }
            for (name, node) in takable(pass, key, cluster) {
                order.push((loss(pass, node), name));
                nodes.insert(name, (key, node.holds.keys().collect()));
            }
        }
        order.sort_unstable();
        Self {
            nodes,
            order: order.into_iter().map(|(_, name)| name).collect(),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.order.len()
    }

    /// So many of them that do, or none at all. Once a gang is lost, its other nodes cost no more
    /// and come next.
    pub(super) fn take(
        &mut self,
        pass: &Pass<'a>,
        count: usize,
        does: impl Fn(&NodeName) -> bool,
    ) -> Option<Vec<(&'a ClusterKey, &'a NodeName)>> {
        let mut found: Vec<(&ClusterKey, &NodeName)> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut lost: BTreeSet<&JobUid> = BTreeSet::new();
        let mut free: Vec<&NodeName> = Vec::new();
        let mut order = self.order.iter().copied();
        while found.len() < count {
            let name = free.pop().or_else(|| order.next())?;
            if !seen.insert(name) || !does(name) {
                continue;
            }
            let (key, jobs) = self.nodes.get(name)?;
            found.push((key, name));
            lost.extend(jobs);
            let gangs = jobs.iter().filter_map(|uid| pass.snapshot.gang(uid));
            let others = gangs.flat_map(|gang| gang.parts.keys());
            let others = others.filter_map(|name| self.nodes.get_key_value(name));
            let costs_no_more = others
                .filter(|(_, (_, jobs))| jobs.iter().all(|uid| lost.contains(uid)))
                .map(|(name, _)| *name);
            free.extend(costs_no_more);
        }
        for (_, name) in &found {
            self.nodes.remove(name);
        }
        self.order.retain(|name| self.nodes.contains_key(name));
        Some(found)
    }
}

/// The nodes that a cluster has and would keep.
fn takable<'a>(
    pass: &Pass<'a>,
    key: &ClusterKey,
    cluster: &'a ClusterState,
) -> Vec<(&'a NodeName, &'a NodeState)> {
    // What is stored about it just now may be about these nodes.
    let status = cluster.effective_status().filter(|_| !cluster.in_flight);
    let nodes = status
        .into_iter()
        .flat_map(|status| status.nodes.difference(&status.leaving));
    let kept = nodes.filter(|name| pass.withdrawal(key, name).is_none());
    let known = kept.filter_map(|name| Some((name, pass.node(name)?)));
    known.filter(|(_, node)| node.is_usable()).collect()
}

fn loss(pass: &Pass<'_>, node: &NodeState) -> Loss {
    let jobs = node.holds.keys().map(|uid| pass.snapshot.job(uid));
    let mut loss = (false, Priority::Low, Reverse(Timestamp::MAX));
    for job in jobs {
        let priority = job.map_or(Priority::Low, |job| {
            job.record.properties.scheduling_priority
        });
        let started = job.and_then(|job| job.status.as_ref()?.start_time);
        let started = Reverse(started.unwrap_or(pass.now));
        loss = (true, loss.1.max(priority), loss.2.max(started));
    }
    loss
}
