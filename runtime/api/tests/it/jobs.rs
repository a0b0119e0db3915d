//! Jobs from PUT to their end, as clients see them.

use lote_model::allocation::{GangMember, NodePlan};
use lote_model::duration::Seconds;
use lote_model::export::ExportState;
use lote_model::id::{FileServerUid, NodeName, UnixId};
use lote_model::job::{ErrorRecord, JobStatus};
use lote_model::key;
use lote_model::plan::{LaunchPlan, PlanFile, Variable};
use lote_model::planned_mount::{
    BlobsSource, FileServerSource, GangShare, MountSource, PlannedMount, PlannedMounts,
};
use lote_model::state::ExecutionState;
use serde_json::{Value, json};

use crate::daemon::{
    Daemon, LAB, NODE, PROVIDER, job_body, job_path, job_url, rm, rm_job, running, succeeded,
};

#[test]
fn a_second_put_answers_the_first_one_s_job() {
    let daemon = Daemon::start();
    daemon.furnish();
    let created = daemon.put(&job_url("j"), &job_body()).expect(200);
    let revision = daemon.revision();
    daemon.advance(10);
    assert_eq!(daemon.put(&job_url("J"), &job_body()).expect(200), created);
    let mut same = job_body();
    same["properties"]["cluster"]["id"] = json!(format!("{PROVIDER}/workspaces/WS/clusters/C"));
    same["properties"]["schedulingPriority"] = json!("normal");
    same["$schema"] = json!("x");
    assert_eq!(
        daemon.put(&job_url("j"), &same).expect(200),
        created,
        "the same job in other words"
    );
    assert_eq!(
        daemon.put(&job_url("j"), &created).expect(200),
        created,
        "an answer can be sent back"
    );
    let mut other = job_body();
    other["properties"]["nodeCount"] = json!(2);
    daemon
        .put(&job_url("j"), &other)
        .expect_error(409, "JobAlreadyExists");
    assert_eq!(daemon.revision(), revision);
    daemon.delete(&job_url("j")).expect(202);
    daemon
        .put(&job_url("j"), &job_body())
        .expect_error(409, "JobBeingDeleted");
}

