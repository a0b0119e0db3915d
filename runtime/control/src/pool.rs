//! The pool: nodes without a cluster, and who may take how many of them.

use std::collections::BTreeSet;

use lote_model::cluster::ScaleSettings;
use lote_model::id::NodeName;

use crate::decide::Pass;
use crate::scaling::budget;
use crate::snapshot::{ClusterKey, ClusterState};

/// How many more nodes the cluster may have.
pub(crate) fn room(pass: &Pass<'_>, key: &ClusterKey, cluster: &ClusterState) -> usize {
    let affordable = budget::room(pass, key, cluster).unwrap_or(usize::MAX);
    if affordable == 0 {
        return 0;
    }
    let places = (cluster.nodes_max() as usize).saturating_sub(size(pass, key, cluster));
    places.min(affordable)
}

/// What keeps the cluster from having as many nodes as a job of it lacks, in words for whoever
/// waits for that job; none if only other jobs do.
pub(crate) fn limit(
    pass: &Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
    missing: usize,
) -> Option<String> {
    let is_limit = cluster.is_automatic() && room(pass, key, cluster) < missing;
    is_limit.then(|| {
        let (name, most) = (cluster.name(), cluster.nodes_max());
        let has = size(pass, key, cluster);
        format!("cluster '{name}' has {has} of the {most} nodes that it may have")
    })
}

/// How many nodes placement may take for the cluster in this pass.
pub(crate) fn takeable(pass: &Pass<'_>, key: &ClusterKey, cluster: &ClusterState) -> usize {
    if cluster.is_automatic() && !cluster.in_flight {
        room(pass, key, cluster)
    } else {
        0
    }
}

/// How many nodes a cluster that scales automatically can give back when they are empty.
pub(crate) fn spare(pass: &Pass<'_>, key: &ClusterKey, cluster: &ClusterState) -> usize {
    let scale = cluster
        .record
        .as_ref()
        .map(|record| &record.properties.scale_settings);
    let Some(ScaleSettings::AutoScale(auto)) = scale else {
        return 0;
    };
    // What is taken from it is no longer counted; what leaves of itself still is.
    let leaving = cluster.effective_status().map_or(0, |status| {
        status.leaving.len().saturating_sub(status.withdrawn.len())
    });
    size(pass, key, cluster).saturating_sub(leaving + auto.minimum_node_count as usize)
}

/// How many nodes the cluster has, those it takes in this pass included and those that are
/// taken from it left out.
fn size(pass: &Pass<'_>, key: &ClusterKey, cluster: &ClusterState) -> usize {
    let taken = pass.taken.get(key).map_or(0, BTreeSet::len);
    let Some(status) = cluster.effective_status() else {
        return taken;
    };
    let withdrawn = pass.withdrawn.get(key).into_iter().flatten();
    let withdrawn = withdrawn.filter(|(name, _)| {
        status.nodes.contains(**name) && !status.withdrawn.contains_key(**name)
    });
    let lost = status.withdrawn.len() + withdrawn.count();
    status.nodes.len().saturating_sub(lost) + taken
}

/// So many nodes of the pool for the cluster, near each other; fewer if there are not enough.
pub(crate) fn pick<'a>(
    pass: &mut Pass<'a>,
    cluster: &'a ClusterState,
    count: usize,
) -> Vec<&'a NodeName> {
    let shelf = pass.stock.of_pool(&cluster.size);
    let open = pass.stock.open(shelf);
    let near = open.whole().pick(count, &[]);
    let rest = count - near.len();
    // In the pool nothing is held of a node, but one without ports is never given as a whole.
    let others = open.iter().filter(|name| !pass.stock.slot(name).is_whole);
    let others = others.take(rest).cloned().collect::<Vec<_>>();
    let known = |name: NodeName| Some(pass.snapshot.nodes().get_key_value(&name)?.0);
    near.into_iter().chain(others).filter_map(known).collect()
}

/// Moves a node from the pool into the cluster.
pub(crate) fn take<'a>(pass: &mut Pass<'a>, key: &ClusterKey, name: &'a NodeName) {
    let Some((key, _)) = pass.snapshot.clusters().get_key_value(key) else {
        return;
    };
    if pass.taken_by_any.insert(name) {
        pass.taken.entry(key.clone()).or_default().insert(name);
        let shelf = pass.stock.of_cluster(key);
        pass.stock.move_to(name, shelf);
    }
}

/// Notes that a cluster lacks nodes of the pool, so that others release what they only keep for
/// convenience.
pub(crate) fn note_short(pass: &mut Pass<'_>, key: &ClusterKey, cluster: &ClusterState) {
    let clusters = pass.short.entry(cluster.size.clone()).or_default();
    clusters.insert(key.clone());
}

/// Whether another cluster of this size lacks nodes. A dedicated cluster does not hurry for one of
/// low priority, which would have to give the node back.
pub(crate) fn is_short_elsewhere(
    pass: &Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
) -> bool {
    let hurries_for = |other: &ClusterKey| {
        let is_low = |other: &ClusterState| other.is_low_priority();
        other != key && (cluster.is_low_priority() || !pass.cluster(other).is_some_and(is_low))
    };
    let short = pass.short.get(&cluster.size);
    short.is_some_and(|short| short.iter().any(hurries_for))
}
