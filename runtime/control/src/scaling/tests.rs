use lote_model::allocation::AllocationPhase;
use lote_model::cluster::{NodeDeallocationOption, VmPriority};
use lote_model::id::{JobUid, NodeName};
use lote_model::key;
use lote_model::report::Outcome;
use lote_model::state::{AllocationState, ExecutionState};

use crate::testing::{ClusterBuilder, World, at_second, cluster, job, node};

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

fn state(world: &World, uid: &JobUid) -> ExecutionState {
    world
        .status(uid)
        .map_or(ExecutionState::Queued, |status| status.state)
}

#[test]
fn a_cluster_takes_its_target_from_the_pool() {
    let mut world = world(3);
    world.add_node(&node("other").size("gpu"));
    world.add_node(&node("unwell").unwell());
    let cluster = cluster("c").manual(2);
    world.put_cluster(&cluster);
    world.settle();
    assert_eq!(nodes(&world, &cluster), ["n1", "n2"]);
    let status = world.cluster_status(&cluster).unwrap();
    assert_eq!(
        (status.allocation_state, status.errors),
        (AllocationState::Steady, vec![])
    );
    assert_eq!(status.allocation_state_since, Some(world.now));
}

#[test]
fn too_few_nodes_are_said_and_made_good_later() {
    let mut world = world(1);
    let cluster = cluster("c").manual(2);
    world.put_cluster(&cluster);
    world.settle();
    let status = world.cluster_status(&cluster).unwrap();
    assert_eq!(status.allocation_state, AllocationState::Resizing);
    assert_eq!(status.errors[0].code, "NotEnoughNodes");
    world.add_node(&node("n2"));
    world.settle();
    let status = world.cluster_status(&cluster).unwrap();
    assert_eq!(
        (
            status.nodes.len(),
            status.allocation_state,
            status.errors.len()
        ),
        (2, AllocationState::Steady, 0)
    );
}

#[test]
fn an_automatic_cluster_grows_from_zero_in_the_same_pass_and_shrinks_after_a_while() {
    let mut world = world(2);
    let cluster = cluster("c").auto(0, 2);
    world.put_cluster(&cluster);
    world.settle();
    assert_eq!(nodes(&world, &cluster), [""; 0]);
    let uid = world.submit(job("j"));
    let decisions = world.decide();
    assert_eq!(
        decisions.actions.len(),
        2,
        "the start and the cluster's node at once"
    );
    for action in &decisions.actions {
        world.carry_out(action);
    }
    assert_eq!(nodes(&world, &cluster), ["n1"]);
    world.end(&uid, "n1", Outcome::Completed);
    world.settle();
    assert_eq!(nodes(&world, &cluster), ["n1"], "another job may follow");
    assert_eq!(
        world.decide().wake_at,
        Some(crate::testing::at_second(1001))
    );
    world.advance_seconds(1);
    world.settle();
    assert_eq!(nodes(&world, &cluster), [""; 0]);
}

#[test]
fn an_idle_node_goes_at_once_to_a_cluster_that_lacks_it() {
    let mut world = world(1);
    let (auto, manual) = (cluster("c").auto(0, 1), cluster("m").manual(1));
    world.put_cluster(&auto);
    let uid = world.submit(job("j"));
    world.settle();
    world.put_cluster(&manual);
    world.settle();
    assert_eq!(nodes(&world, &manual), [""; 0]);
    world.end(&uid, "n1", Outcome::Completed);
    world.settle();
    assert_eq!(nodes(&world, &auto), [""; 0]);
    assert_eq!(nodes(&world, &manual), ["n1"]);
}

#[test]
fn an_automatic_cluster_takes_whole_gangs_only() {
    let mut world = world(3);
    world.put_cluster(&cluster("c").auto(0, 4));
    world.put_cluster(&cluster("d").auto(0, 4));
    let large = world.submit(job("large").nodes(4));
    let small = world.submit(job("small").nodes(2).on("d"));
    world.settle();
    assert_eq!(state(&world, &large), ExecutionState::Queued);
    assert_eq!(state(&world, &small), ExecutionState::Running);
}

