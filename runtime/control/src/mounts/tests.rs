use lote_model::allocation::NodePlan;
use lote_model::body;
use lote_model::file_server::FileServerRecord;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::JobStatus;
use lote_model::key;
use lote_model::planned_mount::FILE_SERVER_ERROR;
use lote_model::report::Outcome;
use lote_model::state::ExecutionState;
use serde_json::json;

use crate::actions::Action;
use crate::launch;
use crate::testing::{World, cluster, file_server, job, mounting, not_serving, serving, workspace};

/// One node, and a cluster that has it.
fn world() -> World {
    let mut world = World::new();
    world.add_node(&crate::testing::node("n1"));
    world.put_cluster(&cluster("c").manual(1));
    world.settle();
    world
}

fn ready(world: &mut World, name: &str) -> FileServerRecord {
    let record = world.create_file_server(name);
    world.report_export(&record, "n1", serving());
    world.settle();
    record
}

/// Why it waits, once it has waited long enough to be told.
fn waiting(world: &mut World, uid: &JobUid) -> Option<String> {
    world.advance_seconds(3);
    world.settle();
    let status = world.status(uid)?;
    assert_eq!(status.state, ExecutionState::Queued);
    status.waiting
}

#[track_caller]
fn failed(world: &World, uid: &JobUid) -> JobStatus {
    let status = world.status(uid).unwrap();
    assert_eq!(
        (status.state, status.exit_code),
        (ExecutionState::Failed, Some(-1))
    );
    assert!(status.nodes.is_empty());
    status
}

fn plan(world: &World, uid: &JobUid) -> NodePlan {
    world.ledger.get(&key::plan(uid, 1, 0)).unwrap()
}

#[test]
fn a_plan_says_how_everything_is_mounted() {
    let mut world = World::new();
    world.add_node(&crate::testing::node("n1"));
    ready(&mut world, "data");
    ready(&mut world, "home");
    world.put_cluster(&cluster("c").manual(1).mounts("home"));
    let mut builder = job("j").mounts("data");
    let volumes = builder.0.properties.mount_volumes.as_mut().unwrap();
    volumes.file_servers[0].source_directory = Some("/sets/one/".into());
    volumes.file_servers[0].mount_options = Some("ro".into());
    let others = json!({
        "azureFileShares": [{"accountName": "a", "azureFileUrl": "https://a/s", "credentials": {}, "relativeMountPath": "afs"}],
        "azureBlobFileSystems": [{"accountName": "a", "containerName": "c", "credentials": {}, "relativeMountPath": "bfs"}],
        "unmanagedFileSystems": [{"mountCommand": "mount -t x", "relativeMountPath": "x"}]});
    let others: lote_model::mount_volumes::MountVolumes = body::typed(others, "").unwrap();
    volumes.azure_file_shares = others.azure_file_shares;
    volumes.azure_blob_file_systems = others.azure_blob_file_systems;
    volumes.unmanaged_file_systems = others.unmanaged_file_systems;
    let uid = world.submit(builder);
    world.settle();
    insta::assert_json_snapshot!(plan(&world, &uid).mounts);
}

#[test]
fn plugins_are_told_where_mounts_are() {
    let mut world = World::new();
    world.add_node(&crate::testing::node("n1"));
    ready(&mut world, "data");
    ready(&mut world, "home");
    world.put_cluster(&cluster("c").manual(1).mounts("home"));
    world.settle();
    world.submit(job("j").mounts("data"));
    let decisions = world.decide();
    let Some(Action::Start(start)) = decisions.actions.first() else {
        panic!("{:?}", decisions.actions)
    };
    let mounts = launch::job_input(start).mounts;
    let told: Vec<_> = mounts
        .iter()
        .map(|it| (&*it.name, &*it.path, it.shared))
        .collect();
    assert_eq!(
        told,
        [
            (
                "home",
                "/var/lib/lote/work/users/2000000/mounts/c/home",
                true
            ),
            (
                "data",
                "/var/lib/lote/work/users/2000000/jobs/uid-j/mounts/data",
                true
            )
        ]
    );
}

#[test]
fn a_job_waits_for_a_file_server_that_is_being_created_and_says_so() {
    let mut world = world();
    let record = world.create_file_server("f");
    let uid = world.submit(job("j").mounts("f"));
    let other = world.submit(job("other"));
    assert_eq!(
        waiting(&mut world, &uid).unwrap(),
        "waits for file server 'f' of workspace lab/ws: its node 'n1' does not serve it yet"
    );
    assert_eq!(
        world.nodes_of(&other),
        ["n1"],
        "it keeps no node from others"
    );
    let revision = world.ledger.revision();
    waiting(&mut world, &uid);
    assert_eq!(world.ledger.revision(), revision, "it is said once");
    world.end(&other, "n1", Outcome::Completed);
    world.report_export(&record, "n1", serving());
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
    assert_eq!(plan(&world, &uid).mounts.job.len(), 1);
}

