use lote_model::export::{ExportPhase, ExportState, ExportStorage, NfsAbility};
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;
use lote_model::key;
use lote_model::report::Outcome;
use lote_model::state::ProvisioningState::{self, Creating, Failed, Succeeded};

use crate::testing::{World, cluster, file_server, job, node, not_serving, serving};

/// Three nodes of size `cpu`, with a cluster of one of them.
fn world() -> World {
    let mut world = World::new();
    for name in ["n1", "n2", "n3"] {
        world.add_node(&node(name));
    }
    world.put_cluster(&cluster("c").manual(1));
    world.settle();
    world
}

/// One on `n1` that is served.
fn ready(world: &mut World, name: &str) -> FileServerRecord {
    let record = world.create_file_server(name);
    let node = node_of(world, &record);
    world.report_export(&record, &node, serving());
    world.settle();
    assert_eq!(state(world, &record), Succeeded);
    record
}

fn delete(world: &mut World, record: &FileServerRecord) {
    let mut record = record.clone();
    record.delete_requested_at = Some(world.now);
    world.put_file_server(&record);
    world.settle();
}

fn status(world: &World, record: &FileServerRecord) -> FileServerStatus {
    world.file_server_status(record).unwrap()
}

fn state(world: &World, record: &FileServerRecord) -> ProvisioningState {
    status(world, record).state
}

fn node_of(world: &World, record: &FileServerRecord) -> String {
    status(world, record).node.unwrap().to_string()
}

/// The one thing that is wrong with it.
fn error(world: &World, record: &FileServerRecord) -> ErrorRecord {
    let errors = status(world, record).errors;
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap()
}

fn silence(world: &mut World, node: &str) {
    world.set_alive(&NodeName::new(node), false);
    world.advance_seconds(3600);
    world.settle();
}

fn come_back(world: &mut World, node: &str) {
    world.set_alive(&NodeName::new(node), true);
    world.settle();
}

#[track_caller]
fn assert_gone(world: &World) {
    for prefix in [
        key::FILE_SERVERS,
        key::FILE_SERVER_STATUS,
        key::EXPORTS,
        key::EXPORTED,
    ] {
        assert_eq!(world.ledger.list(prefix).count(), 0, "{prefix}");
    }
    assert!(world.snapshot.file_servers().is_empty());
}

#[track_caller]
fn assert_settled(world: &mut World) {
    let actions = world.decide().actions;
    assert!(actions.is_empty(), "{actions:?}");
}

#[test]
fn a_new_one_gets_a_node_and_is_ready_when_that_serves_it() {
    let mut world = world();
    let record = world.create_file_server("f");
    assert_eq!(state(&world, &record), Creating);
    assert_eq!(status(&world, &record).state_since, record.created_at);
    let export = world.export(&record, "n1").unwrap();
    insta::assert_json_snapshot!(export);
    assert_settled(&mut world);

    world.advance_seconds(5);
    world.report_export(&record, "n1", serving());
    world.settle();
    let status = status(&world, &record);
    assert_eq!((status.state, status.state_since), (Succeeded, world.now));
    let settings = status.mount_settings.unwrap();
    assert_eq!(settings.mount_point, "/srv/f");
    assert_eq!(settings.file_server_internal_ip, "n1.local");
    assert_eq!(settings.file_server_public_ip, "n1.local");
    assert_settled(&mut world);
}

#[test]
fn the_node_with_the_fewest_is_chosen_by_name_among_equals() {
    let mut world = world();
    let names = ["a", "b", "c", "d"];
    let records = names.map(|name| file_server(name, &format!("uid-{name}")));
    for record in &records {
        // All in one pass.
        world.put_file_server(record);
    }
    world.settle();
    let nodes = records.map(|record| node_of(&world, &record));
    assert_eq!(nodes, ["n1", "n2", "n3", "n1"]);
}

#[test]
fn a_choice_that_is_being_stored_counts_already() {
    let mut world = world();
    let (first, second) = (file_server("a", "1"), file_server("b", "2"));
    world.put_file_server(&first);
    let decided = world.decide();
    assert!(
        world.decide().actions.is_empty(),
        "nothing is decided twice"
    );
    world.put_file_server(&second);
    world.settle();
    world.carry_out(&decided.actions[0]);
    world.settle();
    assert_eq!(node_of(&world, &first), "n1");
    assert_eq!(node_of(&world, &second), "n2");
}

