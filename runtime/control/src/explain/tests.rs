use lote_model::id::JobUid;

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
        "needs 1 node of cluster 'c' at once, 0 can take it now; expected by 1970-01-01 00:18:20 UTC at the latest"
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