#[test]
fn a_job_needs_what_holds_it() {
    let daemon = Daemon::start();
    daemon.furnish();
    let revision = daemon.revision();
    let mut body = job_body();
    body["properties"]["cluster"]["id"] = json!("/v1/groups/lab/workspaces/ws/clusters/none");
    let error = daemon
        .put(&job_url("j"), &body)
        .expect_error(400, "ClusterNotFound");
    assert_eq!(error["target"], "/properties/cluster/id");
    daemon
        .put(&format!("{LAB}/ws/experiments/none/jobs/j"), &job_body())
        .expect_error(404, "ExperimentNotFound");
    daemon
        .put(&format!("{LAB}/none/experiments/e/jobs/j"), &job_body())
        .expect_error(404, "WorkspaceNotFound");
    let error = daemon.get(&job_url("j9")).expect_error(404, "JobNotFound");
    assert_eq!(error["message"], "The specified job j9 is not found");
    daemon
        .get(&format!("{LAB}/ws/experiments/none/jobs/j"))
        .expect_error(404, "ExperimentNotFound");
    daemon
        .get(&format!("{LAB}/ws/experiments/none/jobs"))
        .expect_error(404, "ExperimentNotFound");
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn a_second_put_needs_no_cluster_any_more() {
    let daemon = Daemon::start();
    daemon.furnish();
    let created = daemon.put(&job_url("j"), &job_body()).expect(200);
    daemon.commit(lote_store::Transaction::new().delete("clusters/lab/ws/c"));
    assert_eq!(daemon.put(&job_url("j"), &job_body()).expect(200), created);
    daemon
        .put(&job_url("k"), &job_body())
        .expect_error(400, "ClusterNotFound");
}

/// A plugin that Batch AI has no member for.
#[test]
fn a_plugin_is_named_and_its_settings_come_back_below_its_name() {
    let daemon = Daemon::start();
    daemon.furnish();
    let body = |name: &str, settings: Value| {
        let mut body = job_body();
        let properties = body["properties"].as_object_mut().unwrap();
        properties.remove("customToolkitSettings");
        properties.insert(
            "pluginSettings".into(),
            json!({"name": name, "settings": settings}),
        );
        body
    };
    let good = body("relay@1.0.0", json!({"commandLine": "true"}));
    let created = daemon.put(&job_url("j"), &good).expect(200);
    let properties = &created["properties"];
    assert_eq!(properties["toolType"], "relay");
    assert_eq!(
        properties["pluginSettings"],
        good["properties"]["pluginSettings"]
    );
    assert_eq!(
        properties["lote"]["framework"],
        json!({"name": "relay", "version": "1.0.0", "digest": "00"})
    );
    assert_eq!(
        daemon.job("j").framework.asked,
        Some("relay@1.0.0".parse().unwrap())
    );
    // What a client was answered, it may send again.
    let again = json!({"properties": properties});
    assert_eq!(daemon.put(&job_url("j"), &again).expect(200), created);

    let refused = daemon
        .put(&job_url("k"), &body("relay", json!({})))
        .expect_error(400, "InvalidSettings");
    assert_eq!(
        refused["target"],
        "/properties/pluginSettings/settings/commandLine"
    );
    let refused = daemon
        .put(
            &job_url("k"),
            &body("relay@2.0.0", json!({"commandLine": "true"})),
        )
        .expect_error(400, "FrameworkNotAvailable");
    assert_eq!(refused["target"], "/properties/pluginSettings/name");

    let mut pinned = job_body();
    pinned["properties"]["lote"] = json!({"plugin": "custom@2.0.0"});
    let refused = daemon
        .put(&job_url("k"), &pinned)
        .expect_error(400, "FrameworkNotAvailable");
    assert_eq!(refused["target"], "/properties/lote/plugin");
}

#[test]
fn the_record_has_what_the_leader_needs() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.put(&rm_job("j", ""), &job_body()).expect(200);
    let record = daemon.job("j");
    assert_eq!(record.unix_id, UnixId::FIRST);
    assert_eq!(record.framework.tool_type, "custom");
    let expected = format!("sub/lab/workspaces/ws/experiments/e/jobs/j/{}", record.uid);
    assert_eq!(record.output_segment, expected);
    assert_eq!(
        daemon.submit("k").output_segment.split('/').next(),
        Some("lab")
    );
}

#[test]
fn an_old_status_of_the_name_means_nothing() {
    let daemon = Daemon::start();
    daemon.furnish();
    let old = daemon.submit("j");
    daemon.set_status(&succeeded(&old, daemon.now()), "j");
    let path = job_path("j");
    daemon.commit(lote_store::Transaction::new().delete(key::job(&path)));
    daemon.submit("j");
    daemon.advance(60);
    assert_eq!(
        daemon.get(&job_url("j")).expect(200)["properties"]["executionState"],
        "queued"
    );
    let list = daemon
        .get(&format!("{LAB}/ws/experiments/e/jobs"))
        .expect(200);
    assert_eq!(list["value"][0]["properties"]["executionState"], "queued");
}

#[test]
fn states_are_told_as_the_leader_writes_them() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    let properties = || daemon.get(&job_url("j")).expect(200)["properties"].clone();
    assert_eq!(properties()["executionState"], "queued");
    assert!(properties()["executionInfo"].is_null());
    let waiting = JobStatus {
        state: ExecutionState::Queued,
        attempt: 0,
        start_time: None,
        nodes: vec![],
        waiting: Some("needs 1 node of size cpu".into()),
        ..running(&record, daemon.now())
    };
    daemon.set_status(&waiting, "j");
    assert_eq!(properties()["lote"]["waiting"], "needs 1 node of size cpu");
    assert!(properties()["executionInfo"].is_null());
    daemon.set_status(&running(&record, daemon.now()), "j");
    assert_eq!(
        properties()["executionInfo"],
        json!({"startTime": "2018-07-02T10:00:00Z"})
    );
    assert_eq!(properties()["lote"]["nodes"], json!([NODE]));
    daemon.advance(5);
    daemon
        .post(&format!("{}/terminate", job_url("j")))
        .expect(202);
    assert_eq!(properties()["executionState"], "terminating");
    assert_eq!(
        properties()["executionStateTransitionTime"],
        "2018-07-02T10:00:05Z"
    );
    let error = ErrorRecord::new(
        "JobTerminated",
        "The specified job has been terminated by the user",
    );
    let failed = JobStatus {
        state: ExecutionState::Failed,
        state_since: daemon.now(),
        end_time: Some(daemon.now()),
        errors: vec![error],
        ..running(&record, daemon.now())
    };
    daemon.set_status(&failed, "j");
    let info = properties()["executionInfo"].clone();
    assert_eq!(info["errors"][0]["code"], "JobTerminated");
    assert!(info.get("exitCode").is_none(), "{info}");
}

