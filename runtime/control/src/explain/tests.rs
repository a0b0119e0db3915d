use lote_model::id::JobUid;
use lote_model::node::CONTAINERS;
use lote_model::state::Priority;

use crate::testing::{World, cluster, job, node};

fn waiting(world: &World, uid: &JobUid) -> Option<String> {
    world.status(uid)?.waiting
}

fn world() -> World {
    let mut world = World::new();
    world.add_node(&node("n1").gpus(1));
    world.put_cluster(&cluster("c").manual(1));
    world.submit(job("running").limit_seconds(100));
    world.settle();
    world
}

#[test]
fn a_waiting_job_says_what_it_lacks_after_two_seconds() {
    let mut world = world();
    let uid = world.submit(job("j"));
    world.settle();
    world.advance_seconds(1);
    world.settle();
    assert_eq!(waiting(&world, &uid), None);
    world.advance_seconds(1);
    world.settle();
    assert_eq!(
        waiting(&world, &uid).unwrap(),
        "needs 1 free node of cluster 'c', 0 are free; enough are expected by 1970-01-01 00:18:20 UTC"
    );
    let revision = world.ledger.revision();
    world.advance_seconds(1);
    world.settle();
    assert_eq!(
        world.ledger.revision(),
        revision,
        "the same text is not written again"
    );
}

#[test]
fn a_job_that_will_never_run_says_what_to_change() {
    let mut world = world();
    let more_nodes = world.submit(job("a").nodes(2));
    let more_gpus = world.submit(job("b").share(2, 1.0, Some("1g")));
    world.put_cluster(&cluster("d").manual(2));
    let more_machines = world.submit(job("d").nodes(2).on("d"));
    world.put_cluster(&cluster("e").size("GPU8").manual(1));
    let other_machines = world.submit(job("e").on("e"));
    world.advance_seconds(2);
    world.settle();
    for (uid, text) in [
        (
            more_nodes,
            "asks for 2 nodes, cluster 'c' has at most 1 node: scale the cluster up",
        ),
        (
            more_gpus,
            "asks for 2 GPUs, 1 processors, 1.0 GiB of memory on each node, and no node of size 'CPU' has that much: \
             ask for less",
        ),
        (
            more_machines,
            "asks for 2 nodes, and only 1 of size 'CPU' can hold it: add machines",
        ),
        (
            other_machines,
            "asks for 1 node of size 'GPU8', and no machine of that size has joined",
        ),
    ] {
        assert_eq!(waiting(&world, &uid).unwrap(), text);
    }
}

#[test]
fn a_thousand_waiting_jobs_are_no_storm_of_writes() {
    let mut world = world();
    let uids: Vec<_> = (0..1000)
        .map(|number| world.submit(job(&format!("j{number}"))))
        .collect();
    world.advance_seconds(2);
    let revision = world.ledger.revision();
    world.settle();
    let written = world.ledger.revision() - revision;
    assert_eq!(written, 64);
    for _ in 0..20 {
        world.advance_seconds(1);
        world.settle();
    }
    assert!(uids.iter().all(|uid| waiting(&world, uid).is_some()));
    assert_eq!(
        uids.iter()
            .filter(|uid| waiting(&world, uid).unwrap().starts_with("waits behind"))
            .count(),
        984
    );
}

/// The texts of waiting jobs, by job.
fn texts(world: &World, uids: &[&JobUid]) -> Vec<String> {
    let text = |uid: &&JobUid| waiting(world, uid).unwrap_or_default();
    uids.iter().map(text).collect()
}

#[test]
fn who_comes_first_is_said() {
    let mut world = world();
    let first = world.submit(job("a"));
    let second = world.submit(job("b"));
    let third = world.submit(job("c"));
    world.advance_seconds(2);
    world.settle();
    assert_eq!(
        texts(&world, &[&first, &second, &third]),
        [
            "needs 1 free node of cluster 'c', 0 are free; enough are expected by 1970-01-01 00:18:20 UTC",
            "needs 1 free node of cluster 'c', 0 are free; \
             1 job of cluster 'c' comes first, the next is 'a'",
            "needs 1 free node of cluster 'c', 0 are free; \
             2 jobs of cluster 'c' come first, the next is 'a'",
        ]
    );
}

