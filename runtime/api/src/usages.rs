//! Usages: how much there is of what quotas and machines limit.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use lote_model::cluster::{ClusterRecord, ClusterStatus, VmPriority};
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_model::usage::{NodeCores, Usage, core_usages};
use lote_store::{JsonListing, ListRequest, Store, list_json};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{Answer, ApiError};
use crate::state::ApiState;

/// Lote has one region, whatever it is called in the path.
pub(crate) async fn list(State(state): State<ApiState>) -> Answer {
    let store = state.store();
    let clusters = all::<ClusterRecord>(store, key::CLUSTERS).await?;
    let mut usages = vec![Usage::new(
        "Clusters",
        clusters.items.len() as u64,
        u64::from(state.config.quotas.clusters),
    )];
    usages.extend(cores(store, &clusters).await?);
    usages.push(Usage::new(
        "Workspaces in the fullest resource group",
        fullest_group(store).await?,
        u64::from(state.config.quotas.workspaces_per_group),
    ));
    Ok(Json(json!({ "value": usages })).into_response())
}

async fn all<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &str,
) -> Result<JsonListing<T>, ApiError> {
    Ok(list_json(store, ListRequest::prefix(prefix)).await?)
}

async fn cores(
    store: &dyn Store,
    clusters: &JsonListing<ClusterRecord>,
) -> Result<Vec<Usage>, ApiError> {
    let statuses = all::<ClusterStatus>(store, key::CLUSTER_STATUS).await?;
    let nodes = all::<NodeRecord>(store, key::NODES).await?;
    let held = held_as(clusters, &statuses);
    let nodes = nodes.items.iter().map(|node| NodeCores {
        size: &node.value.size,
        cores: node.value.cpu_cores,
        held_as: held.get(&node.value.name).copied(),
    });
    let sizes = clusters.items.iter();
    let sizes = sizes.map(|cluster| cluster.value.properties.vm_size.as_str());
    Ok(core_usages(nodes, sizes))
}

/// The priority of the cluster that has each node.
fn held_as<'a>(
    clusters: &JsonListing<ClusterRecord>,
    statuses: &'a JsonListing<ClusterStatus>,
) -> HashMap<&'a NodeName, VmPriority> {
    let place = |key: &str, prefix: &str| key.strip_prefix(prefix).unwrap_or_default().to_owned();
    let priorities: HashMap<String, VmPriority> = clusters
        .items
        .iter()
        .map(|cluster| {
            let priority = cluster.value.properties.vm_priority;
            (place(&cluster.key, key::CLUSTERS), priority)
        })
        .collect();
    let mut held = HashMap::new();
    for status in &statuses.items {
        let priority = priorities.get(&place(&status.key, key::CLUSTER_STATUS));
        let priority = priority.copied().unwrap_or_default();
        held.extend(status.value.nodes.iter().map(|node| (node, priority)));
    }
    held
}

/// How many workspaces the group with the most of them has.
async fn fullest_group(store: &dyn Store) -> Result<u64, ApiError> {
    let request = ListRequest {
        keys_only: true,
        ..ListRequest::prefix(key::WORKSPACES)
    };
    let workspaces = store.list(request).await?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for item in &workspaces.items {
        let place = item.key.strip_prefix(key::WORKSPACES).unwrap_or_default();
        let group = place.split('/').next().unwrap_or_default();
        *counts.entry(group).or_default() += 1;
    }
    Ok(counts.into_values().max().unwrap_or_default())
}