#[test]
fn old_clients_see_an_end_two_seconds_later() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    daemon.advance(10);
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    let lists = [
        format!("{LAB}/ws/experiments/e/jobs"),
        rm("/workspaces/ws/experiments/e/jobs"),
    ];
    let new = || daemon.get(&job_url("j")).expect(200)["properties"].clone();
    let old = || daemon.get(&rm_job("j", "")).expect(200)["properties"].clone();
    let listed = |at: usize| {
        daemon.get(&lists[at]).expect(200)["value"][0]["properties"]["executionState"].clone()
    };
    assert_eq!(new()["executionState"], "succeeded");
    assert_eq!(old()["executionState"], "running");
    assert_eq!(
        old()["executionInfo"],
        json!({"startTime": "2018-07-02T10:00:10Z"})
    );
    assert_eq!(
        [listed(0), listed(1)],
        [json!("succeeded"), json!("running")]
    );
    daemon.advance(1);
    assert_eq!(old()["executionState"], "running");
    daemon.advance(1);
    assert_eq!(old()["executionState"], "succeeded");
    assert_eq!(old()["executionInfo"]["exitCode"], 0);
    assert_eq!(listed(1), "succeeded");
}

#[test]
fn terminating_a_finished_job_does_nothing() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    let revision = daemon.revision();
    let reply = daemon.post(&rm_job("j", "/terminate"));
    assert_eq!((reply.status, reply.bytes.len()), (200, 0));
    assert_eq!(daemon.revision(), revision);
    daemon
        .post(&rm_job("none", "/terminate"))
        .expect_error(404, "JobNotFound");
}

