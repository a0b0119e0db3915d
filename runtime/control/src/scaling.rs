//! Nodes of the pool for clusters, and back.
//!
//! Clusters with a fixed target and minimum sizes are filled first, dedicated ones before those of
//! low priority, and older ones before younger ones; a cluster that scales
//! automatically takes nodes only as placement finds whole gangs for them, so that no cluster
//! holds a part of what it needs while another holds the rest.

use std::collections::BTreeSet;

use lote_model::cluster::{ClusterRecord, ClusterStatus, ScaleSettings};
use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;
use lote_model::node_setup::NodeSetup;
use lote_model::state::AllocationState;

use crate::actions::{Action, Change, Subject};
use crate::change;
use crate::decide::Pass;
use crate::pool;
use crate::snapshot::{ClusterKey, ClusterState};
use crate::time::after;

/// What a pass changes about the nodes of a cluster.
#[derive(Debug, Default)]
struct Moves {
    dropped: BTreeSet<NodeName>,
    leaving: BTreeSet<NodeName>,
    returning: BTreeSet<NodeName>,
}

impl Moves {
    fn are_none(&self) -> bool {
        self.dropped.is_empty() && self.leaving.is_empty() && self.returning.is_empty()
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

/// Nodes that stay, and those that were to leave and are well.
fn staying(pass: &Pass<'_>, status: &ClusterStatus) -> (usize, Vec<NodeName>) {
    let is_lost = |name: &&NodeName| pass.lost.contains(*name);
    let lost = pass
        .lost
        .iter()
        .filter(|name| status.nodes.contains(**name) && !status.leaving.contains(**name));
    let leaving = status
        .leaving
        .iter()
        .filter(|name| !is_lost(name))
        .cloned()
        .collect();
    (
        (status.nodes.len() - status.leaving.len()).saturating_sub(lost.count()),
        leaving,
    )
}

/// Takes what a cluster shall have in any case.
pub(crate) fn fill(pass: &mut Pass<'_>, key: &ClusterKey) {
    let Some(cluster) = pass.cluster(key).filter(|cluster| !cluster.in_flight) else {
        return;
    };
    let Some(record) = &cluster.record else {
        return;
    };
    let status = cluster.effective_status();
    let (staying, leaving) = status.map_or_else(Default::default, |status| staying(pass, status));
    let missing = wanted(record, status.is_none()).saturating_sub(staying + leaving.len());
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
    let status = new_status(pass, key, record, old, &moves);
    let Some(status) = status else { return };
    match change::cluster_status(record, cluster.status_revision, &status) {
        Ok(transactions) => pass.decisions.actions.push(Action::Change(Change {
            subject: Subject::Cluster(key.clone()),
            what: "cluster",
            transactions,
            cluster_status: Some(status),
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
    let is_empty = |name: &&NodeName| pass.node(name).is_none_or(|node| node.holds.is_empty());
    let (staying, leaving) = staying(pass, status);
    let joining = pass.taken.get(key).map_or(0, BTreeSet::len);
    let wanted = wanted(record, false);
    let most = (cluster.nodes_max() as usize).max(wanted);
    moves.returning.extend(
        leaving
            .into_iter()
            .take(wanted.saturating_sub(staying + joining)),
    );
    let gone = status
        .leaving
        .iter()
        .filter(|name| !moves.returning.contains(*name))
        .filter(is_empty);
    moves.dropped.extend(gone.cloned());
    let surplus = (staying + moves.returning.len() + joining).saturating_sub(most);
    shrink(pass, status, surplus, &mut moves);
    let spare = (staying + joining).saturating_sub(wanted + surplus);
    if spare > 0 && moves.returning.is_empty() {
        release_idle(pass, key, cluster, spare, &mut moves);
    }
    moves
}

/// Gives up nodes beyond what the cluster may have: empty ones at once, others when their jobs
/// are done or stopped.
fn shrink(pass: &Pass<'_>, status: &ClusterStatus, surplus: usize, moves: &mut Moves) {
    if surplus == 0 {
        return;
    }
    let is_in_use = |name: &NodeName| {
        pass.placed.contains_key(name) || pass.node(name).is_some_and(|node| !node.holds.is_empty())
    };
    let staying = status.nodes.iter().rev();
    let staying =
        staying.filter(|name| !status.leaving.contains(*name) && !moves.dropped.contains(*name));
    let (in_use, empty): (Vec<_>, Vec<_>) = staying.partition(|name| is_in_use(name));
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
        let release_at = after(node.idle_since, pass.snapshot.config().idle_delay);
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
    record: &ClusterRecord,
    old: Option<&ClusterStatus>,
    moves: &Moves,
) -> Option<ClusterStatus> {
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
    let leaving = (left_leaving + moves.leaving.len()).saturating_sub(moves.returning.len());
    let missing = wanted(record, false).saturating_sub(nodes.saturating_sub(leaving));
    let state = if missing > 0 || leaving > 0 {
        AllocationState::Resizing
    } else {
        AllocationState::Steady
    };
    let set_up = record.properties.node_setup.as_ref();
    let mut errors = set_up.map(NodeSetup::errors).unwrap_or_default();
    errors.extend((missing > 0).then(|| too_few_nodes(record, missing)));
    let is_same = old.is_some_and(|old| old.allocation_state == state && old.errors == errors);
    if is_same && joining.is_none_or(BTreeSet::is_empty) && moves.are_none() {
        return None;
    }
    let mut status = old.cloned().unwrap_or_default();
    status
        .nodes
        .extend(joining.into_iter().flatten().map(|name| (*name).clone()));
    status.nodes.retain(|name| !moves.dropped.contains(name));
    status.leaving.extend(moves.leaving.iter().cloned());
    status
        .leaving
        .retain(|name| !moves.dropped.contains(name) && !moves.returning.contains(name));
    if status.allocation_state != state || status.allocation_state_since.is_none() {
        status.allocation_state_since = Some(pass.now);
    }
    status.allocation_state = state;
    status.errors = errors;
    Some(status)
}

fn too_few_nodes(record: &ClusterRecord, missing: usize) -> ErrorRecord {
    let size = &record.properties.vm_size;
    ErrorRecord::new(
        "NotEnoughNodes",
        format!(
            "the pool has no more free nodes of size '{size}', {missing} are missing: add machines, \
             or scale another cluster of this size down"
        ),
    )
}

#[cfg(test)]
mod tests;
