//! Nodes of the pool for clusters, and back.
//!
//! Clusters with a fixed target and minimum sizes are filled first, dedicated ones before those of
//! low priority, and older ones before younger ones; a cluster that scales
//! automatically takes nodes only as placement finds whole gangs for them, so that no cluster
//! holds a part of what it needs while another holds the rest.

pub(crate) mod budget;
pub(crate) mod preemption;
mod shortage;

use std::collections::{BTreeMap, BTreeSet};

use lote_model::cluster::{ClusterRecord, ClusterStatus, ScaleSettings, Withdrawal};
use lote_model::id::NodeName;
use lote_model::node_setup::NodeSetup;
use lote_model::state::AllocationState;

use crate::actions::{Action, Change, Subject};
use crate::change;
use crate::decide::Pass;
use crate::pool;
use crate::snapshot::{ClusterKey, ClusterState};
use crate::time::{after, after_seconds};

/// What a pass changes about the nodes of a cluster.
#[derive(Debug, Default)]
struct Moves {
    dropped: BTreeSet<NodeName>,
    leaving: BTreeSet<NodeName>,
    returning: BTreeSet<NodeName>,
    /// Those that leave, or leave already, though the cluster would rather keep them.
    withdrawn: BTreeMap<NodeName, Withdrawal>,
}

impl Moves {
    fn are_none(&self) -> bool {
        self.dropped.is_empty()
            && self.leaving.is_empty()
            && self.returning.is_empty()
            && self.withdrawn.is_empty()
    }
}

/// How many nodes the cluster shall have whether there is work or not.
fn wanted(record: &ClusterRecord, is_new: bool) -> usize {
    if !record.properties.can_be_set_up() {
        return 0;
    }
    let count = match &record.properties.scale_settings {
        ScaleSettings::Manual(manual) => manual.target_node_count,
        ScaleSettings::AutoScale(auto) if is_new => auto
            .initial_node_count
            .min(auto.maximum_node_count)
            .max(auto.minimum_node_count),
        ScaleSettings::AutoScale(auto) => auto.minimum_node_count,
    };
    count as usize
}

/// How the nodes of a cluster stand before a pass moves any.
#[derive(Debug, Default)]
struct Standing {
    /// How many stay.
    staying: usize,
    /// Those that were to leave, are well and could stay as well.
    leaving: Vec<NodeName>,
    /// Those that were to leave because they were drained, and are so no more.
    resumed: Vec<NodeName>,
}

fn standing(pass: &Pass<'_>, key: &ClusterKey, status: &ClusterStatus) -> Standing {
    let stays = |name: &NodeName| status.nodes.contains(name) && !status.leaving.contains(name);
    let withdrawn = pass.withdrawn.get(key);
    let withdrawn = withdrawn.into_iter().flat_map(BTreeMap::keys).copied();
    let lost = pass.lost.iter().copied();
    let gone: BTreeSet<&NodeName> = withdrawn.chain(lost).filter(|name| stays(name)).collect();
    let mut standing = Standing {
        staying: (status.nodes.len() - status.leaving.len()).saturating_sub(gone.len()),
        ..Standing::default()
    };
    for name in &status.leaving {
        if pass.lost.contains(name) || pass.withdrawal(key, name).is_some() {
            continue;
        }
        match status.withdrawn.get(name) {
            None => standing.leaving.push(name.clone()),
            Some(Withdrawal::Drained) => standing.resumed.push(name.clone()),
            Some(Withdrawal::Preempted | Withdrawal::BudgetSpent) => {}
        }
    }
    standing
}

