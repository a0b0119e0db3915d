//! Nodes as resources: `/v1/nodes`.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use lote_model::access::Scope;
use lote_model::id::NodeName;
use lote_model::node::NodeRecord;
use serde_json::{Map, Value, json};

use crate::auth::Principal;
use crate::error::{Answer, ApiError};
use crate::fleet::Fleet;
use crate::page::{PageRequest, page};
use crate::request::{At, Caller, Parameters};
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

fn view(record: &NodeRecord, fleet: &Fleet, principal: &Principal) -> Value {
    let mut properties = match serde_json::to_value(record) {
        Ok(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    properties.remove("name");
    properties.remove("size");
    properties.insert("vmSize".into(), json!(record.size));
    properties.insert("state".into(), json!(state(record, fleet)));
    properties.insert(
        "jobs".into(),
        json!(fleet.jobs.get(&record.name).copied().unwrap_or_default()),
    );
    if *principal.scope() != Scope::Everything {
        properties.retain(|name, _| SHOWN_TO_SCOPED.contains(&name.as_str()));
    }
    json!({"id": format!("/v1/nodes/{}", record.name), "name": record.name, "type": "Lote/nodes", "properties": properties})
}

/// `ready`, `unhealthy` (its conditions say why) or `lost` (its daemon is silent).
fn state(record: &NodeRecord, fleet: &Fleet) -> &'static str {
    match (fleet.alive.contains(&record.name), record.is_schedulable()) {
        (false, _) => "lost",
        (true, false) => "unhealthy",
        (true, true) => "ready",
    }
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    parameters: Parameters,
) -> Answer {
    let request = PageRequest::of(&parameters)?;
    let fleet = Fleet::read(state.store()).await?;
    let follows = |node: &&NodeRecord| {
        request
            .after
            .as_deref()
            .is_none_or(|after| node.name.as_str() > after)
    };
    let mut nodes: Vec<&NodeRecord> = fleet.nodes.values().filter(follows).collect();
    let more = nodes.len() > request.limit;
    nodes.truncate(request.limit);
    let last = nodes.last().filter(|_| more).map(|node| node.name.as_str());
    Ok(page(
        &caller,
        &parameters,
        nodes
            .iter()
            .map(|node| view(node, &fleet, &principal))
            .collect(),
        last,
    ))
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    principal: Principal,
    At(name): At<NodeName>,
) -> Answer {
    let fleet = Fleet::read(state.store()).await?;
    let missing = || {
        ApiError::not_found(
            "NodeNotFound",
            format!("there is no node '{name}'; GET /v1/nodes lists them"),
        )
    };
    let node = fleet.nodes.get(&name).ok_or_else(missing)?;
    Ok(Json(view(node, &fleet, &principal)).into_response())
}
