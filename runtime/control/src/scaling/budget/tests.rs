use lote_model::allocation::AllocationPhase;
use lote_model::cluster::{ClusterStatus, Withdrawal};
use lote_model::id::{JobUid, NodeName};
use lote_model::money::Money;
use lote_model::report::Outcome;
use lote_model::spending::BudgetPeriod;
use lote_model::state::ExecutionState;

use crate::testing::{ClusterBuilder, World, at_second, cluster, job, node};

/// A node costs 1 in a second.
fn paid(amount: &str, period: BudgetPeriod) -> ClusterBuilder {
    cluster("c")
        .price(Money::parse("3600").unwrap())
        .budget(Money::parse(amount).unwrap(), period)
}

fn world(nodes: u32) -> World {
    let mut world = World::new();
    for number in 1..=nodes {
        world.add_node(&node(&format!("n{number}")));
    }
    world
}

fn status(world: &World) -> ClusterStatus {
    world.cluster_status(&cluster("c")).unwrap()
}

fn spent(world: &World, period: BudgetPeriod) -> String {
    let status = status(world);
    let spending = status.spending.unwrap();
    let spending = spending.until(world.now, status.nodes.len(), period);
    spending.spent().to_string()
}

fn state(world: &World, uid: &JobUid) -> ExecutionState {
    world
        .status(uid)
        .map_or(ExecutionState::Queued, |status| status.state)
}

#[test]
fn a_target_beyond_the_budget_is_held_back_and_says_so() {
    let mut world = world(4);
    world.put_cluster(&paid("1900", BudgetPeriod::Day).manual(4));
    world.settle();
    let status = status(&world);
    assert_eq!(status.nodes.len(), 3, "it pays for ten minutes of three");
    assert_eq!(status.errors[0].code, "BudgetSpent");
    let message = &status.errors[0].message;
    assert!(message.contains("1900.00 per day"), "{message}");
    assert!(message.contains("1970-01-02 00:00:00"), "{message}");
}

#[test]
fn a_cluster_that_has_spent_everything_gives_up_its_nodes_until_the_next_period() {
    let mut world = world(2);
    let cluster = paid("1200", BudgetPeriod::Day).manual(2);
    world.put_cluster(&cluster);
    let uid = world.submit(job("j").attempts(1));
    world.settle();
    assert_eq!(world.decide().wake_at.unwrap().as_second(), 1600);
    world.advance_seconds(599);
    world.settle();
    assert_eq!(status(&world).nodes.len(), 2);
    world.advance_seconds(2);
    world.settle();
    let now = status(&world);
    assert_eq!(now.nodes.len(), 1, "the empty one is gone");
    assert_eq!(
        now.withdrawn.values().next(),
        Some(&Withdrawal::BudgetSpent)
    );
    let phase = world.allocation(&uid, &NodeName::new("n1")).unwrap().phase;
    assert_eq!(phase, AllocationPhase::Stop);
    world.restart();
    world.advance_seconds(5);
    world.end(&uid, "n1", Outcome::Stopped);
    world.settle();
    let now = status(&world);
    assert_eq!((now.nodes.len(), now.withdrawn.len()), (0, 0));
    assert_eq!(now.errors[0].code, "BudgetSpent");
    assert_eq!(spent(&world, BudgetPeriod::Day), "1207.00");
    let job_status = world.status(&uid).unwrap();
    assert_eq!(job_status.state, ExecutionState::Queued);
    assert_eq!(job_status.requeued.unwrap().code, "BudgetSpent");
    world.advance_seconds(10);
    world.settle();
    let waiting = world.status(&uid).unwrap().waiting.unwrap();
    assert!(
        waiting.contains("has spent its budget of 1200.00 per day"),
        "{waiting}"
    );
    world.now = at_second(86_400);
    world.settle();
    assert_eq!(state(&world, &uid), ExecutionState::Running);
    assert_eq!(status(&world).errors, vec![]);
    assert_eq!(spent(&world, BudgetPeriod::Day), "0.00");
}

#[test]
fn a_larger_budget_helps_at_once() {
    let mut world = world(1);
    world.put_cluster(&paid("600", BudgetPeriod::Total).auto(0, 1));
    let uid = world.submit(job("j"));
    world.settle();
    world.advance_seconds(601);
    world.settle();
    world.end(&uid, "n1", Outcome::Stopped);
    world.settle();
    assert_eq!(state(&world, &uid), ExecutionState::Queued);
    let message = &status(&world).errors[0].message;
    assert!(message.contains("when the budget is raised"), "{message}");
    world.put_cluster(&paid("1300", BudgetPeriod::Total).auto(0, 1));
    world.settle();
    assert_eq!(state(&world, &uid), ExecutionState::Running);
}

#[test]
fn leaders_that_come_and_go_count_the_same() {
    let mut once = world(2);
    once.put_cluster(&paid("90000", BudgetPeriod::Month).manual(2));
    once.settle();
    let mut often = world(2);
    often.put_cluster(&paid("90000", BudgetPeriod::Month).manual(2));
    often.settle();
    for _ in 0..20 {
        often.advance_seconds(7);
        often.restart();
        often.settle();
        often.drain("n2");
        often.settle();
        often.resume("n2");
        often.settle();
    }
    once.advance_seconds(140);
    once.settle();
    assert_eq!(spent(&once, BudgetPeriod::Month), "280.00");
    assert_eq!(spent(&often, BudgetPeriod::Month), "280.00");
}

#[test]
fn a_price_without_a_budget_is_only_counted() {
    let mut world = world(1);
    world.put_cluster(&cluster("c").manual(1));
    world.settle();
    assert_eq!(status(&world).spending, None);
    world.advance_seconds(50);
    let priced = cluster("c").manual(1).price(Money::parse("3600").unwrap());
    world.put_cluster(&priced);
    world.settle();
    world.advance_seconds(50);
    world.settle();
    assert_eq!(spent(&world, BudgetPeriod::Total), "50.00");
    world.put_cluster(&cluster("c").manual(1));
    world.settle();
    assert_eq!(status(&world).spending, None);
}

#[test]
fn a_drained_node_is_not_waited_for_when_the_money_is_spent() {
    let mut world = world(1);
    world.put_cluster(&paid("600", BudgetPeriod::Total).auto(0, 1));
    let uid = world.submit(job("j"));
    world.settle();
    world.drain("n1");
    world.settle();
    let phase = |world: &World| world.allocation(&uid, &NodeName::new("n1")).unwrap().phase;
    assert_eq!(phase(&world), AllocationPhase::Run);
    world.advance_seconds(601);
    world.settle();
    assert_eq!(phase(&world), AllocationPhase::Stop);
}