#[test]
fn only_nodes_of_the_size_that_take_work_are_chosen() {
    let mut world = World::new();
    world.add_node(&node("a").size("gpu"));
    world.add_node(&node("b").size("CPU").unwell());
    world.add_node(&node("c").size("Cpu"));
    world.drain("c");
    world.add_node(&node("d").size("cpu"));
    world.set_alive(&NodeName::new("d"), false);
    let record = world.create_file_server("f");
    assert_eq!(state(&world, &record), Creating);
    let found = error(&world, &record);
    assert_eq!(found.code, "FileServerWaitsForNode");
    assert_eq!(
        found.message,
        "file server 'f' waits for a node of size 'cpu' to serve it: of 3 nodes 1 is drained, 1 is not heard of, 1 is unwell"
    );
    assert_settled(&mut world);
    world.resume("c");
    world.settle();
    assert_eq!(node_of(&world, &record), "c");
    assert!(status(&world, &record).errors.is_empty());
}

#[test]
fn it_waits_for_the_first_machine_of_its_size() {
    let mut world = World::new();
    let record = world.create_file_server("f");
    let message = error(&world, &record).message;
    assert!(
        message.ends_with("no machine of that size has joined"),
        "{message}"
    );
    world.add_node(&node("n"));
    world.settle();
    assert_eq!(node_of(&world, &record), "n");
}

#[test]
fn only_nodes_that_can_serve_are_chosen() {
    let mut world = world();
    let lacking = |name: &str| {
        let mut builder = node(name);
        builder.0.nfs = Some(NfsAbility::Lacks("install nfs-ganesha".into()));
        builder
    };
    for name in ["n1", "n2"] {
        world.add_node(&lacking(name));
    }
    let record = world.create_file_server("f");
    assert_eq!(node_of(&world, &record), "n3");

    world.add_node(&lacking("n3"));
    let waits = world.create_file_server("g");
    assert_eq!(state(&world, &waits), Creating);
    let error = error(&world, &waits);
    assert_eq!(error.code, "FileServerWaitsForNode");
    assert!(error.message.contains("install nfs-ganesha"), "{error:?}");
    // Once it is installed there.
    world.add_node(&node("n2"));
    world.settle();
    assert_eq!(node_of(&world, &waits), "n2");
}

#[test]
fn a_named_node_must_be_there_and_of_the_size() {
    let mut world = world();
    world.add_node(&node("big").size("gpu"));
    let mut record = file_server("f", "1");
    record.properties.lote.node = Some(NodeName::new("nas"));
    record.properties.lote.directory = Some("/srv/x".into());
    world.put_file_server(&record);
    world.settle();
    assert_eq!(state(&world, &record), Failed);
    assert_eq!(error(&world, &record).code, "FileServerNodeNotFound");
    assert_eq!(status(&world, &record).state_since, world.now);

    let mut other = file_server("g", "2");
    other.properties.lote.node = Some(NodeName::new("big"));
    world.put_file_server(&other);
    world.settle();
    assert_eq!(state(&world, &other), Failed);
    assert_eq!(error(&world, &other).code, "FileServerNodeSizeMismatch");

    // When it joins, even if it takes no jobs: the user named it.
    world.drain("nas");
    world.add_node(&node("nas"));
    world.settle();
    assert_eq!(state(&world, &record), Creating);
    let export = world.export(&record, "nas").unwrap();
    assert_eq!(export.storage, ExportStorage::Directory("/srv/x".into()));
}

#[test]
fn clients_are_the_addresses_of_all_nodes() {
    let mut world = world();
    let record = ready(&mut world, "f");
    let clients = |world: &World| world.export(&record, "n1").unwrap().clients;
    assert_eq!(clients(&world), ["n1.local", "n2.local", "n3.local"]);
    let revision = world.ledger.revision();
    // A node that is written again and one that falls silent change nothing.
    world.add_node(&node("n2").unwell());
    world.set_alive(&NodeName::new("n2"), false);
    let written = world.ledger.revision();
    world.settle();
    assert_eq!(world.ledger.revision(), written, "from {revision}");

    world.add_node(&node("a"));
    let decisions = world.decide();
    assert_eq!(decisions.actions.len(), 1, "{:?}", decisions.actions);
    world.carry_out(&decisions.actions[0]);
    assert_eq!(
        clients(&world),
        ["a.local", "n1.local", "n2.local", "n3.local"]
    );
    assert_settled(&mut world);
    world.restart();
    assert_settled(&mut world);

    world.remove_node("n2");
    world.settle();
    assert_eq!(clients(&world), ["a.local", "n1.local", "n3.local"]);
}

