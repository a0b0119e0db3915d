//! Nodes as resources: `/v1/nodes`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use lote_model::access::Scope;
use lote_model::cluster::ClusterStatus;
use lote_model::export::Export;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::leader::LeaderRecord;
use lote_model::node::{Drain, DrainRequest, NodeRecord};
use lote_store::{Entry, ListRequest, Store, Transaction, get_json, list_json};
use serde_json::{Map, Value, json};

use crate::auth::Principal;
use crate::error::{Answer, ApiError};
use crate::fleet::{Fleet, NodeState};
use crate::page::{PageRequest, page};
use crate::records::{ATTEMPTS_MAX, contended};
use crate::request::{At, Body, Caller, Parameters};
use crate::state::ApiState;

/// What a token of one group or workspace sees of a node: what one needs to
/// know to ask for it. Where it is, what is wrong with it and who else works
/// there is for those who see the whole installation.
const SHOWN_TO_SCOPED: [&str; 6] = [
    "vmSize",
    "state",
    "cpuCores",
    "memoryBytes",
    "gpus",
    "version",
];

/// How many jobs or file servers a refusal names.
const JOBS_NAMED: usize = 5;

/// Nodes with what is told about them.
struct Told {
    fleet: Fleet,
    /// The clusters that hold nodes, as `group/workspace/cluster`.
    clusters: BTreeMap<NodeName, String>,
    /// Which daemon leads, where that is elected.
    leader: Option<LeaderRecord>,
}

impl Told {
    async fn read(store: &dyn Store) -> Result<Self, ApiError> {
        let fleet = Fleet::read(store).await?;
        let prefix = ListRequest::prefix(key::CLUSTER_STATUS);
        let mut clusters = BTreeMap::new();
        for entry in list_json::<ClusterStatus>(store, prefix).await?.items {
            let path = entry.key.strip_prefix(key::CLUSTER_STATUS);
            for node in entry.value.nodes {
                clusters.insert(node, path.unwrap_or_default().to_owned());
            }
        }
        let leader = get_json(store, key::LEADER).await?;
        Ok(Self {
            fleet,
            clusters,
            leader: leader.map(|entry| entry.value),
        })
    }

