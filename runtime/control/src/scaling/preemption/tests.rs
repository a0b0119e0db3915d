use lote_model::allocation::AllocationPhase;
use lote_model::cluster::Withdrawal;
use lote_model::id::{JobUid, NodeName};
use lote_model::report::Outcome;
use lote_model::state::{ExecutionState, Priority};

use crate::testing::{ClusterBuilder, World, cluster, job, node};

fn world(nodes: u32) -> World {
    let mut world = World::new();
    for number in 1..=nodes {
        world.add_node(&node(&format!("n{number}")));
    }
    world
}

fn nodes(world: &World, cluster: &ClusterBuilder) -> Vec<String> {
    let status = world.cluster_status(cluster).unwrap();
    status.nodes.iter().map(ToString::to_string).collect()
}

fn withdrawn(world: &World, cluster: &ClusterBuilder) -> Vec<String> {
    let status = world.cluster_status(cluster).unwrap();
    assert!(
        status
            .withdrawn
            .values()
            .all(|why| *why == Withdrawal::Preempted)
    );
    assert!(
        status
            .withdrawn
            .keys()
            .all(|name| status.leaving.contains(name))
    );
    status.withdrawn.keys().map(ToString::to_string).collect()
}

fn state(world: &World, uid: &JobUid) -> ExecutionState {
    world
        .status(uid)
        .map_or(ExecutionState::Queued, |status| status.state)
}

fn is_stopped(world: &World, uid: &JobUid) -> bool {
    let nodes = world.nodes_of(uid);
    let parts = nodes.iter().map(|name| {
        let allocation = world.allocation(uid, &NodeName::new(name.as_str()));
        allocation.map(|allocation| allocation.phase)
    });
    let phases: Vec<_> = parts.collect();
    !phases.is_empty()
        && phases
            .iter()
            .all(|phase| *phase == Some(AllocationPhase::Stop))
}

#[test]
fn a_dedicated_cluster_gets_just_what_it_lacks_empty_nodes_first() {
    let mut world = world(4);
    let low = cluster("low").manual(3).low_priority();
    world.put_cluster(&low);
    world.settle();
    let uid = world.submit(job("j").on("low"));
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n1"]);
    let dedicated = cluster("c").manual(3);
    world.put_cluster(&dedicated);
    world.settle();
    assert_eq!(nodes(&world, &dedicated), ["n2", "n3", "n4"]);
    assert_eq!(nodes(&world, &low), ["n1"]);
    assert_eq!(state(&world, &uid), ExecutionState::Running);
    let errors = world.cluster_status(&low).unwrap().errors;
    assert_eq!(errors[0].code, "NotEnoughNodes");
}

#[test]
fn the_jobs_that_are_cheapest_to_lose_are_stopped_and_wait_again() {
    let mut world = world(3);
    let low = cluster("low").auto(0, 3).low_priority();
    world.put_cluster(&low);
    let high = world.submit(job("high").on("low").priority(Priority::High));
    world.settle();
    world.advance_seconds(10);
    let old = world.submit(job("old").on("low"));
    world.settle();
    world.advance_seconds(10);
    let young = world.submit(job("young").on("low").attempts(1));
    world.settle();
    let dedicated = cluster("c").manual(1);
    world.put_cluster(&dedicated);
    world.settle();
    assert!(is_stopped(&world, &young));
    assert!(!is_stopped(&world, &old) && !is_stopped(&world, &high));
    assert_eq!(withdrawn(&world, &low), ["n3"]);
    world.restart();
    world.settle();
    assert_eq!(withdrawn(&world, &low), ["n3"], "no more than are needed");
    world.end(&young, "n3", Outcome::Stopped);
    world.settle();
    assert_eq!(nodes(&world, &dedicated), ["n3"]);
    assert_eq!(nodes(&world, &low), ["n1", "n2"]);
    let status = world.status(&young).unwrap();
    assert_eq!(
        status.state,
        ExecutionState::Queued,
        "its one start does not count"
    );
    let reason = status.requeued.unwrap();
    assert_eq!(reason.code, "Preempted");
    assert!(!reason.message.contains("'c'"), "{}", reason.message);
    assert_eq!(
        (
            status.attempt,
            status.uncounted_attempts,
            status.previous_nodes.len()
        ),
        (1, 1, 1)
    );
    world.end(&old, "n2", Outcome::Completed);
    world.settle();
    assert_eq!(world.nodes_of(&young), ["n2"]);
    world.set_alive(&NodeName::new("n2"), false);
    world.advance_seconds(30);
    world.settle();
    let status = world.status(&young).unwrap();
    assert_eq!(status.state, ExecutionState::Failed, "this one does");
    assert!(
        status.errors[0].message.contains("started 1 times"),
        "{:?}",
        status.errors
    );
}

