use jiff::SignedDuration;
use lote_model::id::{JobUid, NodeName};
use lote_model::key;
use lote_model::report::Outcome;
use lote_model::state::{ExecutionState, Priority};
use proptest::prelude::*;

use super::{LEAST_NODE_SECONDS, step, used};
use crate::config::Config;
use crate::decide::decide;
use crate::testing::{JobBuilder, World, cluster, job, node};

fn world(nodes: u32, half_life: SignedDuration) -> World {
    let mut world = World::with_config(Config {
        usage_half_life: half_life,
        explanations_max: 0,
        ..Config::default()
    });
    for number in 1..=nodes {
        world.add_node(&node(&format!("n{number}")));
    }
    world.put_cluster(&cluster("c").manual(nodes));
    world.settle();
    world
}

fn state(world: &World, uid: &JobUid) -> ExecutionState {
    let status = world.status(uid);
    status.map_or(ExecutionState::Queued, |status| status.state)
}

fn used_by(world: &World, workspace: &str) -> f64 {
    let key = format!("lab/{workspace}");
    let half_life = world.snapshot.config().usage_half_life;
    let workspace = world.snapshot.workspaces().get(key.as_str());
    workspace.map_or(0.0, |workspace| used(workspace, world.now, half_life))
}

/// Jobs run exactly as long as they may.
fn end_due_jobs(world: &mut World) {
    for (node, allocation) in world.allocations() {
        let limit = world.submitted(&allocation.uid).unwrap();
        let limit = limit.properties.constraints.max_wall_clock_time.0;
        let limit = i64::try_from(limit).unwrap();
        if allocation.granted_at.as_second() + limit - 1 <= world.now.as_second() {
            world.end(&allocation.uid, node.as_str(), Outcome::Completed);
        }
    }
}

#[test]
fn steps_are_about_a_fifth() {
    assert_eq!(step(0.0), 0);
    assert_eq!(step(LEAST_NODE_SECONDS * 0.99), 0);
    let mut known = 0;
    for tenths in 10..1_000_000_u32 {
        let now = step(LEAST_NODE_SECONDS * f64::from(tenths) / 10.0);
        assert!(now == known || now == known + 1, "{tenths}");
        known = now;
    }
    assert_eq!(step(LEAST_NODE_SECONDS), 1);
    assert_eq!(step(LEAST_NODE_SECONDS * 2.0), 5);
    assert_eq!(step(LEAST_NODE_SECONDS * 1024.0), 41);
    assert!(step(f64::MAX) > 41);
}

#[test]
fn whoever_used_less_comes_first_and_priority_before_that() {
    let mut world = world(1, SignedDuration::from_hours(24));
    let first = world.submit(job("first").of_workspace("a"));
    world.settle();
    let low = world.submit(job("low").of_workspace("b").priority(Priority::Low));
    let of_a = world.submit(job("old").of_workspace("a"));
    world.advance_seconds(10_000);
    let of_b = world.submit(job("young").of_workspace("b"));
    let mut previous = first;
    for next in [of_b, of_a, low] {
        world.end(&previous, "n1", Outcome::Completed);
        world.settle();
        assert_eq!(state(&world, &next), ExecutionState::Running, "{next}");
        previous = next;
    }
}

#[test]
fn ten_jobs_start_promptly_beside_a_thousand_that_came_before() {
    let mut world = world(4, SignedDuration::from_hours(24));
    for number in 0..1000 {
        world.submit(
            job(&format!("a{number}"))
                .of_workspace("a")
                .limit_seconds(60),
        );
    }
    world.settle();
    world.advance_seconds(5);
    let few: Vec<_> = (0..10)
        .map(|number| {
            let job = job(&format!("b{number}"))
                .of_workspace("b")
                .limit_seconds(60);
            world.submit(job)
        })
        .collect();
    let start = world.now;
    let wait = |world: &World| {
        few.iter()
            .any(|uid| state(world, uid) == ExecutionState::Queued)
    };
    while wait(&world) {
        world.advance_seconds(1);
        end_due_jobs(&mut world);
        world.settle();
        let waited = world.now.duration_since(start).as_secs();
        // Two of four nodes for ten jobs of a minute, after those that run.
        assert!(waited <= 8 * 60, "they wait for {waited} s");
    }
    let all = world.allocations();
    assert!(
        all.iter()
            .any(|(_, allocation)| allocation.uid.as_str().starts_with("uid-a")),
        "the others are not shut out"
    );
}

