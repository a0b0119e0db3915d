//! A stream of small jobs does not starve a large one, and fills the holes that it leaves.

use lote_control::testing::{World, cluster, job, node};
use lote_model::id::{JobUid, NodeName};
use lote_model::key;
use lote_model::report::Outcome;
use lote_model::state::ExecutionState;
use proptest::prelude::*;

/// Jobs run exactly as long as they may.
fn end_due_jobs(world: &mut World) {
    for (node, allocation) in world.allocations() {
        let record = world.submitted(&allocation.uid).expect("a job");
        let seconds =
            i64::try_from(record.properties.constraints.max_wall_clock_time.0).expect("short");
        if allocation.granted_at.as_second() + seconds - 1 <= world.now.as_second() {
            world.end(&allocation.uid, node.as_str(), Outcome::Completed);
        }
    }
}

fn has_started(world: &World, uid: &JobUid) -> bool {
    world
        .status(uid)
        .is_some_and(|status| status.state != ExecutionState::Queued)
}

fn world_of(node_count: u32, is_auto: bool) -> World {
    let mut world = World::new();
    for number in 0..node_count {
        world.add_node(&node(&format!("n{number}")).gpus(2));
    }
    let cluster = cluster("c");
    world.put_cluster(&if is_auto {
        cluster.auto(0, node_count)
    } else {
        cluster.manual(node_count)
    });
    world.settle();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_large_job_starts_when_those_before_it_may_have_ended(
        node_count in 1..6_u32,
        is_auto in any::<bool>(),
        is_shared in any::<bool>(),
        limits in proptest::collection::vec(2..60_u64, 1..12),
        stream in proptest::collection::vec(2..60_u64, 80),
    ) {
        let mut world = world_of(node_count, is_auto);
        let small = |number: usize, limit: u64| {
            let job = job(&format!("s{number:03}")).limit_seconds(limit);
            if is_shared { job.share(1, 1.0, None) } else { job }
        };
        for (number, limit) in limits.iter().enumerate() {
            world.submit(small(number, *limit));
        }
        world.settle();
        // Jobs that wait already are before the large one, and run in as many rounds.
        let bound: u64 = limits.iter().sum();
        let large = world.submit(job("large").nodes(node_count));
        for (number, limit) in stream.iter().enumerate() {
            world.advance_seconds(1);
            world.submit(small(100 + number, *limit));
            end_due_jobs(&mut world);
            world.settle();
        }
        for _ in 0..bound {
            if has_started(&world, &large) {
                break;
            }
            world.advance_seconds(1);
            end_due_jobs(&mut world);
            world.settle();
        }
        let status = world.status(&large).filter(|status| status.start_time.is_some());
        let start = status.expect("the large job started").start_time.expect("a start").as_second();
        prop_assert!(start <= 1000 + i64::try_from(bound).expect("short"), "it waited until {start}");
    }
}

/// Clusters of one size without nodes of their own.
const RIVALS: [&str; 4] = ["c", "d", "e", "f"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Small jobs of other clusters of the size do not take a gang's nodes again and again.
    #[test]
    fn a_gang_gets_nodes_of_the_pool_whatever_other_clusters_want(
        node_count in 1..6_u32,
        kept in 0..2_u32,
        limits in proptest::collection::vec((2..60_u64, 0..4_usize), 1..12),
        stream in proptest::collection::vec((2..60_u64, 0..4_usize, any::<bool>()), 80),
    ) {
        let mut world = World::new();
        // One of the rivals keeps a node whatever happens; the gang needs all others.
        for number in 0..node_count + kept {
            world.add_node(&node(&format!("n{number}")).gpus(2));
        }
        for name in RIVALS {
            let minimum = if name == "d" { kept } else { 0 };
            world.put_cluster(&cluster(name).auto(minimum, node_count + kept));
        }
        world.settle();
        let small = |number: usize, limit: u64, rival: usize| {
            job(&format!("s{number:03}")).limit_seconds(limit).on(RIVALS[rival])
        };
        for (number, (limit, rival)) in limits.iter().enumerate() {
            world.submit(small(number, *limit, *rival));
        }
        world.settle();
        let bound: u64 = limits.iter().map(|(limit, _)| limit).sum();
        let large = world.submit(job("large").nodes(node_count));
        for (number, (limit, rival, is_shared)) in stream.iter().enumerate() {
            world.advance_seconds(1);
            let small = small(100 + number, *limit, *rival);
            world.submit(if *is_shared { small.share(1, 1.0, None) } else { small });
            end_due_jobs(&mut world);
            world.settle();
        }
        for _ in 0..bound {
            if has_started(&world, &large) {
                break;
            }
            world.advance_seconds(1);
            end_due_jobs(&mut world);
            world.settle();
        }
        let status = world.status(&large).filter(|status| status.start_time.is_some());
        let start = status.expect("the gang started").start_time.expect("a start").as_second();
        prop_assert!(start <= 1000 + i64::try_from(bound).expect("short"), "it waited until {start}");
    }
}

#[test]
fn lost_nodes_of_a_large_job_do_not_come_back_as_two() {
    // A node that returns after its job was repeated elsewhere finds nothing to do.
    let mut world = world_of(2, false);
    let uid = world.submit(job("j"));
    world.settle();
    let first = world.status(&uid).expect("a status").nodes[0].clone();
    world.set_alive(&first, false);
    world.advance_seconds(30);
    world.settle();
    world.set_alive(&first, true);
    world.settle();
    assert_eq!(world.allocation(&uid, &first), None);
    let second = world.status(&uid).expect("a status").nodes[0].clone();
    assert_ne!(first, second);
    let late = lote_model::report::ReportPhase::Ended {
        outcome: Outcome::Completed,
        account: lote_model::accounting::Account::default(),
    };
    world.report_attempt(&uid, &NodeName::new(first.as_str()), 1, 0, late);
    world.settle();
    assert!(world.allocation(&uid, &second).is_some());
    world.end(&uid, second.as_str(), Outcome::Completed);
    world.settle();
    assert_eq!(world.ledger.list(key::REPORTS).count(), 0);
}
