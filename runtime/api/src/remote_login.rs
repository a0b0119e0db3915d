//! Where people log in: the SSH addresses of the nodes of a cluster or a job
//! (capabilities §8.3).

use axum::extract::State;
use lote_model::cluster::{ClusterRecord, ClusterStatus};
use lote_model::id::NodeName;
use lote_model::job::JobStatus;
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_model::path::JobPath;
use lote_model::state::ExecutionState;
use lote_store::get_json;
use serde_json::{Value, json};

use crate::error::Answer;
use crate::jobs::Job;
use crate::page::{PageRequest, page};
use crate::records::{self, Kind};
use crate::request::{At, AtCluster, Caller, Parameters};
use crate::state::ApiState;

fn view(node: &NodeRecord) -> Value {
    json!({"nodeId": node.name, "ipAddress": node.address, "port": node.ssh_port})
}

/// All nodes that a cluster has now.
pub(crate) async fn of_cluster(
    State(state): State<ApiState>,
    caller: Caller,
    AtCluster(path): AtCluster,
    parameters: Parameters,
) -> Answer {
    let store = state.store();
    if get_json::<ClusterRecord>(store, &key::cluster(&path))
        .await?
        .is_none()
    {
        let missing = Kind::Cluster.missing(&path.name);
        return Err(records::missing_child(store, &path.workspace, missing).await);
    }
    let status = get_json::<ClusterStatus>(store, &key::cluster_status(&path)).await?;
    let nodes = status.map(|status| status.value.nodes).unwrap_or_default();
    list(&state, &caller, &parameters, nodes.into_iter().collect()).await
}

/// The nodes of a job in rank order, while it has them.
pub(crate) async fn of_job(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<JobPath>,
    parameters: Parameters,
) -> Answer {
    let job = Job::read(state.store(), &path).await?;
    let nodes = job.status().map(held).unwrap_or_default();
    list(&state, &caller, &parameters, nodes.to_vec()).await
}

/// A status keeps the nodes of an attempt that is over; they are others' then.
fn held(status: &JobStatus) -> &[NodeName] {
    match status.state {
        ExecutionState::Running | ExecutionState::Terminating => &status.nodes,
        ExecutionState::Queued | ExecutionState::Succeeded | ExecutionState::Failed => &[],
    }
}

/// One page of nodes; the next one goes on after the last node's name. A node
/// that left the store meanwhile has no address any more.
async fn list(
    state: &ApiState,
    caller: &Caller,
    parameters: &Parameters,
    nodes: Vec<NodeName>,
) -> Answer {
    let request = PageRequest::of(parameters)?;
    let seen = request.after.as_deref();
    let first = seen.and_then(|after| nodes.iter().position(|node| node.as_str() == after));
    let rest = &nodes[first.map_or(0, |at| at + 1)..];
    let shown = &rest[..rest.len().min(request.limit)];
    let mut values = Vec::with_capacity(shown.len());
    for name in shown {
        let node = get_json::<NodeRecord>(state.store(), &key::node(name)).await?;
        values.extend(node.map(|node| view(&node.value)));
    }
    let last = shown.last().filter(|_| shown.len() < rest.len());
    Ok(page(caller, parameters, values, last.map(NodeName::as_str)))
}