#[test]
fn two_nodes_of_one_address_are_one_client() {
    let mut world = world();
    let mut twin = node("twin");
    twin.0.address = "n1.local".into();
    world.add_node(&twin);
    let record = world.create_file_server("f");
    let clients = |world: &World| world.export(&record, "n1").unwrap().clients;
    assert_eq!(clients(&world), ["n1.local", "n2.local", "n3.local"]);
    world.remove_node("twin");
    world.settle();
    assert_eq!(clients(&world), ["n1.local", "n2.local", "n3.local"]);
}

#[test]
fn what_its_node_cannot_do_fails_it_until_it_can() {
    let mut world = world();
    let record = world.create_file_server("f");
    world.report_export(&record, "n1", not_serving());
    world.settle();
    assert_eq!(state(&world, &record), Failed);
    assert_eq!(error(&world, &record).message, "the disk is on fire");
    world.report_export(&record, "n1", serving());
    world.settle();
    assert_eq!(state(&world, &record), Succeeded);
    assert!(status(&world, &record).errors.is_empty());
    // One that was ready stays so, with an error.
    world.report_export(&record, "n1", not_serving());
    world.settle();
    assert_eq!(state(&world, &record), Succeeded);
    assert_eq!(error(&world, &record).code, "ExportFailed");
    assert!(status(&world, &record).mount_settings.is_some());
}

#[test]
fn it_stays_on_its_node_when_that_is_lost_and_is_well_when_it_is_back() {
    let mut world = world();
    let record = ready(&mut world, "f");
    silence(&mut world, "n1");
    assert_eq!(state(&world, &record), Succeeded);
    assert_eq!(error(&world, &record).code, "FileServerNodeLost");
    assert_eq!(node_of(&world, &record), "n1");
    assert_settled(&mut world);
    come_back(&mut world, "n1");
    assert!(status(&world, &record).errors.is_empty());

    silence(&mut world, "n1");
    world.remove_node("n1");
    world.settle();
    assert_eq!(error(&world, &record).code, "FileServerNodeRemoved");
    assert_eq!(node_of(&world, &record), "n1");
    world.add_node(&node("n1"));
    world.settle();
    assert!(status(&world, &record).errors.is_empty());
}

#[test]
fn one_without_a_node_is_deleted_at_once() {
    let mut world = World::new();
    let record = world.create_file_server("f");
    delete(&mut world, &record);
    assert_gone(&world);
}

#[test]
fn its_node_withdraws_it_before_it_is_erased() {
    for erase in [false, true] {
        let mut world = world();
        let mut record = ready(&mut world, "f");
        record.erase_data = erase;
        delete(&mut world, &record);
        let export = world.export(&record, "n1").unwrap();
        assert_eq!(export.phase, ExportPhase::Withdraw { erase });
        assert_settled(&mut world);
        // A report from before does not count.
        world.report_export(&record, "n1", serving());
        world.settle();
        assert!(world.file_server_status(&record).is_some());
        world.report_export(&record, "n1", not_serving());
        world.settle();
        assert_eq!(error(&world, &record).message, "the disk is on fire");
        world.report_export(&record, "n1", ExportState::Withdrawn);
        world.settle();
        assert_gone(&world);
    }
}

#[test]
fn jobs_that_mount_it_end_first() {
    let mut world = world();
    let record = ready(&mut world, "f");
    let uid = world.submit(job("j").mounts("f"));
    let other = world.submit(job("other"));
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
    delete(&mut world, &record);
    let found = error(&world, &record);
    assert_eq!(found.code, "FileServerInUse");
    assert_eq!(
        found.message,
        "file server 'f' is being deleted, and 1 job that mounts it runs, such as 'j': it is served until that has ended"
    );
    assert_eq!(
        world.export(&record, "n1").unwrap().phase,
        ExportPhase::Serve
    );
    assert_settled(&mut world);
    // The next leader knows of them as well.
    world.restart();
    assert_settled(&mut world);
    world.end(&uid, "n1", Outcome::Completed);
    world.settle();
    assert_eq!(world.nodes_of(&other), ["n1"], "it mounts nothing");
    let phase = world.export(&record, "n1").unwrap().phase;
    assert_eq!(phase, ExportPhase::Withdraw { erase: false });
    assert!(status(&world, &record).errors.is_empty());
}

