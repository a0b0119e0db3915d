use lote_model::body;
use lote_model::id::JobUid;
use lote_model::job::JobStatus;
use lote_model::node::CONTAINERS;
use lote_model::state::ExecutionState;
use serde_json::json;

use crate::testing::{World, cluster, job, node};

fn world() -> World {
    let mut world = World::new();
    world.add_node(&node("n1").offering(CONTAINERS));
    world.put_cluster(&cluster("c").manual(1));
    world.settle();
    world
}

fn failed(world: &World, uid: &JobUid) -> JobStatus {
    let status = world.status(uid).unwrap();
    assert_eq!(status.state, ExecutionState::Failed);
    assert_eq!((status.exit_code, status.attempt), (Some(-1), 0));
    assert!(status.nodes.is_empty() && status.start_time.is_some());
    status
}

#[test]
fn a_container_is_planned_for_its_nodes() {
    let mut world = world();
    let uid = world.submit(job("container").in_container());
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
    let key = lote_model::key::plan(&uid, 1, 0);
    let plan: lote_model::allocation::NodePlan = world.ledger.get(&key).unwrap();
    assert_eq!(plan.container.unwrap().image, "ubuntu");
}

#[test]
fn a_job_whose_mounts_are_missing_fails_and_holds_no_node() {
    let mut world = world();
    let uid = world.submit(job("both").in_container().mounts("none"));
    world.advance_seconds(1);
    let plain = world.submit(job("plain"));
    world.settle();
    let errors = failed(&world, &uid).errors;
    assert_eq!(errors[0].code, lote_model::planned_mount::FILE_SERVER_ERROR);
    assert_eq!(
        world.nodes_of(&plain),
        ["n1"],
        "one that cannot start leaves the node to others at once"
    );
}

#[test]
fn it_waits_for_its_turn_and_may_be_terminated_before() {
    let mut world = world();
    let running = world.submit(job("running"));
    world.settle();
    let waiting = world.submit(job("waiting").mounts("none"));
    let unwanted = world.submit(job("unwanted").mounts("none"));
    world.settle();
    assert!(world.status(&waiting).is_none(), "it is queued");
    world.terminate(&unwanted);
    world.settle();
    assert_eq!(
        world.status(&unwanted).unwrap().errors[0].code,
        "JobTerminated"
    );
    world.end(&running, "n1", lote_model::report::Outcome::Completed);
    world.settle();
    let errors = failed(&world, &waiting).errors;
    assert_eq!(errors[0].code, lote_model::planned_mount::FILE_SERVER_ERROR);
}

#[test]
fn a_cluster_that_cannot_be_set_up_gets_no_nodes_and_says_so() {
    let mut world = world();
    for mut other in [cluster("manual").manual(1), cluster("auto").auto(1, 1)] {
        let setup = json!({"setupTask": {"commandLine": "true", "stdOutErrPathPrefix": "/o"}});
        other.0.properties.node_setup = Some(body::typed(setup, "").unwrap());
        world.put_cluster(&other);
        let name = other.0.path.name.to_string();
        let uid = world.submit(job(&name).on(&name));
        world.settle();
        world.advance_seconds(5);
        world.settle();
        let status = world.cluster_status(&other).unwrap();
        assert!(status.nodes.is_empty());
        assert_eq!(status.errors[0].code, "NodeSetupNotSupported");
        assert_eq!(status.errors[0].details[0].value, "nodeSetup.setupTask");
        let waits = world.status(&uid).unwrap();
        assert_eq!(waits.state, ExecutionState::Queued);
        assert!(waits.waiting.unwrap().contains("node set-up"));
    }
}

#[test]
fn a_cluster_with_mounts_gets_nodes() {
    let mut world = World::new();
    world.add_node(&node("n1"));
    let mut other = cluster("c").manual(1);
    let command = json!({"mountCommand": "mount -t x y", "relativeMountPath": "x"});
    let setup = json!({"mountVolumes": {"unmanagedFileSystems": [command]}});
    other.0.properties.node_setup = Some(body::typed(setup, "").unwrap());
    world.put_cluster(&other);
    let uid = world.submit(job("j"));
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
    assert!(world.cluster_status(&other).unwrap().errors.is_empty());
}

#[test]
fn counters_that_are_not_uploaded_are_said_and_keep_no_job_away() {
    let mut world = World::new();
    world.add_node(&node("n1"));
    let mut counted = cluster("c").manual(1);
    let reference = json!({"appInsightsReference": {"component": {"id": "x"}}});
    let setup = json!({"performanceCountersSettings": reference});
    counted.0.properties.node_setup = Some(body::typed(setup, "").unwrap());
    world.put_cluster(&counted);
    let uid = world.submit(job("j"));
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
    let status = world.cluster_status(&counted).unwrap();
    assert_eq!(status.errors[0].code, "PerformanceCountersNotSupported");
}

#[test]
fn secrets_go_with_what_they_belong_to() {
    use lote_model::key;
    let mut world = world();
    let uid = world.submit(job("j"));
    let done = world.submit(job("done"));
    for uid in [&uid, &done] {
        world.ledger.put(&key::job_secrets(uid), &"sealed");
    }
    let temporary = cluster("t");
    world.put_cluster(&temporary);
    world
        .ledger
        .put(&key::cluster_secrets(&temporary.0.uid), &"sealed");
    world.settle();
    for uid in [&uid, &done] {
        world.end(uid, "n1", lote_model::report::Outcome::Completed);
        world.settle();
    }
    world.delete(&done);
    world.delete_cluster(&temporary);
    let unwanted = world.submit(job("unwanted").nodes(9));
    world.ledger.put(&key::job_secrets(&unwanted), &"sealed");
    world.delete(&unwanted);
    world.settle();
    let left: Vec<_> = world
        .ledger
        .list("secrets/")
        .map(|item| item.key.clone())
        .collect();
    assert_eq!(left, [key::job_secrets(&uid)]);
}
