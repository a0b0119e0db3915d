use lote_model::file_server::FileServerStatus;
use lote_model::key;
use lote_model::state::ProvisioningState;

use crate::testing::{World, file_server};

fn status(world: &World, name: &str) -> Option<FileServerStatus> {
    world
        .ledger
        .get(&key::file_server_status(&file_server(name, "").path))
}

#[test]
fn a_new_file_server_fails_and_says_why() {
    let mut world = World::new();
    world.put_file_server(&file_server("f", "1"));
    world.settle();
    let status = status(&world, "f").unwrap();
    assert_eq!(status.state, ProvisioningState::Failed);
    assert_eq!(status.state_since, world.now);
    assert_eq!(status.uid.as_str(), "1");
    let error = &status.errors[0];
    assert_eq!(error.code, "FileServerNotSupported");
    assert!(error.message.contains("'f'"), "{error:?}");
    assert!(world.decide().actions.is_empty(), "it is said once");
}

#[test]
fn nothing_is_decided_twice_while_it_is_being_stored() {
    let mut world = World::new();
    world.put_file_server(&file_server("f", "1"));
    let decisions = world.decide();
    assert_eq!(decisions.actions.len(), 1);
    assert!(world.decide().actions.is_empty());
    // A crash before the commit: the next leader decides it again.
    world.restart();
    assert_eq!(world.decide().actions.len(), 1);
}

#[test]
fn a_deleted_one_goes_with_its_status() {
    let mut world = World::new();
    let mut server = file_server("f", "1");
    world.put_file_server(&server);
    world.settle();
    server.delete_requested_at = Some(world.now);
    world.put_file_server(&server);
    world.settle();
    assert_eq!(world.ledger.list(key::FILE_SERVERS).count(), 0);
    assert_eq!(world.ledger.list(key::FILE_SERVER_STATUS).count(), 0);
    assert!(world.snapshot.file_servers().is_empty());
}

#[test]
fn a_deletion_overtakes_a_decision() {
    let mut world = World::new();
    let mut server = file_server("f", "1");
    world.put_file_server(&server);
    let decisions = world.decide();
    server.delete_requested_at = Some(world.now);
    world.put_file_server(&server);
    world.carry_out(&decisions.actions[0]);
    assert_eq!(status(&world, "f"), None, "the record had changed");
    world.settle();
    assert!(world.snapshot.file_servers().is_empty());
}

#[test]
fn the_name_used_again_gets_a_status_of_its_own() {
    let mut world = World::new();
    world.put_file_server(&file_server("f", "1"));
    world.settle();
    world.put_file_server(&file_server("f", "2"));
    world.settle();
    assert_eq!(status(&world, "f").unwrap().uid.as_str(), "2");
}

#[test]
fn a_new_leader_finds_nothing_to_do() {
    let mut world = World::new();
    world.put_file_server(&file_server("f", "1"));
    world.settle();
    world.restart();
    assert!(world.decide().actions.is_empty());
    assert_eq!(world.snapshot.file_servers().len(), 1);
}