#[test]
fn jobs_whose_cluster_mounts_it_count_and_those_of_others_are_not_named() {
    let mut world = World::new();
    for name in ["n1", "n2"] {
        world.add_node(&node(name));
    }
    let record = ready(&mut world, "f");
    world.put_cluster(&cluster("c").manual(2).mounts("f"));
    let mine = world.submit(job("mine").of_workspace("other"));
    let theirs = world.submit(job("theirs").of_workspace("other"));
    world.settle();
    assert_eq!(
        world.nodes_of(&mine).len() + world.nodes_of(&theirs).len(),
        2
    );
    delete(&mut world, &record);
    assert_eq!(
        error(&world, &record).message,
        "file server 'f' is being deleted, and 2 jobs that mount it run: it is served until these have ended"
    );
}

#[test]
fn a_job_that_is_being_started_keeps_it() {
    let mut world = world();
    let mut record = ready(&mut world, "f");
    let uid = world.submit(job("j").mounts("f"));
    let start = world.decide();
    assert_eq!(start.actions.len(), 1);
    record.delete_requested_at = Some(world.now);
    world.put_file_server(&record);
    world.settle();
    assert_eq!(
        world.export(&record, "n1").unwrap().phase,
        ExportPhase::Serve
    );
    world.carry_out(&start.actions[0]);
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
    assert_eq!(error(&world, &record).code, "FileServerInUse");
}

#[test]
fn a_lost_node_keeps_a_deletion_waiting_until_it_is_back_or_removed() {
    let mut world = world();
    let record = ready(&mut world, "f");
    silence(&mut world, "n1");
    delete(&mut world, &record);
    let found = error(&world, &record);
    assert_eq!(found.code, "FileServerNodeLost");
    assert!(
        found.message.contains("lote node remove n1"),
        "{}",
        found.message
    );
    assert_settled(&mut world);
    world.remove_node("n1");
    world.settle();
    assert_gone(&world);
}

#[test]
fn a_node_that_comes_back_while_it_is_erased_withdraws_it_first() {
    let mut world = world();
    let record = ready(&mut world, "f");
    silence(&mut world, "n1");
    delete(&mut world, &record);
    world.remove_node("n1");
    let erase = world.decide();
    world.add_node(&node("n1"));
    world.carry_out(&erase.actions[0]);
    world.settle();
    assert!(
        world.export(&record, "n1").is_some(),
        "its node is there again"
    );
    world.report_export(&record, "n1", ExportState::Withdrawn);
    world.settle();
    assert_gone(&world);
}

#[test]
fn a_deletion_overtakes_a_choice() {
    let mut world = world();
    let mut record = file_server("f", "1");
    world.put_file_server(&record);
    let decisions = world.decide();
    record.delete_requested_at = Some(world.now);
    world.put_file_server(&record);
    world.carry_out(&decisions.actions[0]);
    assert!(
        world.file_server_status(&record).is_none(),
        "the record had changed"
    );
    world.settle();
    assert_gone(&world);
}

#[test]
fn a_crash_before_the_commit_is_decided_again() {
    let mut world = world();
    let record = file_server("f", "1");
    world.put_file_server(&record);
    assert_eq!(world.decide().actions.len(), 1);
    world.restart();
    world.settle();
    assert_eq!(node_of(&world, &record), "n1");
    world.restart();
    assert_settled(&mut world);
}

#[test]
fn the_name_used_again_gets_a_status_of_its_own() {
    let mut world = world();
    let first = ready(&mut world, "f");
    // As an import of another state would leave it.
    let second = file_server("f", "2");
    world.put_file_server(&second);
    world.settle();
    assert_eq!(status(&world, &second).uid.as_str(), "2");
    assert_eq!(state(&world, &second), Creating);
    assert_eq!(first.path, second.path);
}

#[test]
fn one_of_an_older_version_says_what_to_do() {
    let mut world = world();
    let mut record = file_server("f", "1");
    record.unix_id = None;
    world.put_file_server(&record);
    world.settle();
    assert_eq!(state(&world, &record), Failed);
    assert_eq!(error(&world, &record).code, "FileServerOutdated");
    delete(&mut world, &record);
    assert_gone(&world);
}
