use lote_model::id::JobUid;
use lote_model::node::CONTAINERS;
use lote_model::report::Outcome;
use lote_model::state::Priority;

use crate::testing::{World, cluster, job, node};

fn world(nodes: u32) -> World {
    let mut world = World::new();
    for number in 1..=nodes {
        world.add_node(&node(&format!("n{number}")).gpus(4));
    }
    world.put_cluster(&cluster("c").manual(nodes));
    world.settle();
    world
}

fn runs(world: &World, uid: &JobUid) -> bool {
    !world.nodes_of(uid).is_empty()
}

#[test]
fn a_gang_gets_all_of_its_nodes_or_none() {
    let mut world = world(3);
    let first = world.submit(job("a").nodes(2));
    let second = world.submit(job("b").nodes(2));
    world.settle();
    assert_eq!(world.nodes_of(&first), ["n1", "n2"]);
    assert!(!runs(&world, &second));
    assert_eq!(world.allocations().len(), 2);
    world.end(&first, "n1", Outcome::Completed);
    world.settle();
    assert_eq!(
        world.nodes_of(&second),
        ["n1", "n3"],
        "a node is free as soon as it is done with its part"
    );
}

#[test]
fn priority_comes_before_age() {
    let mut world = world(1);
    let running = world.submit(job("a"));
    world.settle();
    let low = world.submit(job("low").priority(Priority::Low));
    let old = world.submit(job("old"));
    world.advance_seconds(1);
    let young = world.submit(job("young"));
    let high = world.submit(job("high").priority(Priority::High));
    let mut previous = running;
    for next in [high, old, young, low] {
        world.end(&previous, "n1", Outcome::Completed);
        world.settle();
        assert!(runs(&world, &next), "{next}");
        previous = next;
    }
}

#[test]
fn shares_go_where_others_are_so_that_whole_nodes_stay_free() {
    let mut world = world(2);
    let part = world.submit(job("a").share(1, 1.0, None));
    world.settle();
    let other = world.submit(job("b").share(1, 1.0, None));
    let whole = world.submit(job("c"));
    world.settle();
    assert_eq!(world.nodes_of(&part), world.nodes_of(&other));
    assert!(runs(&world, &whole));
}

#[test]
fn small_jobs_fill_holes_only_if_they_end_before_the_large_one_starts() {
    let mut world = world(2);
    world.submit(job("running").limit_seconds(100));
    world.settle();
    let large = world.submit(job("large").nodes(2));
    world.advance_seconds(1);
    let long = world.submit(job("long").limit_seconds(100));
    let short = world.submit(job("short").limit_seconds(99));
    world.settle();
    assert!(!runs(&world, &large));
    assert!(!runs(&world, &long), "it would delay the large job");
    assert!(runs(&world, &short));
}

#[test]
fn jobs_beside_the_reservation_start() {
    let mut world = world(3);
    world.submit(job("running").limit_seconds(100).nodes(2));
    world.settle();
    // Two nodes at second 1,100 at the latest: the idle one and one of the others.
    let large = world.submit(job("large").nodes(2).share(3, 1.0, None));
    let beside = world.submit(job("beside").share(1, 1.0, None));
    let too_much = world.submit(job("more").share(2, 1.0, None));
    world.settle();
    assert!(!runs(&world, &large));
    assert!(
        runs(&world, &beside),
        "one GPU is left beside the reserved three"
    );
    assert!(!runs(&world, &too_much));
}

#[test]
fn a_job_that_can_never_run_holds_nobody_up() {
    let mut world = world(2);
    let never = world.submit(job("never").nodes(3));
    let never_either = world.submit(job("neither").share(5, 1.0, None));
    let other = world.submit(job("other").nodes(2));
    world.settle();
    assert!(!runs(&world, &never) && !runs(&world, &never_either));
    assert!(runs(&world, &other));
}

#[test]
fn unwell_nodes_get_no_jobs() {
    let mut world = world(1);
    world.add_node(&node("n1").unwell());
    let uid = world.submit(job("a"));
    world.settle();
    assert!(!runs(&world, &uid));
    world.add_node(&node("n1"));
    world.settle();
    assert!(runs(&world, &uid));
}

#[test]
fn nobody_overtakes_a_job_whose_explanation_is_being_written() {
    let mut world = world(1);
    let running = world.submit(job("running"));
    world.settle();
    let first = world.submit(job("first"));
    world.advance_seconds(3);
    // Too young to be explained, so nothing is under way for it.
    let second = world.submit(job("second"));
    let decisions = world.decide();
    assert!(decisions.explained);
    world.end(&running, "n1", Outcome::Completed);
    let overtaking = world.decide();
    assert!(
        !overtaking
            .actions
            .iter()
            .any(|action| matches!(action, crate::actions::Action::Start(_)))
    );
    for action in decisions.actions.iter().chain(&overtaking.actions) {
        world.carry_out(action);
    }
    world.settle();
    assert!(runs(&world, &first) && !runs(&world, &second));
}