    fn view(&self, record: &NodeRecord, principal: &Principal) -> Value {
        let mut properties = match serde_json::to_value(record) {
            Ok(Value::Object(properties)) => properties,
            _ => Map::new(),
        };
        properties.remove("name");
        properties.remove("size");
        let (state, since) = self.fleet.state(record);
        let jobs = self.fleet.jobs.get(&record.name).copied();
        properties.insert("vmSize".into(), json!(record.size));
        properties.insert("state".into(), json!(state));
        properties.insert("jobs".into(), json!(jobs.unwrap_or_default()));
        let mut add = |name: &str, value: Option<Value>| {
            properties.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("stateSince", since.map(|since| json!(since)));
        add(
            "cluster",
            self.clusters.get(&record.name).map(|path| json!(path)),
        );
        add(
            "drain",
            self.fleet
                .drains
                .get(&record.name)
                .map(|drain| json!(drain)),
        );
        let leader = self.leader.as_ref();
        let leader = leader.filter(|leader| leader.node == record.name);
        add("leadsSince", leader.map(|leader| json!(leader.since)));
        add(
            "power",
            self.fleet.power.get(&record.name).map(|power| json!(power)),
        );
        if *principal.scope() != Scope::Everything {
            properties.retain(|name, _| SHOWN_TO_SCOPED.contains(&name.as_str()));
        }
        json!({
            "id": format!("/v1/nodes/{}", record.name),
            "name": record.name,
            "type": "Lote/nodes",
            "properties": properties,
        })
    }
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    parameters: Parameters,
) -> Answer {
    let request = PageRequest::of(&parameters)?;
    let told = Told::read(state.store()).await?;
    let follows = |node: &&NodeRecord| {
        request
            .after
            .as_deref()
            .is_none_or(|after| node.name.as_str() > after)
    };
    let mut nodes: Vec<&NodeRecord> = told.fleet.nodes.values().filter(follows).collect();
    let more = nodes.len() > request.limit;
    nodes.truncate(request.limit);
    let last = nodes.last().filter(|_| more).map(|node| node.name.as_str());
    Ok(page(
        &caller,
        &parameters,
        nodes
            .iter()
            .map(|node| told.view(node, &principal))
            .collect(),
        last,
    ))
}

fn missing(name: &NodeName) -> ApiError {
    let shown: String = name.as_str().chars().take(80).collect();
    let message = format!("there is no node '{shown}'; GET /v1/nodes lists them");
    ApiError::not_found("NodeNotFound", message)
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    principal: Principal,
    At(name): At<NodeName>,
) -> Answer {
    answer(&state, &principal, &name).await
}

async fn answer(state: &ApiState, principal: &Principal, name: &NodeName) -> Answer {
    let told = Told::read(state.store()).await?;
    let node = told.fleet.nodes.get(name).ok_or_else(|| missing(name))?;
    Ok(Json(told.view(node, principal)).into_response())
}

/// The node's record, which must exist.
async fn existing(state: &ApiState, name: &NodeName) -> Result<Entry<NodeRecord>, ApiError> {
    let found = get_json(state.store(), &key::node(name)).await?;
    found.ok_or_else(|| missing(name))
}

/// From now on it gets no new jobs; those that it has go on. Once more changes the
/// reason, and not since when.
pub(crate) async fn drain(
    State(state): State<ApiState>,
    principal: Principal,
    At(name): At<NodeName>,
    Body(request_body): Body,
) -> Answer {
    let wanted = DrainRequest::parse(&request_body)?;
    for _ in 0..ATTEMPTS_MAX {
        let node = existing(&state, &name).await?;
        let own_key = key::drain(&name);
        let found = get_json::<Drain>(state.store(), &own_key).await?;
        let drain = match &found {
            Some(found) => Drain {
                reason: wanted.reason.clone().or(found.value.reason.clone()),
                requested_at: found.value.requested_at,
            },
            None => Drain {
                reason: wanted.reason.clone(),
                requested_at: state.now(),
            },
        };
        let before = found.as_ref().map_or(0, |found| found.mod_revision);
        if found.is_some_and(|found| found.value == drain) {
            return answer(&state, &principal, &name).await;
        }
        // A node that is removed meanwhile leaves no drain behind.
        let transaction = Transaction::new()
            .require_revision(&node.key, node.mod_revision)
            .require_revision(&own_key, before)
            .put_json(&own_key, &drain)?;
        if state.store().commit(transaction).await?.is_applied() {
            return answer(&state, &principal, &name).await;
        }
    }
    Err(contended())
}

/// It takes jobs again.
pub(crate) async fn resume(
    State(state): State<ApiState>,
    principal: Principal,
    At(name): At<NodeName>,
) -> Answer {
    existing(&state, &name).await?;
    let transaction = Transaction::new().delete(key::drain(&name));
    state.store().commit(transaction).await?;
    answer(&state, &principal, &name).await
}

/// Forgets a node that is gone, or drained and empty. One whose daemon still runs
/// is back after the daemon's next start.
pub(crate) async fn remove(State(state): State<ApiState>, At(name): At<NodeName>) -> Answer {
    let own_key = key::node(&name);
    for _ in 0..ATTEMPTS_MAX {
        let told = Told::read(state.store()).await?;
        let Some(found) = get_json::<NodeRecord>(state.store(), &own_key).await? else {
            return Ok(StatusCode::NO_CONTENT.into_response());
        };
        let jobs = allocated_jobs(state.store(), &name).await?;
        let exports =
            list_json::<Export>(state.store(), ListRequest::prefix(key::exports_of(&name))).await?;
        check_removable(&told, &found.value, &jobs)?;
        check_exports(&told, &found.value, &exports.items)?;
        // One of these changes when the node comes back, or is to work again.
        let alive = key::alive(&name);
        let alive_revision = state.store().get(&alive).await?;
        let alive_revision = alive_revision.map_or(0, |alive| alive.mod_revision);
        let (drain, power) = (key::drain(&name), key::power(&name));
        let drain_revision = state.store().get(&drain).await?;
        let drain_revision = drain_revision.map_or(0, |drain| drain.mod_revision);
        let transaction = Transaction::new()
            .require_revision(&own_key, found.mod_revision)
            .require_revision(&alive, alive_revision)
            .require_revision(&drain, drain_revision)
            .delete(&own_key)
            .delete(alive)
            .delete(drain)
            .delete(power);
        if state.store().commit(transaction).await?.is_applied() {
            return Ok(StatusCode::OK.into_response());
        }
    }
    Err(contended())
}

/// The jobs that the leader has allocated to a node.
async fn allocated_jobs(store: &dyn Store, name: &NodeName) -> Result<Vec<String>, ApiError> {
    let prefix = ListRequest::prefix(key::allocations_of(name));
    let listing = list_json::<lote_model::allocation::Allocation>(store, prefix).await?;
    let jobs = listing.items.into_iter();
    Ok(jobs.map(|entry| entry.value.job.to_string()).collect())
}

/// 409 while the node lives and has file servers. One that is lost may be removed with them:
/// that is how they can be deleted.
fn check_exports(
    told: &Told,
    record: &NodeRecord,
    exports: &[Entry<Export>],
) -> Result<(), ApiError> {
    let is_lost = told.fleet.state(record).0 == NodeState::Lost;
    let servers = exports.iter().map(|entry| &entry.value.file_server);
    let servers: Vec<String> = servers.map(ToString::to_string).collect();
    if is_lost || servers.is_empty() {
        return Ok(());
    }
    let named = servers[..servers.len().min(JOBS_NAMED)].join(", ");
    let message = format!(
        "node {} has the files of file servers: {named}; delete these first, or stop its daemon to remove it with them",
        record.name
    );
    Err(ApiError::conflict("NodeInUse", message))
}

/// 409 with what holds the node.
fn check_removable(told: &Told, record: &NodeRecord, jobs: &[String]) -> Result<(), ApiError> {
    let name = &record.name;
    if !jobs.is_empty() {
        let named = jobs[..jobs.len().min(JOBS_NAMED)].join(", ");
        let more = match jobs.len().saturating_sub(JOBS_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!(
            "node {name} still has jobs: {named}{more}; drain it and wait until they have ended, or \
             end them"
        );
        return Err(ApiError::conflict("NodeInUse", message));
    }
    match told.fleet.state(record).0 {
        NodeState::Lost | NodeState::Drained | NodeState::Off => Ok(()),
        NodeState::Ready | NodeState::Draining | NodeState::Unhealthy | NodeState::Starting => {
            let message = format!(
                "node {name} is alive; stop its daemon, or drain it with `lote node drain {name}`, \
                 before it is removed"
            );
            Err(ApiError::conflict("NodeInUse", message))
        }
    }
}