#[test]
fn nodes_that_are_kept_for_a_larger_job_are_said() {
    let mut world = World::new();
    for number in 1..=3 {
        world.add_node(&node(&format!("n{number}")));
    }
    world.put_cluster(&cluster("c").auto(0, 3));
    world.put_cluster(&cluster("d").auto(0, 3));
    world.submit(job("running").limit_seconds(100));
    world.settle();
    let large = world.submit(job("large").nodes(3));
    world.advance_seconds(1);
    let beside = world.submit(job("beside").on("d"));
    let foreign = job("foreign").on("d").of_workspace("other");
    let foreign = world.submit(foreign.priority(Priority::Low));
    world.advance_seconds(2);
    world.settle();
    assert_eq!(
        texts(&world, &[&large, &beside, &foreign]),
        [
            "needs 3 free nodes of size 'CPU', 2 are free; enough are expected by 1970-01-01 00:18:20 UTC; \
             workspace 'ws' has used more of late than others that wait",
            "needs 1 free node of size 'CPU', 2 are free; they are kept for job 'large'; \
             jobs of cluster 'c' come first; \
             workspace 'ws' has used more of late than others that wait",
            "needs 1 free node of size 'CPU', 2 are free; they are kept for a job of another workspace; \
             1 job of cluster 'd' comes first",
        ]
    );
}

#[test]
fn nodes_that_take_no_jobs_and_limits_of_clusters_are_said() {
    let mut world = World::new();
    for number in 1..=5 {
        world.add_node(&node(&format!("n{number}")));
    }
    world.add_node(&node("n5").unwell());
    world.put_cluster(&cluster("c").auto(0, 2));
    world.submit(job("running").limit_seconds(100));
    world.settle();
    world.drain("n2");
    world.drain("n3");
    world.set_alive(&lote_model::id::NodeName::new("n4"), false);
    let gang = world.submit(job("gang").nodes(2));
    let part = world.submit(job("part").nodes(2).share(0, 2.0, Some("1g")));
    world.advance_seconds(2);
    world.settle();
    assert_eq!(
        texts(&world, &[&gang, &part]),
        [
            "needs 2 free nodes of size 'CPU', 0 are free; \
             cluster 'c' has 1 of the 2 nodes that it may have; of 5 nodes 2 are drained, 1 is not heard of, 1 is unwell",
            "needs 2 nodes of size 'CPU' with 0 GPUs, 2 processors, 1.0 GiB of memory free, 0 have that; \
             cluster 'c' has 1 of the 2 nodes that it may have; 1 job of cluster 'c' comes first, the next is 'gang'; \
             of 5 nodes 2 are drained, 1 is not heard of, 1 is unwell",
        ]
    );
    world.put_cluster(&cluster("c").auto(0, 1));
    let single = world.submit(job("single"));
    world.terminate(&gang);
    world.terminate(&part);
    world.advance_seconds(2);
    world.settle();
    assert_eq!(
        texts(&world, &[&single]),
        [
            "needs 1 free node of size 'CPU', 0 are free; cluster 'c' has 1 of the 1 nodes that it may have; \
             enough are expected by 1970-01-01 00:18:20 UTC; \
             of 5 nodes 2 are drained, 1 is not heard of, 1 is unwell",
        ]
    );
}

#[test]
fn jobs_far_behind_say_roughly_how_many_are_before_them() {
    let texts: Vec<_> = [16, 19, 20, 49, 50, 99, 100, 150, 200, 1_999, 99_999]
        .map(super::roughly)
        .into();
    assert_eq!(
        texts,
        [10, 10, 20, 20, 50, 50, 100, 100, 200, 1_000, 50_000]
    );
}

#[test]
fn what_too_few_nodes_offer_is_said() {
    let mut world = World::new();
    world.add_node(&node("n1").offering(CONTAINERS));
    world.add_node(&node("n2"));
    world.put_cluster(&cluster("c").manual(2));
    world.settle();
    let gang = world.submit(job("gang").in_container().nodes(2));
    world.advance_seconds(2);
    world.settle();
    assert_eq!(
        waiting(&world, &gang).unwrap(),
        "asks for 2 nodes with containers, and 1 of size 'CPU' offer that: `lote node status` \
         says under 'containers' what the others lack"
    );
}