#[test]
fn a_waiting_gang_gets_the_rest_that_it_needs_and_no_part_of_it_is_taken_back() {
    let mut world = world(4);
    let low = cluster("low").auto(0, 4).low_priority();
    world.put_cluster(&low);
    let jobs: Vec<JobUid> = (1..=4)
        .map(|number| world.submit(job(&format!("low{number}")).on("low")))
        .collect();
    world.settle();
    let dedicated = cluster("c").auto(0, 4);
    world.put_cluster(&dedicated);
    let gang = world.submit(job("gang").nodes(3));
    world.settle();
    let lost: Vec<&JobUid> = jobs.iter().filter(|uid| is_stopped(&world, uid)).collect();
    assert_eq!(lost.len(), 3);
    // They end one after the other; what is free meanwhile is not given to those that wait again.
    for uid in lost {
        let node = world.nodes_of(uid).pop().unwrap();
        world.end(uid, &node, Outcome::Stopped);
        world.settle();
        assert_eq!(state(&world, uid), ExecutionState::Queued);
        assert_eq!(world.nodes_of(uid), [""; 0]);
    }
    assert_eq!(state(&world, &gang), ExecutionState::Running);
    assert_eq!(nodes(&world, &dedicated).len(), 3);
    assert_eq!(nodes(&world, &low).len(), 1);
}

#[test]
fn no_node_is_taken_for_a_gang_that_could_not_start_with_it() {
    let mut world = world(3);
    world.put_cluster(&cluster("low").auto(0, 3).low_priority());
    let uid = world.submit(job("j").on("low").nodes(3));
    world.settle();
    assert_eq!(state(&world, &uid), ExecutionState::Running);
    world.put_cluster(&cluster("c").auto(0, 2));
    world.put_cluster(&cluster("d").auto(0, 9));
    world.submit(job("beyond-its-cluster").nodes(3));
    world.submit(job("beyond-the-site").on("d").nodes(4));
    world.settle();
    assert!(!is_stopped(&world, &uid));
}

#[test]
fn a_gang_that_is_lost_is_lost_once() {
    let mut world = world(4);
    let low = cluster("low").auto(0, 4).low_priority();
    world.put_cluster(&low);
    let single = world.submit(job("a-single").on("low"));
    world.settle();
    let other = world.submit(job("b-single").on("low"));
    world.settle();
    world.advance_seconds(5);
    let gang = world.submit(job("gang").on("low").nodes(2));
    world.settle();
    world.put_cluster(&cluster("c").manual(2));
    world.settle();
    assert!(is_stopped(&world, &gang));
    assert!(!is_stopped(&world, &single) && !is_stopped(&world, &other));
}

#[test]
fn small_jobs_share_the_nodes_that_are_taken_for_them() {
    let mut world = world(2);
    let low = cluster("low").manual(2).low_priority();
    world.put_cluster(&low);
    world.settle();
    world.put_cluster(&cluster("c").auto(0, 2));
    for number in 0..4 {
        world.submit(job(&format!("small{number}")).share(0, 2.0, None));
    }
    world.settle();
    assert_eq!(nodes(&world, &low).len(), 1);
}

#[test]
fn idle_nodes_of_dedicated_clusters_go_before_those_of_low_priority() {
    let mut world = world(2);
    let (low, keeper) = (
        cluster("low").manual(1).low_priority(),
        cluster("keeper").auto(0, 1).idle_delay_seconds(600),
    );
    world.put_cluster(&low);
    world.put_cluster(&keeper);
    world.settle();
    let uid = world.submit(job("j").on("keeper"));
    world.settle();
    let node = world.nodes_of(&uid).pop().unwrap();
    world.end(&uid, &node, Outcome::Completed);
    world.settle();
    let dedicated = cluster("c").manual(1);
    world.put_cluster(&dedicated);
    world.settle();
    assert_eq!(nodes(&world, &dedicated), [node]);
    assert_eq!(nodes(&world, &low).len(), 1);
}

#[test]
fn other_sizes_are_left_alone() {
    let mut world = world(1);
    let low = cluster("low").manual(1).low_priority();
    world.put_cluster(&low);
    world.settle();
    world.put_cluster(&cluster("c").size("gpu").manual(1));
    world.settle();
    assert_eq!(nodes(&world, &low), ["n1"]);
}

#[test]
fn a_dedicated_cluster_keeps_its_idle_nodes_from_those_of_low_priority() {
    let mut world = world(1);
    let keeper = cluster("keeper").auto(0, 1).idle_delay_seconds(600);
    world.put_cluster(&keeper);
    let uid = world.submit(job("j").on("keeper"));
    world.settle();
    world.end(&uid, "n1", Outcome::Completed);
    let low = cluster("low").manual(1).low_priority();
    world.put_cluster(&low);
    world.settle();
    assert_eq!(nodes(&world, &keeper), ["n1"]);
    world.advance_seconds(600);
    world.settle();
    assert_eq!(nodes(&world, &low), ["n1"]);
}

#[test]
fn nobody_loses_nodes_for_a_job_that_cannot_start_and_it_ends() {
    let mut world = world(3);
    let low = cluster("low").manual(3).low_priority();
    world.put_cluster(&low);
    world.put_cluster(&cluster("c").auto(0, 3));
    world.settle();
    let uid = world.submit(job("j").nodes(2).mounts("none"));
    world.settle();
    assert_eq!(state(&world, &uid), ExecutionState::Failed);
    let errors = world.status(&uid).unwrap().errors;
    assert_eq!(errors[0].code, lote_model::planned_mount::FILE_SERVER_ERROR);
    assert_eq!(nodes(&world, &low).len(), 3);
    let large = world.submit(job("large").nodes(4).mounts("none"));
    world.settle();
    assert_eq!(
        state(&world, &large),
        ExecutionState::Queued,
        "it waits for nodes like any other"
    );
}