#[test]
fn a_dry_run_shows_the_plan_and_stores_nothing() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.write("nodes/a", &crate::resources::node_record("a", false));
    let revision = daemon.revision();
    let mut body = job_body();
    body["properties"]["nodeCount"] = json!(2);
    let url = format!("{}/plan", job_url("new"));
    let plan =
        |body: &serde_json::Value| daemon.request("POST", &url, &[], body.to_string().as_bytes());
    let answer = plan(&body).expect(200);
    assert_eq!(answer["imagined"], true);
    assert_eq!(answer["plugin"], "custom 1.0.0");
    assert_eq!(
        answer["nodes"][0],
        json!({"rank": 0, "name": "a", "address": "a.lan"})
    );
    assert_eq!(answer["processes"].as_array().unwrap().len(), 2);
    assert_eq!(
        answer["variables"],
        json!([{"name": "WORLD", "value": "2"}])
    );
    assert_eq!(answer["mounts"], json!([]));
    body["properties"]["mountVolumes"] = json!({
        "fileServers": [{"fileServer": {"id": "/v1/groups/lab/workspaces/ws/fileServers/nfs"},
            "relativeMountPath": "nfs", "mountOptions": "ro"}],
        "azureFileShares": [{"accountName": "a", "azureFileUrl": "https://a.file.example/s",
            "credentials": {"accountKey": "c2VjcmV0"}, "relativeMountPath": "afs"}]});
    let answer = plan(&body).expect(200);
    assert_eq!(
        answer["mounts"],
        json!([
            {"level": "job", "path": "$AZ_BATCHAI_JOB_MOUNT_ROOT/afs", "kind": "fileShare",
                "source": "https://a.file.example/s", "address": null, "options": null},
            {"level": "job", "path": "$AZ_BATCHAI_JOB_MOUNT_ROOT/nfs", "kind": "fileServer",
                "source": "nfs", "address": null, "options": "ro"}])
    );
    body["properties"]["customToolkitSettings"] = json!({});
    let error = plan(&body).expect_error(400, "InvalidSettings");
    assert_eq!(
        error["target"],
        "/properties/customToolkitSettings/commandLine"
    );
    body["properties"]["customToolkitSettings"] = json!({"commandLine": "unplannable"});
    let error = plan(&body).expect_error(400, "PluginFailed");
    assert_eq!(
        error["details"][0],
        json!({"code": "step", "message": "plan"})
    );
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn the_stored_plan_is_put_together() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    let url = format!("{}/plan", job_url("j"));
    daemon.get(&url).expect_error(404, "PlanNotFound");
    daemon.set_status(
        &JobStatus {
            attempt: 2,
            ..running(&record, daemon.now())
        },
        "j",
    );
    let file = |node: Option<u32>, path: &str| PlanFile {
        node,
        path: path.into(),
        contents: "x".into(),
        executable: false,
    };
    for rank in 0..2 {
        let plan = NodePlan {
            job: record.path.clone(),
            uid: record.uid.clone(),
            attempt: 2,
            rank,
            gang: ["a", "b"]
                .map(|node| GangMember {
                    node: NodeName::new(node),
                    address: node.into(),
                })
                .into(),
            plugin: "custom 1.0.0".into(),
            launch: LaunchPlan {
                variables: vec![Variable::new("A", "1")],
                files: vec![
                    file(None, "hosts"),
                    file(Some(rank), &format!("own-{rank}")),
                ],
                ..LaunchPlan::default()
            },
            primaries_elsewhere: false,
            mounts: mounts(),
            container: None,
            user_variables: vec![],
            secret_variables: vec![],
            master_port: None,
            peer_launcher: false,
            preparation: Some("prepare".into()),
            std_out_err_path_prefix: "/x".into(),
            input_directories: vec![],
            output_directories: vec![],
            output_segment: "s".into(),
            working_directory: None,
            unix_id: record.unix_id,
            cluster: "c".into(),
            grace_period: Seconds(30),
            previous_node: None,
        };
        daemon.write(&key::plan(&record.uid, 2, rank), &plan);
    }
    let plan = daemon.get(&url).expect(200);
    let paths: Vec<&str> = plan["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["hosts", "own-0", "own-1"]);
    assert_eq!(
        (plan["attempt"].clone(), plan["preparation"].clone()),
        (json!(2), json!("prepare"))
    );
    assert_eq!(plan["variables"].as_array().unwrap().len(), 1);
    assert_eq!(
        plan["sharedDirectory"],
        json!({"address": null, "lacks": "no server"})
    );
    assert_eq!(
        plan["mounts"],
        json!([
            {"level": "cluster", "path": "$AZ_BATCHAI_MOUNT_ROOT/data", "kind": "fileServer",
                "source": "nfs", "address": "10.0.0.4:/srv/nfs/sets", "options": "ro"},
            {"level": "job", "path": "$AZ_BATCHAI_JOB_MOUNT_ROOT/blobs", "kind": "blobs",
                "source": "a/c", "address": null, "options": null},
            {"level": "job", "path": "$AZ_BATCHAI_JOB_MOUNT_ROOT/x", "kind": "command",
                "source": "mount -t x y", "address": null, "options": null}])
    );
}

fn mounts() -> PlannedMounts {
    let ExportState::Serving(point) = crate::file_servers::serving() else {
        panic!("it serves")
    };
    let mount = |path: &str, source| PlannedMount {
        relative_path: path.into(),
        source,
    };
    PlannedMounts {
        cluster: vec![mount(
            "data",
            MountSource::FileServer(FileServerSource {
                name: "nfs".into(),
                uid: FileServerUid::new("u"),
                node: NodeName::new("nas"),
                address: "10.0.0.4".into(),
                point,
                directory: Some("sets".into()),
                options: Some("ro".into()),
            }),
        )],
        job: vec![
            mount(
                "blobs",
                MountSource::Blobs(BlobsSource {
                    account: "a".into(),
                    container: "c".into(),
                    options: None,
                }),
            ),
            mount("x", MountSource::Command("mount -t x y".into())),
        ],
        share: GangShare::Lacks("no server".into()),
    }
}