#[test]
fn a_large_job_on_an_automatic_cluster_is_not_starved() {
    let mut world = world(2);
    world.put_cluster(&cluster("c").auto(0, 2));
    let first = world.submit(job("first"));
    world.settle();
    world.advance_seconds(1);
    let large = world.submit(job("large").nodes(2));
    let small = world.submit(job("small"));
    world.settle();
    assert_eq!(state(&world, &small), ExecutionState::Queued);
    world.end(&first, "n1", Outcome::Completed);
    world.settle();
    assert_eq!(state(&world, &large), ExecutionState::Running);
}

#[test]
fn the_minimum_is_kept() {
    let mut world = world(3);
    let cluster = cluster("c").auto(1, 3);
    world.put_cluster(&cluster);
    world.settle();
    world.advance_seconds(100);
    world.settle();
    assert_eq!(nodes(&world, &cluster).len(), 1);
}

#[test]
fn shrinking_gives_up_empty_nodes_first_and_then_as_asked() {
    for (option, after, ended) in [
        (
            NodeDeallocationOption::Requeue,
            AllocationPhase::Stop,
            ExecutionState::Queued,
        ),
        (
            NodeDeallocationOption::Terminate,
            AllocationPhase::Stop,
            ExecutionState::Failed,
        ),
        (
            NodeDeallocationOption::WaitForJobCompletion,
            AllocationPhase::Run,
            ExecutionState::Succeeded,
        ),
    ] {
        let mut world = world(2);
        let cluster = cluster("c");
        world.put_cluster(&cluster.clone().manual(2));
        let uid = world.submit(job("j"));
        world.settle();
        world.put_cluster(&cluster.clone().shrinking(1, option));
        world.settle();
        assert_eq!(nodes(&world, &cluster), ["n1"], "the empty one goes first");
        world.put_cluster(&cluster.clone().shrinking(0, option));
        world.settle();
        let status = world.cluster_status(&cluster).unwrap();
        assert_eq!(
            (status.leaving.len(), status.allocation_state),
            (1, AllocationState::Resizing)
        );
        assert_eq!(
            world.allocation(&uid, &NodeName::new("n1")).unwrap().phase,
            after
        );
        let is_waited_for = option == NodeDeallocationOption::WaitForJobCompletion;
        world.end(
            &uid,
            "n1",
            if is_waited_for {
                Outcome::Completed
            } else {
                Outcome::Stopped
            },
        );
        world.settle();
        assert_eq!(state(&world, &uid), ended);
        let status = world.cluster_status(&cluster).unwrap();
        assert_eq!((status.nodes.len(), status.leaving.len()), (0, 0));
        assert_eq!(status.allocation_state, AllocationState::Steady);
    }
}

#[test]
fn a_leaving_node_comes_back_when_it_is_wanted_again() {
    let mut world = world(1);
    let cluster = cluster("c");
    let wait = NodeDeallocationOption::WaitForJobCompletion;
    world.put_cluster(&cluster.clone().shrinking(1, wait));
    world.submit(job("j"));
    world.settle();
    world.put_cluster(&cluster.clone().shrinking(0, wait));
    world.settle();
    world.put_cluster(&cluster.clone().shrinking(1, wait));
    world.settle();
    let status = world.cluster_status(&cluster).unwrap();
    assert_eq!((status.nodes.len(), status.leaving.len()), (1, 0));
}

#[test]
fn a_deleted_cluster_ends_its_jobs_and_is_erased() {
    let mut world = world(1);
    let cluster = cluster("c").manual(1);
    world.put_cluster(&cluster);
    let running = world.submit(job("running"));
    world.settle();
    let queued = world.submit(job("queued"));
    world.settle();
    world.delete_cluster(&cluster);
    world.settle();
    assert_eq!(state(&world, &queued), ExecutionState::Failed);
    assert_eq!(
        world.ledger.list(key::CLUSTERS).count(),
        1,
        "a job still runs on it"
    );
    world.end(&running, "n1", Outcome::Stopped);
    world.settle();
    for uid in [running, queued] {
        let error = &world.status(&uid).unwrap().errors[0];
        assert_eq!(error.code, "ClusterDeleted");
        assert!(error.message.contains("'c'"), "{}", error.message);
    }
    assert_eq!(
        world.ledger.list(key::CLUSTERS).count() + world.ledger.list(key::CLUSTER_STATUS).count(),
        0
    );
    assert!(world.snapshot.clusters().is_empty());
    assert_eq!(world.snapshot.pool("cpu").count(), 1);
}