#[test]
fn what_was_used_is_stored_once_added_up_and_forgotten() {
    let mut world = world(2, SignedDuration::from_hours(1));
    for number in 0..150 {
        let whole = world.submit(job(&format!("j{number}")).of_workspace("a"));
        // Half of the processors of the other node.
        let half = job(&format!("h{number}"))
            .of_workspace("a")
            .share(0, 4.0, None);
        let half = world.submit(half);
        world.settle();
        world.advance_seconds(10);
        for uid in [whole, half] {
            let node = world.nodes_of(&uid).remove(0);
            world.end(&uid, &node, Outcome::Completed);
        }
        world.settle();
    }
    let kept = world.ledger.list(key::SHARES).count();
    assert!(kept < 70, "{kept} keys are left of 300 runs");
    // 1,500 s at one and a half nodes, halved each hour.
    let known = used_by(&world, "a");
    assert!((1_900.0..2_100.0).contains(&known), "{known}");
    world.restart();
    let again = used_by(&world, "a");
    assert!((known - again).abs() < 1e-6, "{known} and {again}");
    world.advance_seconds(3600);
    let later = used_by(&world, "a");
    assert!((later * 2.0 - known).abs() < 1e-6, "{known} and {later}");
    for _ in 0..64 {
        let uid = world.submit(job("last").of_workspace("a"));
        world.settle();
        let node = world.nodes_of(&uid).remove(0);
        world.end(&uid, &node, Outcome::Completed);
        world.settle();
        world.delete(&uid);
        world.settle();
    }
    world.advance_seconds(3600 * 40);
    world.settle();
    assert!(world.ledger.list(key::SHARES).count() <= 64);
    assert!(used_by(&world, "a") < 1.0);
}

#[test]
fn a_job_that_is_erased_or_queued_again_has_used_its_nodes_too() {
    let mut world = world(1, SignedDuration::from_hours(24));
    let uid = world.submit(job("j").of_workspace("a"));
    world.settle();
    world.advance_seconds(1000);
    world.set_alive(&NodeName::new("n1"), false);
    world.settle();
    world.advance_seconds(60);
    world.settle();
    assert_eq!(state(&world, &uid), ExecutionState::Queued);
    let once = used_by(&world, "a");
    assert!((1000.0..1100.0).contains(&once), "{once}");
    world.set_alive(&NodeName::new("n1"), true);
    world.settle();
    world.advance_seconds(1000);
    world.delete(&uid);
    world.settle();
    world.end(&uid, "n1", Outcome::Stopped);
    world.settle();
    assert!(world.status(&uid).is_none());
    let twice = used_by(&world, "a");
    assert!((1900.0..2200.0).contains(&twice), "{twice}");
}

fn of(workspace: &str, number: usize, limit: u64) -> JobBuilder {
    job(&format!("{workspace}{number}"))
        .of_workspace(workspace)
        .limit_seconds(limit)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever the jobs are like, two workspaces that always have some waiting come to use the
    /// same; and who decides anew from the store decides the same.
    #[test]
    fn shares_converge(
        node_count in 1..5_u32,
        lead in 0..30_usize,
        limits_of_a in proptest::collection::vec(20..300_u64, 1..8),
        limits_of_b in proptest::collection::vec(20..300_u64, 1..8),
    ) {
        let half_life = SignedDuration::from_mins(30);
        let mut world = world(node_count, half_life);
        let (mut count_a, mut count_b) = (0, 0);
        // The one has been alone for a while.
        for _ in 0..lead {
            world.submit(of("a", count_a, limits_of_a[count_a % limits_of_a.len()]));
            count_a += 1;
        }
        for round in 0..2_400 {
            let waiting = |workspace: &str| {
                let clusters = world.snapshot.clusters().values();
                let queues = clusters.flat_map(|cluster| cluster.queue.keys());
                queues.filter(|key| key.uid.as_str()[4..].starts_with(workspace)).count()
            };
            let (waiting_a, waiting_b) = (waiting("a"), waiting("b"));
            for _ in waiting_a..6 {
                world.submit(of("a", count_a, limits_of_a[count_a % limits_of_a.len()]));
                count_a += 1;
            }
            for _ in waiting_b..6 {
                world.submit(of("b", count_b, limits_of_b[count_b % limits_of_b.len()]));
                count_b += 1;
            }
            world.settle();
            world.advance_seconds(5);
            end_due_jobs(&mut world);
            if round % 400 == 0 {
                let known = format!("{:?}", decide(&world.snapshot, world.now).actions);
                let again = format!("{:?}", decide(&world.snapshot, world.now).actions);
                prop_assert_eq!(known, again);
            }
        }
        world.settle();
        let (a, b) = (used_by(&world, "a"), used_by(&world, "b"));
        // Steps of a fifth, and one job more or less at the moment.
        let one_job = 300.0 + 30.0 * 60.0 / 24.0;
        prop_assert!((a - b).abs() <= 0.3 * a.max(b) + one_job, "{a} and {b}");
    }
}
