//! Where people log in.

use lote_model::cluster::ClusterStatus;
use lote_model::id::NodeName;
use lote_model::job::JobStatus;
use lote_model::key;
use lote_model::state::ExecutionState;
use serde_json::{Value, json};

use crate::daemon::{Daemon, LAB, job_url, name, rm, rm_job, running, succeeded, workspace_path};
use crate::resources::node_record;

const OF_CLUSTER: &str = "/workspaces/ws/clusters/c/listRemoteLoginInformation";

fn names(nodes: &[&str]) -> Vec<NodeName> {
    nodes.iter().map(|node| NodeName::new(*node)).collect()
}

/// Three nodes of cluster `c`; the SSH server of `b` listens elsewhere.
fn furnished() -> Daemon {
    let daemon = Daemon::start();
    daemon.furnish();
    for node in ["a", "b", "c"] {
        let mut record = node_record(node, false);
        if node == "b" {
            record["sshPort"] = json!(2222);
        }
        daemon.write(&format!("nodes/{node}"), &record);
    }
    let status = ClusterStatus {
        nodes: names(&["a", "b", "c"]).into_iter().collect(),
        ..ClusterStatus::default()
    };
    let path = workspace_path().child(name("c"));
    daemon.write(&key::cluster_status(&path), &status);
    daemon
}

fn ids(list: &Value) -> Vec<&str> {
    let values = list["value"].as_array().unwrap();
    values
        .iter()
        .map(|node| node["nodeId"].as_str().unwrap())
        .collect()
}

#[test]
fn a_cluster_tells_address_and_port_of_its_nodes() {
    let daemon = furnished();
    insta::assert_json_snapshot!(
        "remote-login-cluster",
        daemon.post(&rm(OF_CLUSTER)).expect(200)
    );
    let ours = daemon.post(&format!("{LAB}/ws/clusters/c/listRemoteLoginInformation"));
    assert_eq!(
        ours.expect(200),
        daemon.post(&rm(&OF_CLUSTER.to_lowercase())).expect(200)
    );
    daemon
        .get(&rm(OF_CLUSTER))
        .expect_error(405, "MethodNotAllowed");
    daemon
        .post(&rm(
            "/workspaces/ws/clusters/none/listRemoteLoginInformation",
        ))
        .expect_error(404, "ClusterNotFound");
    daemon
        .post(&rm(
            "/workspaces/none/clusters/c/listRemoteLoginInformation",
        ))
        .expect_error(404, "WorkspaceNotFound");
}

#[test]
fn further_pages_are_asked_for_with_post() {
    let daemon = furnished();
    let first = daemon
        .post(&rm(&format!("{OF_CLUSTER}?maxresults=2")))
        .expect(200);
    assert_eq!(ids(&first), ["a", "b"]);
    let next = first["nextLink"].as_str().unwrap();
    assert!(next.starts_with(&daemon.url("/subscriptions/")), "{next}");
    let second = daemon.post(next).expect(200);
    assert_eq!((ids(&second), second.get("nextLink")), (vec!["c"], None));
    daemon
        .post(&rm(&format!("{OF_CLUSTER}?maxresults=0")))
        .expect_error(400, "InvalidParameter");
}

#[test]
fn an_empty_cluster_has_no_nodes() {
    let daemon = Daemon::start();
    daemon.furnish();
    assert_eq!(
        daemon.post(&rm(OF_CLUSTER)).expect(200),
        json!({"value": []})
    );
}

#[test]
fn a_job_tells_its_nodes_in_rank_order_while_it_has_them() {
    let daemon = furnished();
    let record = daemon.submit("j");
    let list = || {
        daemon
            .post(&rm_job("j", "/listRemoteLoginInformation"))
            .expect(200)
    };
    assert_eq!(list(), json!({"value": []}), "it is queued");
    let status = JobStatus {
        nodes: names(&["c", "a"]),
        ..running(&record, daemon.now())
    };
    daemon.set_status(&status, "j");
    assert_eq!(ids(&list()), ["c", "a"]);
    let first = daemon
        .post(&rm_job("j", "/listRemoteLoginInformation?maxresults=1"))
        .expect(200);
    let second = daemon.post(first["nextLink"].as_str().unwrap()).expect(200);
    assert_eq!((ids(&first), ids(&second)), (vec!["c"], vec!["a"]));
    for state in [ExecutionState::Queued, ExecutionState::Failed] {
        daemon.set_status(
            &JobStatus {
                state,
                ..status.clone()
            },
            "j",
        );
        assert_eq!(list(), json!({"value": []}), "{state:?}");
    }
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    let ours = daemon.post(&format!("{}/listremotelogininformation", job_url("j")));
    assert_eq!(ours.expect(200), json!({"value": []}));
    daemon
        .post(&rm_job("none", "/listRemoteLoginInformation"))
        .expect_error(404, "JobNotFound");
}
