//! Usages: how much there is of what quotas and machines limit.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use jiff::tz::TimeZone;
use lote_model::access::Scope;
use lote_model::cluster::{ClusterRecord, ClusterStatus, VmPriority};
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_model::usage::{NodeCores, Usage, core_usages};
use lote_store::{JsonListing, ListRequest, Store, list_json};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::daily_usage::{self, Period};
use crate::error::{Answer, ApiError};
use crate::state::ApiState;

/// The limit of what nothing limits: the most that clients can read.
const UNLIMITED: u64 = i64::MAX.cast_unsigned();

/// Lote has one region, whatever it is called in the path.
pub(crate) async fn list(State(state): State<ApiState>) -> Answer {
    let store = state.store();
    let clusters = all::<ClusterRecord>(store, key::CLUSTERS).await?;
    let mut usages = vec![Usage::new(
        "Clusters",
        clusters.items.len() as u64,
        u64::from(state.config.quotas.clusters),
    )];
    usages.extend(machines(store, &clusters).await?);
    usages.push(gpu_hours(&state).await?);
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

/// Processors and GPUs that clusters hold, and that are there.
async fn machines(
    store: &dyn Store,
    clusters: &JsonListing<ClusterRecord>,
) -> Result<Vec<Usage>, ApiError> {
    let statuses = all::<ClusterStatus>(store, key::CLUSTER_STATUS).await?;
    let nodes = all::<NodeRecord>(store, key::NODES).await?;
    let held = held_as(clusters, &statuses);
    let cores = nodes.items.iter().map(|node| NodeCores {
        size: &node.value.size,
        cores: node.value.cpu_cores,
        held_as: held.get(&node.value.name).copied(),
    });
    let sizes = clusters.items.iter();
    let sizes = sizes.map(|cluster| cluster.value.properties.vm_size.as_str());
    let mut usages = core_usages(cores, sizes);
    let (mut gpus_held, mut gpus) = (0, 0);
    for node in &nodes.items {
        let count = node.value.gpus.len() as u64;
        gpus += count;
        gpus_held += if held.contains_key(&node.value.name) {
            count
        } else {
            0
        };
    }
    usages.push(Usage::new("GPUs held by clusters", gpus_held, gpus));
    Ok(usages)
}

/// GPU time of this month's runs so far, of all workspaces; nothing limits it.
async fn gpu_hours(state: &ApiState) -> Result<Usage, ApiError> {
    let today = state.now().to_zoned(TimeZone::UTC).date();
    let period = Period {
        first: today.first_of_month(),
        last: today,
    };
    let days = daily_usage::read(state.store(), &Scope::Everything, period).await?;
    let seconds: f64 = days.values().map(|day| day.amounts.gpu_seconds).sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; what is too large becomes the largest"
    )]
    let hours = (seconds / 3600.0).round() as u64;
    Ok(Usage::new("GPU hours of this month", hours, UNLIMITED))
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