#[test]
fn a_lost_node_is_replaced() {
    let mut world = world(2);
    let cluster = cluster("c").manual(1);
    world.put_cluster(&cluster);
    world.settle();
    world.set_alive(&NodeName::new("n1"), false);
    world.settle();
    assert_eq!(nodes(&world, &cluster), ["n1"]);
    world.advance_seconds(30);
    world.settle();
    assert_eq!(nodes(&world, &cluster), ["n2"]);
}

fn leaving(world: &World, cluster: &ClusterBuilder) -> Vec<String> {
    let status = world.cluster_status(cluster).unwrap();
    status.leaving.iter().map(ToString::to_string).collect()
}

#[test]
fn a_drained_node_is_replaced_and_leaves_when_its_jobs_are_done() {
    let mut world = world(2);
    let cluster = cluster("c").manual(1);
    world.put_cluster(&cluster);
    let uid = world.submit(job("j"));
    world.settle();
    world.drain("n1");
    world.settle();
    assert_eq!(nodes(&world, &cluster), ["n1", "n2"]);
    assert_eq!(leaving(&world, &cluster), ["n1"]);
    assert_eq!(state(&world, &uid), ExecutionState::Running);
    let phase = world.allocation(&uid, &NodeName::new("n1")).unwrap().phase;
    assert_eq!(phase, AllocationPhase::Run, "its job may end");
    world.restart();
    world.end(&uid, "n1", Outcome::Completed);
    world.settle();
    assert_eq!(nodes(&world, &cluster), ["n2"]);
    assert_eq!(state(&world, &uid), ExecutionState::Succeeded);
    assert_eq!(world.snapshot.pool("cpu").count(), 0);
    world.resume("n1");
    world.settle();
    assert_eq!(world.snapshot.pool("cpu").count(), 1);
}

#[test]
fn a_cluster_says_that_a_drained_node_could_help() {
    let mut world = world(1);
    world.add_node(&node("other").size("gpu"));
    world.drain("other");
    let cluster = cluster("c").manual(1);
    world.put_cluster(&cluster);
    world.settle();
    world.drain("n1");
    world.settle();
    assert_eq!(nodes(&world, &cluster), [""; 0]);
    let status = world.cluster_status(&cluster).unwrap();
    let errors = status.errors.iter();
    let said: Vec<_> = errors
        .map(|error| (error.code.as_str(), &error.message))
        .collect();
    assert_eq!(said[0].0, "NotEnoughNodes");
    assert_eq!(said[1].0, "NodeDrained");
    assert!(said[1].1.starts_with("1 node of size"), "{}", said[1].1);
    assert!(said[1].1.contains("resume n1"), "{}", said[1].1);
    world.resume("n1");
    world.settle();
    let status = world.cluster_status(&cluster).unwrap();
    assert_eq!((status.nodes.len(), status.errors.len()), (1, 0));
}

#[test]
fn a_node_that_is_resumed_in_time_stays() {
    for cluster in [cluster("c").manual(1), cluster("c").auto(0, 1)] {
        let mut world = world(1);
        world.put_cluster(&cluster);
        let uid = world.submit(job("j").share(0, 1.0, None));
        world.settle();
        world.drain("n1");
        world.settle();
        assert_eq!(leaving(&world, &cluster), ["n1"]);
        let second = world.submit(job("second").share(0, 1.0, None));
        world.settle();
        assert_eq!(state(&world, &second), ExecutionState::Queued);
        world.resume("n1");
        world.settle();
        assert_eq!(leaving(&world, &cluster), [""; 0]);
        assert_eq!(state(&world, &second), ExecutionState::Running);
        assert_eq!(state(&world, &uid), ExecutionState::Running);
    }
}

