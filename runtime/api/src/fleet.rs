//! What the nodes are doing, for the answers about clusters and nodes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lote_model::cluster::ClusterStatus;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::node::{Drain, NodePower, NodeRecord, PowerState};
use lote_store::{ListRequest, Store, list_json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// All nodes as they are now.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// The registered nodes.
    pub(crate) nodes: BTreeMap<NodeName, NodeRecord>,
    /// Those whose daemon is there.
    pub(crate) alive: BTreeSet<NodeName>,
    /// How many allocations each busy node has.
    pub(crate) jobs: BTreeMap<NodeName, usize>,
    /// The nodes that are to take no new jobs.
    pub(crate) drains: BTreeMap<NodeName, Drain>,
    /// The machines that were switched off or on.
    pub(crate) power: BTreeMap<NodeName, NodePower>,
}

/// How a node fares, as people and programs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeState {
    /// It takes jobs.
    Ready,
    /// It takes no new jobs, as an operator wants, and still has some.
    Draining,
    /// It takes no new jobs, as an operator wants, and has none.
    Drained,
    /// Its daemon is silent.
    Lost,
    /// Its conditions say what keeps jobs away.
    Unhealthy,
    /// It was switched off.
    Off,
    /// It was switched on and has not come back yet.
    Starting,
}

/// `nodeStateCounts`; all five are always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
pub(crate) struct NodeStateCounts {
    idle_node_count: usize,
    running_node_count: usize,
    preparing_node_count: usize,
    unusable_node_count: usize,
    leaving_node_count: usize,
}

/// Records that stand under the names of nodes.
async fn by_node<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &'static str,
) -> Result<BTreeMap<NodeName, T>, ApiError> {
    let listing = list_json::<T>(store, ListRequest::prefix(prefix)).await?;
    let named = listing.items.into_iter().filter_map(|entry| {
        let name = NodeName::new(entry.key.strip_prefix(prefix)?);
        Some((name, entry.value))
    });
    Ok(named.collect())
}

impl Fleet {
    /// Reads it from the store.
    pub(crate) async fn read(store: &dyn Store) -> Result<Self, ApiError> {
        let nodes = list_json::<NodeRecord>(store, ListRequest::prefix(key::NODES)).await?;
        let names = |prefix: &'static str| ListRequest {
            keys_only: true,
            ..ListRequest::prefix(prefix)
        };
        let nodes = nodes
            .items
            .into_iter()
            .map(|entry| (entry.value.name.clone(), entry.value))
            .collect();
        let mut fleet = Self {
            nodes,
            ..Self::default()
        };
        for item in store.list(names(key::ALIVE)).await?.items {
            fleet
                .alive
                .extend(item.key.strip_prefix(key::ALIVE).map(NodeName::new));
        }
        for item in store.list(names(key::ALLOCATIONS)).await?.items {
            let node = item
                .key
                .strip_prefix(key::ALLOCATIONS)
                .and_then(|rest| rest.split('/').next());
            if let Some(node) = node {
                *fleet.jobs.entry(NodeName::new(node)).or_default() += 1;
            }
        }
        fleet.drains = by_node(store, key::DRAINS).await?;
        fleet.power = by_node(store, key::POWER).await?;
        Ok(fleet)
    }

    /// How a node fares, and since when if that is known.
    pub(crate) fn state(&self, record: &NodeRecord) -> (NodeState, Option<Timestamp>) {
        let name = &record.name;
        if !self.alive.contains(name) {
            let state = |power: &NodePower| match power.state {
                PowerState::Off => Some(NodeState::Off),
                PowerState::Starting => Some(NodeState::Starting),
                PowerState::On => None,
            };
            let switched = self.power.get(name);
            let switched = switched.and_then(|power| Some((state(power)?, Some(power.since))));
            return switched.unwrap_or((NodeState::Lost, None));
        }
        if let Some(drain) = self.drains.get(name) {
            let state = if self.jobs.contains_key(name) {
                NodeState::Draining
            } else {
                NodeState::Drained
            };
            return (state, Some(drain.requested_at));
        }
        let mut conditions = record.conditions.iter();
        match conditions.find(|condition| condition.blocks_jobs) {
            Some(condition) => (NodeState::Unhealthy, Some(condition.since)),
            None => (NodeState::Ready, Some(record.started_at)),
        }
    }

    /// Whether jobs can run there.
    pub(crate) fn is_usable(&self, node: &NodeName) -> bool {
        self.alive.contains(node) && self.nodes.get(node).is_some_and(NodeRecord::is_schedulable)
    }

    /// Counts the nodes of a cluster by what they do.
    pub(crate) fn counts(&self, status: &ClusterStatus) -> NodeStateCounts {
        let mut counts = NodeStateCounts::default();
        for node in &status.nodes {
            let count = if status.leaving.contains(node) {
                &mut counts.leaving_node_count
            } else if !self.is_usable(node) {
                &mut counts.unusable_node_count
            } else if self.jobs.contains_key(node) {
                &mut counts.running_node_count
            } else {
                &mut counts.idle_node_count
            };
            *count += 1;
        }
        counts
    }
}
