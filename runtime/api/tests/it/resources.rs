//! Groups, workspaces, experiments, clusters, nodes and the daemon itself.

use lote_model::cluster::ClusterStatus;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::state::AllocationState;
use lote_model::workspace::WorkspaceRecord;
use serde_json::{Value, json};

use crate::daemon::{Daemon, LAB, PROVIDER, VERSION, cluster_body, name, rm, workspace_path};

#[test]
fn a_workspace_makes_its_group_for_old_clients_only() {
    let daemon = Daemon::start();
    daemon
        .put(&format!("{LAB}/ws"), &json!({}))
        .expect_error(404, "ResourceGroupNotFound");
    daemon
        .put(
            &rm("/workspaces/ws"),
            &json!({"location": "eastus", "tags": {"a": "b"}}),
        )
        .expect(200);
    let group = daemon
        .get(&format!("/subscriptions/sub/resourcegroups/LAB?{VERSION}"))
        .expect(200);
    assert_eq!(group["properties"]["provisioningState"], "Succeeded");
    assert_eq!(
        daemon.request("HEAD", "/v1/groups/lab", &[], b"").status,
        204
    );
    assert_eq!(
        daemon.request("HEAD", "/v1/groups/none", &[], b"").status,
        404
    );
    daemon
        .delete("/v1/groups/lab")
        .expect_error(409, "ResourceGroupNotEmpty");
    daemon
        .put("/v1/groups/empty", &json!({"location": "x"}))
        .expect(200);
    assert_eq!(
        daemon.get("/v1/groups").expect(200)["value"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    daemon.delete("/v1/groups/empty").expect(200);
    daemon.delete("/v1/groups/empty").expect(204);
}

#[test]
fn workspaces_are_created_once_and_updated_by_tags() {
    let daemon = Daemon::start();
    let created = daemon
        .put(
            &rm("/workspaces/Ws"),
            &json!({"location": "eastus", "tags": {"a": "b"}}),
        )
        .expect(200);
    daemon.advance(5);
    let revision = daemon.revision();
    for body in [
        json!({"location": "EastUS"}),
        json!({"location": "eastus", "tags": null}),
        json!({"location": "eastus", "tags": {"a": "b"}}),
    ] {
        assert_eq!(
            daemon.put(&rm("/WORKSPACES/wS"), &body).expect(200),
            created,
            "the first one's times and spelling"
        );
    }
    let error = daemon
        .put(&rm("/workspaces/ws"), &json!({"location": "westus"}))
        .expect_error(409, "WorkspaceAlreadyExists");
    assert_eq!(error["target"], "/location");
    daemon
        .put(
            &rm("/workspaces/ws"),
            &json!({"location": "eastus", "tags": {}}),
        )
        .expect_error(409, "WorkspaceAlreadyExists");
    assert_eq!(daemon.revision(), revision);
    let patched = daemon
        .patch(&rm("/workspaces/ws"), &json!({"tags": {"c": "d"}}))
        .expect(200);
    assert_eq!(patched["tags"], json!({"c": "d"}));
    assert_eq!(daemon.get(&rm("/workspaces/ws")).expect(200), patched);
    daemon
        .patch(&rm("/workspaces/none"), &json!({"tags": {}}))
        .expect_error(404, "WorkspaceNotFound");
    daemon
        .get(&rm("/workspaces/none"))
        .expect_error(404, "WorkspaceNotFound");
}

#[test]
fn each_workspace_has_a_user_id_of_its_own() {
    let daemon = Daemon::start();
    for workspace in ["a", "b", "c"] {
        daemon
            .put(
                &rm(&format!("/workspaces/{workspace}")),
                &json!({"location": "local"}),
            )
            .expect(200);
    }
    let ids: Vec<u32> = ["a", "b", "c"]
        .map(|text| {
            let path = lote_model::path::WorkspacePath {
                workspace: name(text),
                ..workspace_path()
            };
            daemon
                .read::<WorkspaceRecord>(&key::workspace(&path))
                .unwrap()
                .unix_id
                .0
        })
        .into();
    assert_eq!(ids, [2_000_000, 2_000_001, 2_000_002]);
}

#[test]
fn ids_follow_the_prefix_of_the_request() {
    let daemon = Daemon::start();
    daemon.furnish();
    let id = |path: &str| {
        daemon.get(path).expect(200)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        id("/V1/GROUPS/LAB/WORKSPACES/WS/EXPERIMENTS/E"),
        "/v1/groups/lab/workspaces/ws/experiments/e"
    );
    assert_eq!(
        id(&rm("/workspaces/WS/CLUSTERS/c")),
        format!("{PROVIDER}/workspaces/ws/clusters/c")
    );
    let all = format!("/subscriptions/other/providers/microsoft.batchai/workspaces?{VERSION}");
    let all = daemon.get(&all).expect(200);
    assert_eq!(
        all["value"][0]["id"],
        "/subscriptions/other/resourceGroups/lab/providers/Microsoft.BatchAI/workspaces/ws"
    );
}

#[test]
fn experiments_need_no_body_and_a_workspace() {
    let daemon = Daemon::start();
    daemon.furnish();
    let url = rm("/workspaces/ws/experiments/E2");
    let created = daemon
        .request("PUT", &url, &[("content-type", "application/json")], b"")
        .expect(200);
    daemon.advance(3);
    assert_eq!(daemon.put(&url, &json!({})).expect(200), created);
    daemon
        .put(&rm("/workspaces/none/experiments/e"), &json!({}))
        .expect_error(404, "WorkspaceNotFound");
    daemon
        .get(&rm("/workspaces/ws/experiments/none"))
        .expect_error(404, "ExperimentNotFound");
    daemon
        .get(&rm("/workspaces/none/experiments/none"))
        .expect_error(404, "WorkspaceNotFound");
    daemon
        .get(&rm("/workspaces/none/experiments"))
        .expect_error(404, "WorkspaceNotFound");
    let names = daemon.get(&rm("/workspaces/ws/experiments")).expect(200);
    assert_eq!(names["value"][1]["name"], "E2");
}

#[test]
fn clusters_count_their_nodes_by_what_they_do() {
    let daemon = Daemon::start();
    daemon.furnish();
    let url = rm("/workspaces/ws/clusters/c");
    let fresh = daemon.get(&url).expect(200)["properties"].clone();
    assert_eq!(fresh["allocationState"], "resizing");
    assert_eq!(fresh["nodeStateCounts"].as_object().unwrap().len(), 5);
    assert_eq!(fresh["vmSize"], "CPU");
    for node in ["idle", "busy", "leaving", "silent", "sick"] {
        daemon.write(&format!("nodes/{node}"), &node_record(node, node == "sick"));
        if node != "silent" {
            daemon.write(&format!("alive/{node}"), &json!({}));
        }
    }
    daemon.write("allocations/busy/some-job", &json!({}));
    let nodes = |names: &[&str]| names.iter().map(|name| NodeName::new(*name)).collect();
    let status = ClusterStatus {
        nodes: nodes(&["idle", "busy", "leaving", "silent", "sick"]),
        leaving: nodes(&["leaving"]),
        allocation_state: AllocationState::Steady,
        ..ClusterStatus::default()
    };
    daemon.write(
        &key::cluster_status(&workspace_path().child(name("c"))),
        &status,
    );
    let properties = daemon.get(&url).expect(200)["properties"].clone();
    assert_eq!(properties["currentNodeCount"], 5);
    let counts = json!({"idleNodeCount": 1, "runningNodeCount": 1, "preparingNodeCount": 0, "unusableNodeCount": 2, "leavingNodeCount": 1});
    assert_eq!(properties["nodeStateCounts"], counts);
    assert_eq!(properties["allocationState"], "steady");
    let states = daemon.get("/v1/nodes").expect(200);
    let state = |at: usize| states["value"][at]["properties"]["state"].clone();
    assert_eq!(
        [state(0), state(3), state(4)],
        [json!("ready"), json!("unhealthy"), json!("lost")],
        "{states}"
    );
    assert_eq!(
        daemon.get("/v1/nodes/BUSY").expect(200)["properties"]["jobs"],
        1
    );
    daemon
        .get("/v1/nodes/none")
        .expect_error(404, "NodeNotFound");
}

pub(crate) fn node_record(name: &str, sick: bool) -> Value {
    let condition = json!({"code": "DiskFull", "message": "free some space", "blocksJobs": true, "since": "2018-07-02T10:00:00Z"});
    json!({
        "name": name, "labels": {"rack": "r1"}, "address": format!("{name}.lan"), "size": "cpu", "version": "0.1.0", "bootId": "b",
        "cpuCores": 4, "memoryBytes": 1_u64 << 33, "portsFirst": 20_000, "portsCount": 1000,
        "workDirectory": "/work", "isolation": [], "startedAt": "2018-07-02T10:00:00Z",
        "conditions": if sick { vec![condition] } else { vec![] },
    })
}

#[test]
fn clusters_are_scaled_and_otherwise_fixed() {
    let daemon = Daemon::start();
    daemon.furnish();
    let url = rm("/workspaces/ws/clusters/c");
    let first = daemon.get(&url).expect(200);
    assert_eq!(daemon.put(&url, &cluster_body()).expect(200), first);
    let mut resubmitted = first.clone();
    resubmitted["properties"]["vmSize"] = json!("Cpu");
    assert_eq!(
        daemon.put(&url, &resubmitted).expect(200),
        first,
        "an answer can be sent back"
    );
    let mut other = cluster_body();
    other["properties"]["vmPriority"] = json!("lowpriority");
    daemon
        .put(&url, &other)
        .expect_error(409, "ClusterAlreadyExists");
    assert!(!first.to_string().contains("secret"));
    let scale = json!({"properties": {"scaleSettings": {"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 3}}}});
    let scaled = daemon.patch(&url, &scale).expect(200);
    assert_eq!(
        scaled["properties"]["scaleSettings"],
        json!({"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 3, "initialNodeCount": 0}})
    );
    assert_eq!(
        daemon.get(&rm("/workspaces/ws/clusters")).expect(200)["value"],
        json!([scaled])
    );
    daemon
        .patch(&rm("/workspaces/ws/clusters/none"), &scale)
        .expect_error(404, "ClusterNotFound");
    daemon
        .patch(&url, &json!({"properties": {"vmSize": "x"}}))
        .expect_error(400, "InvalidParameter");
    daemon
        .put(&rm("/workspaces/none/clusters/c"), &cluster_body())
        .expect_error(404, "WorkspaceNotFound");
}

#[test]
fn the_daemon_speaks_about_itself() {
    let daemon = Daemon::start();
    daemon.get("/healthz").expect(200);
    daemon.get("/readyz").expect(200);
    assert_eq!(
        daemon.get("/v1/version").expect(200)["apiVersions"],
        json!(["2018-05-01"])
    );
    assert_eq!(
        daemon.get("/v1/plugins").expect(200)["value"][1]["name"],
        "pyTorchSettings"
    );
}