/// How many nodes the cluster lacks of those that it shall have in any case, and can pay for.
pub(crate) fn missing(pass: &Pass<'_>, key: &ClusterKey, cluster: &ClusterState) -> usize {
    let Some(record) = &cluster.record else {
        return 0;
    };
    let status = cluster.effective_status();
    let is_new = status.is_none();
    let standing = status.map_or_else(Standing::default, |status| standing(pass, key, status));
    let taken = pass.taken.get(key).map_or(0, BTreeSet::len);
    let present = standing.staying + standing.leaving.len() + standing.resumed.len() + taken;
    let missing = wanted(record, is_new).saturating_sub(present);
    missing.min(budget::room(pass, key, cluster).unwrap_or(usize::MAX))
}

/// How many nodes the cluster has beyond those that it shall have in any case.
fn surplus_over_wanted(pass: &Pass<'_>, key: &ClusterKey, cluster: &ClusterState) -> usize {
    let wanted = cluster
        .record
        .as_ref()
        .map_or(0, |record| wanted(record, false));
    let status = cluster.effective_status();
    let staying = status.map_or(0, |status| standing(pass, key, status).staying);
    let taken = pass.taken.get(key).map_or(0, BTreeSet::len);
    (staying + taken).saturating_sub(wanted)
}

/// Whether jobs wait for nodes of the cluster.
fn waits(pass: &Pass<'_>, cluster: &ClusterState) -> bool {
    let mut queue = cluster.queue.iter();
    queue.any(|(queue_key, waiting)| pass.still_waits(queue_key, waiting))
}

/// How many nodes the cluster has that nobody uses.
pub(crate) fn count_idle(pass: &Pass<'_>, key: &ClusterKey, cluster: &ClusterState) -> usize {
    let taken = pass.taken.get(key).into_iter().flatten().copied();
    let own = cluster.idle.iter().chain(taken);
    own.filter(|name| !pass.placed.contains_key(name)).count()
}

/// Takes what a cluster shall have in any case.
pub(crate) fn fill(pass: &mut Pass<'_>, key: &ClusterKey) {
    let Some(cluster) = pass.cluster(key).filter(|cluster| !cluster.in_flight) else {
        return;
    };
    let missing = missing(pass, key, cluster);
    let joining = pool::pick(pass, cluster, missing);
    if joining.len() < missing {
        pool::note_short(pass, key, cluster);
    }
    for name in joining {
        pool::take(pass, key, name);
    }
}

/// Writes what a pass changes about a cluster, and erases one that is deleted and empty.
pub(crate) fn settle(pass: &mut Pass<'_>, key: &ClusterKey) {
    let Some(cluster) = pass.cluster(key).filter(|cluster| !cluster.in_flight) else {
        return;
    };
    let Some(record) = &cluster.record else {
        return;
    };
    if record.delete_requested_at.is_some() {
        erase_if_empty(pass, key, cluster, record);
        return;
    }
    let old = cluster.effective_status();
    let nothing = ClusterStatus::default();
    let moves = moves(pass, key, cluster, record, old.unwrap_or(&nothing));
    let status = new_status(pass, key, cluster, record, &moves);
    let Some(status) = status else { return };
    match change::cluster_status(record, cluster.status_revision, &status) {
        Ok(transactions) => pass.decisions.actions.push(Action::Change(Change {
            subject: Subject::Cluster(key.clone()),
            what: "cluster",
            transactions,
            cluster_status: Some(status),
            file_server_node: None,
        })),
        Err(error) => tracing::error!(%key, %error, "the status of a cluster cannot be written"),
    }
}

fn erase_if_empty(
    pass: &mut Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
    record: &ClusterRecord,
) {
    let mut names = cluster
        .effective_status()
        .into_iter()
        .flat_map(|status| &status.nodes);
    let is_held = |name| pass.node(name).is_some_and(|node| !node.holds.is_empty());
    if cluster.live_jobs == 0 && !names.any(is_held) {
        let transactions = change::erase_cluster(record, cluster.record_revision);
        pass.change(
            Subject::Cluster(key.clone()),
            "erase cluster",
            Ok(transactions),
        );
    }
}