#[test]
fn a_full_automatic_cluster_grows_past_a_drained_node() {
    let mut world = world(2);
    let cluster = cluster("c").auto(0, 1);
    world.put_cluster(&cluster);
    world.submit(job("j"));
    world.settle();
    world.drain("n1");
    let second = world.submit(job("second"));
    world.settle();
    assert_eq!(state(&world, &second), ExecutionState::Running);
}

#[test]
fn a_cluster_without_nodes_does_not_wait_for_a_drained_one() {
    let mut world = world(1);
    let cluster = cluster("c").manual(1);
    world.put_cluster(&cluster);
    let uid = world.submit(job("j"));
    world.settle();
    world.drain("n1");
    world.settle();
    world.put_cluster(&cluster.clone().manual(0));
    world.settle();
    let phase = world.allocation(&uid, &NodeName::new("n1")).unwrap().phase;
    assert_eq!(phase, AllocationPhase::Stop);
}

#[test]
fn a_cluster_may_keep_idle_nodes_as_long_as_it_says() {
    let mut world = world(1);
    let cluster = cluster("c").auto(0, 1).idle_delay_seconds(300);
    world.put_cluster(&cluster);
    let uid = world.submit(job("j"));
    world.settle();
    world.end(&uid, "n1", Outcome::Completed);
    world.settle();
    world.advance_seconds(299);
    world.settle();
    assert_eq!(nodes(&world, &cluster), ["n1"]);
    assert_eq!(
        world.decide().wake_at,
        Some(crate::testing::at_second(1300))
    );
    world.advance_seconds(1);
    world.settle();
    assert_eq!(nodes(&world, &cluster), [""; 0]);
}

#[test]
fn dedicated_clusters_are_filled_before_older_ones_of_low_priority() {
    let mut world = world(1);
    let mut low = cluster("a").manual(1);
    low.0.properties.vm_priority = VmPriority::LowPriority;
    let mut young = cluster("b").manual(1);
    young.0.created_at = at_second(20);
    let mut old = cluster("c").manual(1);
    old.0.created_at = at_second(10);
    for cluster in [&low, &young, &old] {
        world.put_cluster(cluster);
    }
    world.settle();
    assert_eq!(nodes(&world, &old), ["n1"]);
    assert_eq!(nodes(&world, &young), [""; 0]);
    assert_eq!(nodes(&world, &low), [""; 0]);
}

#[test]
fn a_node_goes_to_the_cluster_whose_job_it_is_promised_to() {
    let mut world = world(2);
    world.put_cluster(&cluster("c").auto(0, 2));
    world.put_cluster(&cluster("d").auto(0, 2));
    let first = world.submit(job("first"));
    let second = world.submit(job("second").on("d"));
    world.settle();
    let gang = world.submit(job("gang").nodes(2));
    world.advance_seconds(1);
    let late = world.submit(job("late").on("d"));
    world.end(&second, "n2", Outcome::Completed);
    world.settle();
    assert_eq!(
        state(&world, &late),
        ExecutionState::Queued,
        "it would delay a job of another cluster that came before it"
    );
    assert_eq!(nodes(&world, &cluster("d")), [""; 0]);
    world.end(&first, "n1", Outcome::Completed);
    world.settle();
    assert_eq!(state(&world, &gang), ExecutionState::Running);
}

#[test]
fn an_idle_node_that_the_own_first_job_waits_for_is_kept() {
    let mut world = world(2);
    let own = cluster("c").auto(0, 2);
    world.put_cluster(&own);
    world.put_cluster(&cluster("d").auto(0, 2));
    let first = world.submit(job("first"));
    let second = world.submit(job("second"));
    world.settle();
    world.submit(job("gang").nodes(2));
    world.advance_seconds(1);
    world.submit(job("late").on("d"));
    world.end(&first, "n1", Outcome::Completed);
    world.advance_seconds(100);
    world.settle();
    assert_eq!(nodes(&world, &own), ["n1", "n2"]);
    assert_eq!(state(&world, &second), ExecutionState::Running);
}