#[test]
fn a_job_on_a_cluster_that_mounts_waits_as_well() {
    let mut world = World::new();
    world.add_node(&crate::testing::node("n1"));
    world.put_cluster(&cluster("c").auto(0, 1).mounts("f"));
    let mut record = file_server("f", "1");
    record.properties.vm_size = "nas".into();
    world.put_file_server(&record);
    world.settle();
    let uid = world.submit(job("j"));
    assert_eq!(
        waiting(&mut world, &uid).unwrap(),
        "waits for file server 'f' of workspace lab/ws: file server 'f' waits for a node of size 'nas' to serve it: \
         no machine of that size has joined"
    );
    let status = world.cluster_status(&cluster("c")).unwrap();
    assert!(status.nodes.is_empty(), "no node is taken for it");
    world.restart();
    assert!(world.decide().actions.is_empty());
    world.add_node(&crate::testing::node("nas").size("nas"));
    world.settle();
    world.report_export(&record, "nas", serving());
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
    assert_eq!(plan(&world, &uid).mounts.cluster.len(), 1);
}

#[test]
fn a_job_waits_while_the_node_of_a_file_server_is_away() {
    let mut world = world();
    world.add_node(&crate::testing::node("a").size("nas"));
    let mut record = file_server("f", "1");
    record.properties.vm_size = "nas".into();
    world.put_file_server(&record);
    world.settle();
    world.report_export(&record, "a", serving());
    world.settle();
    let node = NodeName::new("a");
    world.set_alive(&node, false);
    let uid = world.submit(job("j").mounts("f"));
    assert_eq!(
        waiting(&mut world, &uid).unwrap(),
        "waits for file server 'f' of workspace lab/ws: its node 'a' is not heard of"
    );
    world.remove_node("a");
    let text = waiting(&mut world, &uid).unwrap();
    assert!(text.ends_with("its node 'a' was removed"), "{text}");
    world.add_node(&crate::testing::node("a").size("nas"));
    world.report_export(&record, "a", not_serving());
    let text = waiting(&mut world, &uid).unwrap();
    assert!(text.ends_with("the disk is on fire"), "{text}");
    world.report_export(&record, "a", serving());
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
}

#[test]
fn one_that_waits_may_be_terminated() {
    let mut world = world();
    world.create_file_server("f");
    let uid = world.submit(job("j").mounts("f"));
    world.settle();
    world.terminate(&uid);
    world.settle();
    assert_eq!(world.status(&uid).unwrap().state, ExecutionState::Failed);
}

#[test]
fn a_file_server_that_is_missing_failed_or_going_fails_a_job() {
    let mut world = world();
    let missing = world.submit(job("missing").mounts("none"));
    world.settle();
    insta::assert_json_snapshot!(failed(&world, &missing).errors);

    let record = world.create_file_server("f");
    world.report_export(&record, "n1", not_serving());
    world.settle();
    let uid = world.submit(job("failed").mounts("f"));
    world.settle();
    let errors = failed(&world, &uid).errors;
    assert_eq!(errors[0].code, FILE_SERVER_ERROR);
    assert_eq!(
        errors[0].message,
        "Unable to mount file server: file server 'f' has failed: the disk is on fire"
    );

    let mut going = ready(&mut world, "g");
    let user = world.submit(job("user").mounts("g"));
    world.settle();
    let late = world.submit(job("late").mounts("g"));
    going.delete_requested_at = Some(world.now);
    world.put_file_server(&going);
    world.settle();
    assert!(world.status(&late).is_none(), "it waits for its turn");
    world.end(&user, "n1", Outcome::Completed);
    world.settle();
    let errors = failed(&world, &late).errors;
    assert_eq!(
        errors[0].message,
        "Unable to mount file server: file server 'g' is being deleted"
    );
}

#[test]
fn one_that_will_fail_does_not_wait_for_another_file_server() {
    let mut world = world();
    world.create_file_server("slow");
    let mut builder = job("j").mounts("slow");
    let volumes = builder.0.properties.mount_volumes.as_mut().unwrap();
    volumes.file_servers.extend(mounting("none").file_servers);
    let uid = world.submit(builder);
    world.settle();
    assert_eq!(failed(&world, &uid).errors[0].code, FILE_SERVER_ERROR);
}

#[test]
fn a_file_server_of_another_workspace_is_found() {
    let mut world = world();
    ready(&mut world, "f");
    let uid = world.submit(job("j").mounts("f").of_workspace("other"));
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
    assert_eq!(workspace().workspace.as_str(), "ws");
}
