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
