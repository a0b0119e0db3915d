//! What the nodes are doing, for the answers about clusters and nodes.

use std::collections::{BTreeMap, BTreeSet};

use lote_model::cluster::ClusterStatus;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_store::{ListRequest, Store, list_json};
use serde::Serialize;

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
        Ok(fleet)
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