fn moves(
    pass: &mut Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
    record: &ClusterRecord,
    status: &ClusterStatus,
) -> Moves {
    let mut moves = Moves::default();
    moves.dropped.extend(
        pass.lost
            .iter()
            .filter(|name| status.nodes.contains(**name))
            .map(|name| (*name).clone()),
    );
    withdraw(pass, key, status, &mut moves);
    let is_empty = |name: &&NodeName| pass.node(name).is_none_or(|node| node.holds.is_empty());
    let standing = standing(pass, key, status);
    let staying = standing.staying;
    let joining = pass.taken.get(key).map_or(0, BTreeSet::len);
    let wanted = wanted(record, false);
    let most = (cluster.nodes_max() as usize).max(wanted);
    let leaving = standing.leaving.into_iter();
    let leaving = leaving.take(wanted.saturating_sub(staying + joining));
    moves.returning.extend(leaving);
    // One that was drained comes back to whoever still has a place for it.
    let places = most.saturating_sub(staying + joining + moves.returning.len());
    let resumed = standing.resumed.into_iter().take(places);
    moves.returning.extend(resumed);
    let gone = status
        .leaving
        .iter()
        .filter(|name| !moves.returning.contains(*name))
        .filter(is_empty);
    moves.dropped.extend(gone.cloned());
    let surplus = (staying + moves.returning.len() + joining).saturating_sub(most);
    shrink(pass, key, status, surplus, &mut moves);
    let spare = (staying + joining).saturating_sub(wanted + surplus);
    if spare > 0 && moves.returning.is_empty() {
        release_idle(pass, key, cluster, spare, &mut moves);
    }
    moves
}

/// Gives up the nodes that are taken from the cluster.
fn withdraw(pass: &Pass<'_>, key: &ClusterKey, status: &ClusterStatus, moves: &mut Moves) {
    let withdrawn = pass.withdrawn.get(key).into_iter().flatten();
    let is_here = |name: &NodeName| status.nodes.contains(name) && !pass.lost.contains(name);
    for (name, why) in withdrawn.filter(|(name, _)| is_here(name)) {
        if !is_in_use(pass, name) {
            moves.dropped.insert((*name).clone());
            continue;
        }
        // What leaves already for another reason goes on as it does, unless it can no longer
        // wait for its jobs.
        let known = status.withdrawn.get(*name);
        let is_news = match (known, why) {
            (None, Withdrawal::Drained) => !status.leaving.contains(*name),
            (None | Some(Withdrawal::Drained), why) => known != Some(why),
            _ => false,
        };
        if is_news {
            moves.withdrawn.insert((*name).clone(), *why);
        }
    }
}

/// Whether something is held of a node, by this pass too.
fn is_in_use(pass: &Pass<'_>, name: &NodeName) -> bool {
    pass.placed.contains_key(name) || pass.node(name).is_some_and(|node| !node.holds.is_empty())
}

/// Gives up nodes beyond what the cluster may have: empty ones at once, others when their jobs
/// are done or stopped.
fn shrink(
    pass: &Pass<'_>,
    key: &ClusterKey,
    status: &ClusterStatus,
    surplus: usize,
    moves: &mut Moves,
) {
    if surplus == 0 {
        return;
    }
    let staying = status.nodes.iter().rev().filter(|name| {
        let is_leaving = status.leaving.contains(*name) || moves.dropped.contains(*name);
        !is_leaving && pass.withdrawal(key, name).is_none()
    });
    let (in_use, empty): (Vec<_>, Vec<_>) = staying.partition(|name| is_in_use(pass, name));
    let to_drop: Vec<_> = empty.into_iter().take(surplus).cloned().collect();
    let rest = surplus - to_drop.len();
    moves.dropped.extend(to_drop);
    moves.leaving.extend(in_use.into_iter().take(rest).cloned());
}

