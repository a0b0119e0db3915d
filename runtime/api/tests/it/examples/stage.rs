//! What must be there for an exchange to make sense: whatever its path names,
//! made with the bodies of the other exchanges, and what the leader and the
//! nodes would have written by then.

use lote_model::cluster::ClusterStatus;
use lote_model::id::NodeName;
use lote_model::job::JobRecord;
use lote_model::key;
use lote_model::name::{GroupName, ResourceName};
use lote_model::path::{JobPath, WorkspacePath};
use lote_model::state::AllocationState;
use serde_json::{Value, json};

use super::Example;
use crate::daemon::{Daemon, NODE, location, running};
use crate::resources::node_record;

/// Makes everything but what the exchange itself creates.
pub(super) fn set(daemon: &Daemon, example: &Example) {
    let group = or(
        example.parameter("resourceGroupName"),
        "demo_resource_group",
    );
    let workspace = or(example.parameter("workspaceName"), "demo_workspace");
    let home = format!("/v1/groups/{group}/workspaces/{workspace}");
    daemon
        .put(&format!("/v1/groups/{group}"), &json!({}))
        .expect(200);
    if example.name == "PutWorkspace" {
        return;
    }
    daemon
        .put(&home, &json!({"location": "eastus", "tags": {"k": "v"}}))
        .expect(200);
    if example.name != "PutCluster" {
        cluster(daemon, &home, example);
    }
    if example.name != "PutFileServer" {
        file_server(daemon, &home, example);
    }
    let experiment = or(example.parameter("experimentName"), "demo_experiment");
    if example.name != "PutExperiment" {
        daemon
            .request("PUT", &format!("{home}/experiments/{experiment}"), &[], b"")
            .expect(200);
    }
    let without_job = ["PutExperiment", "PutCluster", "PutJob", "DeleteExperiment"];
    if !without_job.contains(&example.name) {
        job(daemon, group, workspace, experiment);
    }
}

fn or<'a>(given: &'a str, default: &'a str) -> &'a str {
    if given.is_empty() { default } else { given }
}

fn body_of(name: &'static str) -> Value {
    Example::read(name).parameters["parameters"].clone()
}

fn workspace_path(group: &str, workspace: &str) -> WorkspacePath {
    WorkspacePath {
        group: GroupName::new(group).unwrap(),
        workspace: ResourceName::new(workspace).unwrap(),
    }
}

/// A cluster with one node, which runs.
fn cluster(daemon: &Daemon, home: &str, example: &Example) {
    let name = or(example.parameter("clusterName"), "demo_cluster");
    daemon
        .put(&format!("{home}/clusters/{name}"), &body_of("PutCluster"))
        .expect(200);
    daemon.write(&key::node(&NodeName::new(NODE)), &node_record(NODE, false));
    daemon.write(&key::alive(&NodeName::new(NODE)), &json!({}));
    let parts: Vec<&str> = home.split('/').collect();
    let path = workspace_path(parts[3], parts[5]).child(ResourceName::new(name).unwrap());
    let status = ClusterStatus {
        nodes: [NodeName::new(NODE)].into(),
        allocation_state: AllocationState::Steady,
        ..ClusterStatus::default()
    };
    daemon.write(&key::cluster_status(&path), &status);
}

fn file_server(daemon: &Daemon, home: &str, example: &Example) {
    let name = or(example.parameter("fileServerName"), "fileservercedd134b");
    let reply = daemon.put(
        &format!("{home}/fileservers/{name}"),
        &body_of("PutFileServer"),
    );
    assert!([200, 202].contains(&reply.status), "{reply:?}");
}

/// A running job with the files that the example lists.
fn job(daemon: &Daemon, group: &str, workspace: &str, experiment: &str) {
    let parent = workspace_path(group, workspace).child(ResourceName::new(experiment).unwrap());
    let path = JobPath::new(&parent, ResourceName::new("demo_job").unwrap());
    let url =
        format!("/v1/groups/{group}/workspaces/{workspace}/experiments/{experiment}/jobs/demo_job");
    let mut body = body_of("PutJob");
    body["properties"]["cluster"]["id"] = json!(format!(
        "/v1/groups/{group}/workspaces/{workspace}/clusters/demo_cluster"
    ));
    let reply = daemon.put(&url, &body);
    if reply.status != 200 {
        // Exchanges about another cluster need no job.
        reply.expect_error(400, "ClusterNotFound");
        return;
    }
    let record: JobRecord = daemon.read(&key::job(&path)).unwrap();
    let output = daemon.folder.path().join("stdouterr");
    std::fs::create_dir_all(&output).unwrap();
    for file in [
        "stderr-job_prep.txt",
        "stdout-job_prep.txt",
        "stderr.txt",
        "stdout.txt",
    ] {
        std::fs::write(output.join(file), "x").unwrap();
    }
    let mut status = running(&record, daemon.now());
    status.directories = vec![location("stdouterr", NODE, &output)];
    daemon.write(&key::job_status(&path), &status);
}
