//! Where nodes for dedicated clusters can come from, the cheapest first.

use std::collections::BTreeSet;

use lote_model::cluster::NodeDeallocationOption;
use lote_model::id::NodeName;

use super::candidates::Candidates;
use crate::decide::Pass;
use crate::room::Request;
use crate::scaling::{surplus_over_wanted, waits};
use crate::snapshot::{ClusterKey, ClusterState, LiveJob, NodeFate, NodeState};

/// What a dedicated cluster needs nodes for.
pub(super) struct Need<'n> {
    key: &'n ClusterKey,
    job: Option<&'n LiveJob>,
}

impl<'n> Need<'n> {
    /// For whatever comes.
    pub(super) fn any(key: &'n ClusterKey) -> Self {
        Self { key, job: None }
    }

    /// For a waiting job.
    pub(super) fn of_job(key: &'n ClusterKey, job: &'n LiveJob) -> Self {
        Self {
            key,
            job: Some(job),
        }
    }

    /// Whether a node of the right size does, once it is empty.
    pub(super) fn suits(&self, pass: &Pass<'_>, name: &NodeName) -> bool {
        let Some(job) = self.job else {
            return true;
        };
        let is_avoided = job
            .unsuitable
            .as_ref()
            .is_some_and(|unsuitable| unsuitable.nodes.contains(name));
        let record = pass.node(name).and_then(|node| node.record.as_deref());
        let ports = pass.snapshot.config().ports_per_allocation;
        let can_hold =
            |request: &Request| record.is_some_and(|record| request.is_possible_on(record, ports));
        !is_avoided && can_hold(&job.request)
    }
}

/// The nodes of one size that dedicated clusters can get.
pub(super) struct Supply<'a> {
    /// Free in the pool.
    pool: Vec<&'a NodeName>,
    /// On their way to the pool, and whose idle node it is, if a cluster keeps it until another
    /// needs it.
    coming: Vec<(Option<&'a ClusterKey>, &'a NodeName)>,
    /// The nodes that can be taken, once some must be.
    candidates: Option<Candidates<'a>>,
    size: String,
    /// Nodes of the pool that are promised.
    pub(super) claimed: BTreeSet<&'a NodeName>,
    /// Nodes to be taken, and from which cluster.
    pub(super) withdrawn: Vec<(&'a ClusterKey, &'a NodeName)>,
}

impl<'a> Supply<'a> {
    pub(super) fn new(pass: &Pass<'a>, size: &str) -> Self {
        let pool = pass.snapshot.pool(size);
        let clusters = pass.snapshot.clusters().iter();
        let of_size =
            clusters.filter(|(_, cluster)| cluster.record.is_some() && cluster.size == size);
        Self {
            pool: pool
                .filter(|name| !pass.taken_by_any.contains(name))
                .collect(),
            coming: of_size
                .flat_map(|(key, cluster)| coming(pass, key, cluster))
                .chain(switched_on(pass, size).map(|name| (None, name)))
                .collect(),
            candidates: None,
            size: size.to_owned(),
            claimed: BTreeSet::new(),
            withdrawn: Vec::new(),
        }
    }

    /// How many nodes there are without taking any.
    pub(super) fn count_all(&self) -> usize {
        self.pool.len() + self.coming.len()
    }

    /// How many nodes there are for a cluster in all.
    pub(super) fn count(&mut self, pass: &Pass<'a>, key: &ClusterKey) -> usize {
        let coming = self.coming.iter();
        let coming = coming.filter(|(owner, _)| owner.is_none_or(|owner| owner != key));
        let free = self.pool.len() + coming.count();
        free + self.candidates(pass).count()
    }

    fn candidates(&mut self, pass: &Pass<'a>) -> &mut Candidates<'a> {
        self.candidates
            .get_or_insert_with(|| Candidates::new(pass, &self.size))
    }

    /// So many nodes that suit the need, or none at all.
    pub(super) fn take(
        &mut self,
        pass: &Pass<'a>,
        need: &Need<'_>,
        count: usize,
        may_withdraw: bool,
    ) -> Option<Vec<&'a NodeName>> {
        let suits = |name: &&'a NodeName| need.suits(pass, name);
        let pool: BTreeSet<_> = self
            .pool
            .iter()
            .copied()
            .filter(suits)
            .take(count)
            .collect();
        let left = count - pool.len();
        let is_others = |owner: Option<&ClusterKey>| owner.is_none_or(|key| key != need.key);
        let coming = self.coming.iter().filter(|(owner, _)| is_others(*owner));
        let coming = coming.map(|(_, name)| *name);
        let coming: BTreeSet<_> = coming.filter(suits).take(left).collect();
        let left = left - coming.len();
        let withdrawn = match (left, may_withdraw) {
            (0, _) => Vec::new(),
            (_, false) => return None,
            (left, true) => self
                .candidates(pass)
                .take(pass, left, |name| need.suits(pass, name))?,
        };
        self.pool.retain(|name| !pool.contains(name));
        self.coming.retain(|(_, name)| !coming.contains(name));
        self.claimed.extend(&pool);
        let names = withdrawn.iter().map(|(_, name)| *name);
        let found = pool.into_iter().chain(coming).chain(names).collect();
        self.withdrawn.extend(withdrawn);
        Some(found)
    }
}

/// Machines that are being switched on, by this pass too.
fn switched_on<'a>(pass: &Pass<'a>, size: &str) -> impl Iterator<Item = &'a NodeName> {
    let coming = pass.sleepers.get(size).map(|it| &it.coming);
    let coming = coming.into_iter().flatten().map(|(_, name)| *name);
    let woken = pass.woken.get(size).into_iter().flatten().copied();
    coming.chain(woken)
}

/// The nodes that a cluster is about to lose anyway, or keeps only until another needs them.
fn coming<'a>(
    pass: &Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
) -> Vec<(Option<&'a ClusterKey>, &'a NodeName)> {
    let mut coming = Vec::new();
    let effective = cluster.effective_status();
    // Given up already; only the store does not know it yet.
    if let (Some(stored), Some(pending)) = (&cluster.status, &cluster.pending) {
        let dropped = stored.nodes.difference(&pending.nodes);
        coming.extend(dropped.map(|name| (None, name)));
    }
    let leaving = effective.into_iter().flat_map(|status| &status.leaving);
    let soon = leaving.filter(|name| {
        !matches!(
            pass.snapshot.fate(name, pass.now),
            NodeFate::Leaving(NodeDeallocationOption::WaitForJobCompletion)
        )
    });
    coming.extend(soon.map(|name| (None, name)));
    if !cluster.is_low_priority() {
        let spare = spare(pass, key, cluster).into_iter();
        coming.extend(spare.map(|name| (Some(key), name)));
    }
    coming.retain(|(_, name)| pass.node(name).is_some_and(NodeState::is_usable));
    coming
}

/// Idle nodes of a cluster that scales automatically and has nothing to do with them.
fn spare<'a>(pass: &Pass<'a>, key: &ClusterKey, cluster: &'a ClusterState) -> Vec<&'a NodeName> {
    if !cluster.is_automatic() || cluster.idle.is_empty() || waits(pass, cluster) {
        return Vec::new();
    }
    let count = surplus_over_wanted(pass, key, cluster);
    let idle = cluster.idle.iter();
    let free = idle.filter(|name| !pass.placed.contains_key(name));
    free.take(count).collect()
}