/// Gives back idle nodes of a cluster that scales automatically.
fn release_idle(
    pass: &mut Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
    spare: usize,
    moves: &mut Moves,
) {
    let is_wanted_elsewhere = pool::is_short_elsewhere(pass, key, cluster);
    let idle_delay = cluster
        .record
        .as_ref()
        .and_then(|record| record.properties.lote.idle_delay);
    let mut due = Vec::new();
    for name in cluster
        .idle
        .iter()
        .filter(|name| !moves.dropped.contains(*name))
    {
        let Some(node) = pass.node(name).filter(|_| !pass.placed.contains_key(name)) else {
            continue;
        };
        let promised_to = pass.promised_to(name);
        if promised_to == Some(key) {
            continue;
        }
        let release_at = match idle_delay {
            Some(delay) => after_seconds(node.idle_since, delay),
            None => after(node.idle_since, pass.snapshot.config().idle_delay),
        };
        if release_at <= pass.now || promised_to.is_some() || is_wanted_elsewhere {
            due.push(name);
        } else {
            pass.wake_at(release_at);
        }
    }
    // What is promised to others goes first.
    due.sort_by_key(|name| pass.promised_to(name).is_none());
    moves.dropped.extend(due.into_iter().take(spare).cloned());
}

/// The status after the moves; none if it stays as it is.
fn new_status(
    pass: &Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
    record: &ClusterRecord,
    moves: &Moves,
) -> Option<ClusterStatus> {
    let old = cluster.effective_status();
    let joining = pass.taken.get(key);
    let count = |set: Option<&BTreeSet<NodeName>>| set.map_or(0, BTreeSet::len);
    let nodes =
        count(old.map(|old| &old.nodes)) + joining.map_or(0, BTreeSet::len) - moves.dropped.len();
    let left_leaving = old.map_or(0, |old| {
        old.leaving
            .iter()
            .filter(|name| !moves.dropped.contains(*name))
            .count()
    });
    let withdrawn = moves.withdrawn.keys();
    let withdrawn = withdrawn.filter(|name| old.is_some_and(|old| !old.leaving.contains(*name)));
    let leaving = (left_leaving + moves.leaving.len() + withdrawn.count())
        .saturating_sub(moves.returning.len());
    let missing = wanted(record, false).saturating_sub(nodes.saturating_sub(leaving));
    let state = if missing > 0 || leaving > 0 {
        AllocationState::Resizing
    } else {
        AllocationState::Steady
    };
    let set_up = record.properties.node_setup.as_ref();
    let mut errors = set_up.map(NodeSetup::errors).unwrap_or_default();
    errors.extend(shortage::errors(pass, key, cluster, record, missing));
    let is_same = old.is_some_and(|old| old.allocation_state == state && old.errors == errors)
        && !budget::is_news(record, old);
    if is_same && joining.is_none_or(BTreeSet::is_empty) && moves.are_none() {
        return None;
    }
    let mut status = old.cloned().unwrap_or_default();
    status
        .nodes
        .extend(joining.into_iter().flatten().map(|name| (*name).clone()));
    status.nodes.retain(|name| !moves.dropped.contains(name));
    status.leaving.extend(moves.leaving.iter().cloned());
    status.leaving.extend(moves.withdrawn.keys().cloned());
    let withdrawn = moves.withdrawn.iter();
    status
        .withdrawn
        .extend(withdrawn.map(|(name, why)| (name.clone(), *why)));
    status
        .leaving
        .retain(|name| !moves.dropped.contains(name) && !moves.returning.contains(name));
    let ClusterStatus {
        leaving, withdrawn, ..
    } = &mut status;
    withdrawn.retain(|name, _| leaving.contains(name));
    if status.allocation_state != state || status.allocation_state_since.is_none() {
        status.allocation_state_since = Some(pass.now);
    }
    status.allocation_state = state;
    status.errors = errors;
    status.spending = budget::spending(record, old, pass.now);
    Some(status)
}

#[cfg(test)]
mod tests;