fn node_at(name: &str, rack: &str, switch: &str) -> crate::testing::NodeBuilder {
    let mut node = node(name).gpus(4);
    node.0.labels = [("rack", rack), ("switch", switch)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    node
}

/// Two racks: one with two switches of two nodes each, one with a switch of three.
fn labelled_world() -> World {
    let mut world = World::new();
    for (name, rack, switch) in [
        ("n1", "r1", "s1"),
        ("n2", "r2", "s1"),
        ("n3", "r1", "s2"),
        ("n4", "r2", "s1"),
        ("n5", "r1", "s1"),
        ("n6", "r1", "s2"),
        ("n7", "r2", "s1"),
    ] {
        world.add_node(&node_at(name, rack, switch));
    }
    world.put_cluster(&cluster("c").auto(0, 7));
    world.settle();
    world
}

#[test]
fn a_gang_goes_into_the_smallest_domain_that_holds_it() {
    for (count, nodes) in [
        (2, vec!["n1", "n5"]),
        (3, vec!["n2", "n4", "n7"]),
        (4, vec!["n1", "n5", "n3", "n6"]),
        (5, vec!["n1", "n5", "n3", "n6", "n2"]),
    ] {
        let mut world = labelled_world();
        let gang = world.submit(job("gang").nodes(count));
        world.settle();
        assert_eq!(world.nodes_of(&gang), nodes);
    }
}

#[test]
fn jobs_of_one_node_leave_large_domains_whole() {
    let mut world = labelled_world();
    let single = world.submit(job("single"));
    world.settle();
    assert_eq!(
        world.nodes_of(&single),
        ["n1"],
        "of one of the small switches"
    );
    let other = world.submit(job("other"));
    let gang = world.submit(job("gang").nodes(3));
    world.settle();
    assert_eq!(world.nodes_of(&other), ["n5"], "the rest of that switch");
    assert_eq!(world.nodes_of(&gang), ["n2", "n4", "n7"]);
}

#[test]
fn a_gang_of_shares_goes_near_too() {
    let mut world = labelled_world();
    let gang = world.submit(job("gang").nodes(2).share(1, 1.0, None));
    world.settle();
    assert_eq!(world.nodes_of(&gang), ["n1", "n5"]);
    let second = world.submit(job("second").nodes(2).share(1, 1.0, None));
    world.settle();
    assert_eq!(world.nodes_of(&second), ["n1", "n5"], "where others are");
}

#[test]
fn one_order_holds_for_all_clusters_of_the_pool() {
    let mut world = World::new();
    world.add_node(&node("n1"));
    for name in ["a", "b"] {
        world.put_cluster(&cluster(name).auto(0, 1));
    }
    let running = world.submit(job("running").on("a"));
    world.settle();
    let old = world.submit(job("old").on("b"));
    world.advance_seconds(1);
    let young = world.submit(job("young").on("a"));
    world.end(&running, "n1", Outcome::Completed);
    world.settle();
    assert!(
        runs(&world, &old),
        "though the node was of the other cluster"
    );
    assert!(!runs(&world, &young));
}

#[test]
fn jobs_with_images_go_where_containers_run() {
    let mut world = World::new();
    for number in 1..=4 {
        let plain = node(&format!("n{number}")).gpus(4);
        let is_able = number % 2 == 0;
        world.add_node(&if is_able {
            plain.offering(CONTAINERS)
        } else {
            plain
        });
    }
    world.put_cluster(&cluster("c").manual(4));
    world.settle();
    let whole = world.submit(job("whole").in_container());
    world.settle();
    assert_eq!(world.nodes_of(&whole), ["n2"]);
    let gang = world.submit(job("gang").in_container().nodes(2));
    world.settle();
    assert!(!runs(&world, &gang), "one able node is taken");
    let part = world.submit(
        job("part")
            .in_container()
            .share(1, 1.0, None)
            .limit_seconds(1),
    );
    let plain = world.submit(job("plain").nodes(2));
    world.settle();
    assert_eq!(
        world.nodes_of(&plain),
        ["n1", "n3"],
        "others are not held back"
    );
    assert_eq!(
        world.nodes_of(&part),
        ["n4"],
        "it ends before the gang could start"
    );
    world.end(&whole, "n2", Outcome::Completed);
    world.end(&part, "n4", Outcome::Completed);
    world.settle();
    assert_eq!(world.nodes_of(&gang), ["n2", "n4"]);
}
