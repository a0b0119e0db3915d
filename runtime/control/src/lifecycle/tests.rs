use lote_model::allocation::{AllocationPhase, NodePlan};
use lote_model::id::JobUid;
use lote_model::job::{ErrorRecord, JobStatus};
use lote_model::report::{Outcome, ReportPhase};
use lote_model::state::ExecutionState::{self, Failed, Queued, Running, Succeeded, Terminating};
use lote_model::{id::NodeName, key};

use crate::testing::{World, cluster, job, node};

fn world(nodes: u32) -> World {
    let mut world = World::new();
    for number in 1..=nodes {
        world.add_node(&node(&format!("n{number}")));
    }
    world.put_cluster(&cluster("c").manual(nodes));
    world.settle();
    world
}

fn started(world: &mut World, nodes: u32) -> JobUid {
    let uid = world.submit(job("j").nodes(nodes).limit_seconds(100));
    world.settle();
    assert_eq!(state(world, &uid), Running);
    uid
}

fn state(world: &World, uid: &JobUid) -> ExecutionState {
    world.status(uid).map_or(Queued, |status| status.state)
}

fn phase(world: &World, uid: &JobUid, node: &str) -> AllocationPhase {
    world.allocation(uid, &NodeName::new(node)).unwrap().phase
}

fn failed(exit_code: i32, message: &str) -> Outcome {
    Outcome::Failed {
        exit_code: Some(exit_code),
        error: ErrorRecord::new("JobFailed", message),
    }
}

fn lost() -> Outcome {
    Outcome::Lost {
        reason: "the machine was restarted".into(),
        error: None,
    }
}

#[track_caller]
fn assert_failed(status: &JobStatus, code: &str, exit_code: Option<i32>) {
    assert_eq!(
        (
            status.state,
            status.errors[0].code.as_str(),
            status.exit_code
        ),
        (Failed, code, exit_code)
    );
    assert!(
        status.start_time.is_some() && status.end_time.is_some(),
        "clients need both times"
    );
}

fn assert_nothing_left(world: &World) {
    assert_eq!(world.allocations(), []);
    assert_eq!(world.ledger.list(key::REPORTS).count(), 0);
    assert_eq!(world.snapshot.live_jobs(), 0);
    assert!(
        world
            .snapshot
            .nodes()
            .values()
            .all(|node| node.holds.is_empty())
    );
}

#[test]
fn a_node_that_comes_back_just_then_keeps_its_job() {
    let mut world = World::new();
    world.add_node(&node("n1"));
    world.put_cluster(&cluster("c").auto(0, 2));
    let uid = world.submit(job("j"));
    world.settle();
    world.set_alive(&NodeName::new("n1"), false);
    world.advance_seconds(60);
    // The leader decides that it is lost; before that is stored, the node is there again.
    let decisions = world.decide();
    assert!(!decisions.actions.is_empty());
    let alive = key::alive(&NodeName::new("n1"));
    world.ledger.put(&alive, &true);
    for action in &decisions.actions {
        world.carry_out(action);
    }
    assert!(world.allocation(&uid, &NodeName::new("n1")).is_some());
    assert_eq!(world.status(&uid).unwrap().state, ExecutionState::Running);
}

#[test]
fn one_node_runs_at_once_and_exit_code_zero_succeeds() {
    let mut world = world(1);
    let uid = started(&mut world, 1);
    assert_eq!(phase(&world, &uid, "n1"), AllocationPhase::Run);
    world.end(&uid, "n1", Outcome::Completed);
    world.settle();
    let status = world.status(&uid).unwrap();
    assert_eq!(
        (status.state, status.exit_code, status.attempt),
        (Succeeded, Some(0), 1)
    );
    assert_eq!(
        status.account.unwrap().cpu_seconds.to_bits(),
        1.0_f64.to_bits()
    );
    assert_nothing_left(&world);
    assert_eq!(
        world.ledger.list(&key::plans_of(&uid)).count(),
        1,
        "the plan of the last attempt stays"
    );
}

#[test]
fn a_gang_runs_when_all_are_prepared() {
    let mut world = world(2);
    let uid = started(&mut world, 2);
    assert_eq!(phase(&world, &uid, "n1"), AllocationPhase::Prepare);
    world.report(&uid, "n1", ReportPhase::Prepared);
    world.settle();
    assert_eq!(phase(&world, &uid, "n1"), AllocationPhase::Prepare);
    let doing = "pulling an image".to_owned();
    world.report(&uid, "n2", ReportPhase::Preparing { doing });
    world.settle();
    assert_eq!(phase(&world, &uid, "n1"), AllocationPhase::Prepare);
    world.report(&uid, "n2", ReportPhase::Prepared);
    world.settle();
    assert_eq!(phase(&world, &uid, "n1"), AllocationPhase::Run);
    assert_eq!(phase(&world, &uid, "n2"), AllocationPhase::Run);
    for name in ["n1", "n2"] {
        world.end(&uid, name, Outcome::Completed);
        world.settle();
    }
    let account = world.status(&uid).unwrap().account.unwrap();
    assert_eq!(account.node_seconds.to_bits(), 4.0_f64.to_bits());
    assert_nothing_left(&world);
}

#[test]
fn supporting_processes_are_stopped_when_all_primaries_are_done() {
    for restarts in [false, true] {
        let mut world = world(3);
        world.primary_ranks = Some([0, 2].into());
        let uid = started(&mut world, 3);
        let done = ReportPhase::PrimariesDone { exit_code: 0 };
        for name in ["n1", "n2", "n3"] {
            world.report(&uid, name, ReportPhase::Running);
        }
        world.report(&uid, "n1", done.clone());
        world.settle();
        assert_eq!(phase(&world, &uid, "n2"), AllocationPhase::Run);
        if restarts {
            world.restart();
        }
        world.report(&uid, "n3", done);
        world.settle();
        assert_eq!(phase(&world, &uid, "n2"), AllocationPhase::Stop);
        for name in ["n1", "n2", "n3"] {
            world.end(&uid, name, Outcome::Stopped);
        }
        world.settle();
        assert_eq!(world.status(&uid).unwrap().exit_code, Some(0));
        assert_nothing_left(&world);
    }
}

#[test]
fn the_first_failure_stops_the_others_and_decides() {
    let mut world = world(2);
    let uid = started(&mut world, 2);
    world.end(&uid, "n2", failed(3, "first"));
    world.settle();
    assert_eq!(phase(&world, &uid, "n1"), AllocationPhase::Stop);
    assert_eq!(state(&world, &uid), Running);
    world.advance_seconds(1);
    world.end(&uid, "n1", failed(143, "second"));
    world.settle();
    let status = world.status(&uid).unwrap();
    assert_failed(&status, "JobFailed", Some(3));
    assert_eq!(status.errors[0].message, "first");
    assert_nothing_left(&world);
}

#[test]
fn a_lost_attempt_is_repeated_until_there_are_no_more() {
    let mut world = world(1);
    let uid = started(&mut world, 1);
    for attempt in 1..=3 {
        assert_eq!(world.status(&uid).unwrap().attempt, attempt);
        assert_eq!(world.ledger.list(&key::plans_of(&uid)).count(), 1);
        world.end(&uid, "n1", lost());
        world.settle();
    }
    assert_failed(&world.status(&uid).unwrap(), "NodeLost", None);
    assert_nothing_left(&world);
}

fn gpu_lost(code: &str) -> Outcome {
    Outcome::Lost {
        reason: "GPU GPU-1 is ill".into(),
        error: Some(ErrorRecord::new(code, "GPU GPU-1 is ill").with("gpu", "GPU-1")),
    }
}

#[test]
fn a_job_that_lost_a_gpu_is_repeated_and_its_error_names_the_gpu() {
    let mut world = world(1);
    let uid = started(&mut world, 1);
    for attempt in 1..=3 {
        let status = world.status(&uid).unwrap();
        assert_eq!(status.attempt, attempt);
        world.end(&uid, "n1", gpu_lost("GpuFailed"));
        world.settle();
    }
    let status = world.status(&uid).unwrap();
    assert_failed(&status, "GpuFailed", None);
    assert_eq!(status.errors[0].details[0].value, "GPU-1");
    assert!(
        status.errors[0]
            .message
            .contains("may not be started again")
    );
}

#[test]
fn a_job_that_fails_with_its_node_fails_with_its_gpu_but_not_with_one_it_never_used() {
    let mut world = world(1);
    let uid = world.submit(job("j").failing_on_loss());
    world.settle();
    world.end(&uid, "n1", gpu_lost("GpuCheckFailed"));
    world.settle();
    let status = world.status(&uid).unwrap();
    assert_eq!((status.state, status.attempt), (Running, 2));
    world.end(&uid, "n1", gpu_lost("GpuFailed"));
    world.settle();
    let status = world.status(&uid).unwrap();
    assert_failed(&status, "GpuFailed", None);
    assert!(status.errors[0].message.contains("onNodeLoss"));
}

#[test]
fn reports_of_an_old_attempt_mean_nothing() {
    let mut world = world(1);
    let uid = started(&mut world, 1);
    world.end(&uid, "n1", lost());
    world.settle();
    let ended = ReportPhase::Ended {
        outcome: Outcome::Completed,
        account: lote_model::accounting::Account::default(),
    };
    world.report_attempt(&uid, &NodeName::new("n1"), 1, 0, ended);
    world.settle();
    assert_eq!(
        (state(&world, &uid), world.status(&uid).unwrap().attempt),
        (Running, 2)
    );
}

#[test]
fn a_queued_job_is_terminated_at_once() {
    let mut world = world(0);
    let uid = world.submit(job("j"));
    world.settle();
    world.terminate(&uid);
    world.settle();
    let status = world.status(&uid).unwrap();
    assert_failed(&status, "JobTerminated", None);
    assert_eq!(
        status.errors[0].message,
        "The specified job has been terminated by the user"
    );
    assert_eq!(status.start_time, status.end_time);
}

#[test]
fn a_running_job_is_stopped_first() {
    let mut world = world(1);
    let uid = started(&mut world, 1);
    world.terminate(&uid);
    world.settle();
    assert_eq!(
        (state(&world, &uid), phase(&world, &uid, "n1")),
        (Terminating, AllocationPhase::Stop)
    );
    world.end(&uid, "n1", Outcome::Stopped);
    world.settle();
    assert_failed(&world.status(&uid).unwrap(), "JobTerminated", None);
}

#[test]
fn a_job_over_its_limit_is_stopped_at_that_time() {
    let mut world = world(1);
    let uid = started(&mut world, 1);
    let decisions = world.decide();
    assert_eq!(decisions.wake_at, Some(crate::testing::at_second(1100)));
    world.advance_seconds(99);
    world.settle();
    assert_eq!(state(&world, &uid), Running);
    world.advance_seconds(1);
    world.settle();
    assert_eq!(phase(&world, &uid, "n1"), AllocationPhase::Stop);
    world.end(&uid, "n1", failed(143, "killed"));
    world.settle();
    assert_failed(
        &world.status(&uid).unwrap(),
        "JobExceededMaxWallClockTime",
        None,
    );
}

#[test]
fn a_deleted_job_leaves_nothing() {
    for (is_running, is_finished) in [(false, false), (true, false), (true, true)] {
        let mut world = world(u32::from(is_running));
        let uid = world.submit(job("j"));
        world.settle();
        if is_finished {
            world.end(&uid, "n1", Outcome::Completed);
            world.settle();
        }
        world.delete(&uid);
        world.settle();
        if is_running && !is_finished {
            assert_eq!(phase(&world, &uid, "n1"), AllocationPhase::Stop);
            world.end(&uid, "n1", Outcome::Stopped);
            world.settle();
        }
        for prefix in [
            key::JOBS,
            key::JOB_STATUS,
            key::PLANS,
            key::ALLOCATIONS,
            key::REPORTS,
        ] {
            assert_eq!(world.ledger.list(prefix).count(), 0, "{prefix}");
        }
        assert_nothing_left(&world);
    }
}

#[test]
fn a_finished_job_is_erased_after_a_restart_too() {
    let mut world = world(1);
    let uid = started(&mut world, 1);
    world.end(&uid, "n1", Outcome::Completed);
    world.settle();
    world.delete(&uid);
    world.restart();
    assert_eq!(world.snapshot.live_jobs(), 0);
    world.settle();
    assert_eq!(world.ledger.list(key::JOBS).count(), 0);
}

#[test]
fn a_node_is_lost_only_after_a_while() {
    let mut world = world(2);
    let uid = started(&mut world, 1);
    let name = world.nodes_of(&uid)[0].clone();
    world.set_alive(&NodeName::new(&name), false);
    world.settle();
    world.advance_seconds(29);
    world.settle();
    assert_eq!(world.nodes_of(&uid), [name.as_str()]);
    world.set_alive(&NodeName::new(&name), true);
    world.set_alive(&NodeName::new(&name), false);
    world.advance_seconds(29);
    world.settle();
    assert_eq!(
        world.nodes_of(&uid),
        [name.as_str()],
        "the time starts anew"
    );
    world.advance_seconds(1);
    world.settle();
    let status = world.status(&uid).unwrap();
    assert_eq!((status.state, status.attempt), (Running, 2));
    assert_ne!(status.nodes[0].as_str(), name);
}

#[test]
fn the_peers_of_a_lost_node_fail_and_the_job_is_still_repeated() {
    let mut world = world(3);
    let uid = started(&mut world, 2);
    let names = world.nodes_of(&uid);
    world.set_alive(&NodeName::new(&names[0]), false);
    world.end(&uid, &names[1], failed(1, "connection reset by peer"));
    world.settle();
    assert_eq!(state(&world, &uid), Running);
    world.advance_seconds(30);
    world.settle();
    let status = world.status(&uid).unwrap();
    assert_eq!((status.state, status.attempt), (Running, 2));
}

#[test]
fn the_peers_of_a_lost_node_are_stopped_before_the_job_is_started_again() {
    let mut world = world(4);
    let uid = started(&mut world, 2);
    let names = world.nodes_of(&uid);
    world.set_alive(&NodeName::new(&names[0]), false);
    world.advance_seconds(30);
    world.settle();
    assert_eq!(world.status(&uid).unwrap().attempt, 1);
    assert_eq!(phase(&world, &uid, &names[1]), AllocationPhase::Stop);
    world.end(&uid, &names[1], Outcome::Stopped);
    world.settle();
    let status = world.status(&uid).unwrap();
    assert_eq!((status.state, status.attempt), (Running, 2));
    assert_eq!(world.allocations().len(), 2, "the old ones are gone");
    let previous: Vec<_> = status.previous_nodes.iter().map(NodeName::as_str).collect();
    assert_eq!(previous, names);
    let plan = key::plan(&uid, 2, 1);
    let plan: NodePlan = world.ledger.get(&plan).unwrap();
    assert_eq!(plan.previous_node.unwrap().as_str(), names[1]);
}

#[test]
fn a_job_that_asks_for_it_fails_with_its_node() {
    let mut world = world(3);
    let uid = world.submit(job("j").nodes(2).failing_on_loss());
    world.settle();
    let names = world.nodes_of(&uid);
    world.set_alive(&NodeName::new(&names[0]), false);
    world.advance_seconds(30);
    world.settle();
    // That the lost node comes back changes nothing.
    world.set_alive(&NodeName::new(&names[0]), true);
    for name in &names {
        world.end(&uid, name, Outcome::Stopped);
    }
    world.settle();
    assert_failed(&world.status(&uid).unwrap(), "NodeLost", None);
    assert_nothing_left(&world);

    let rebooted = world.submit(job("k").failing_on_loss());
    world.settle();
    let name = world.nodes_of(&rebooted)[0].clone();
    world.end(&rebooted, &name, lost());
    world.settle();
    assert_failed(&world.status(&rebooted).unwrap(), "NodeLost", None);
}

#[test]
fn a_plan_that_cannot_be_made_fails_the_job() {
    use lote_model::framework::PlanError;
    let mut world = world(1);
    let error = ErrorRecord::new("PluginFailed", "plugin 'custom', step 'plan': looped");
    world
        .refusals
        .insert(JobUid::new("uid-j"), PlanError::Failed(error.clone()));
    let uid = world.submit(job("j"));
    world.settle();
    assert_eq!(world.status(&uid).unwrap().errors, [error]);
    assert_nothing_left(&world);
}

#[test]
fn unsuitable_nodes_are_avoided_while_there_are_others() {
    let mut world = world(2);
    world.unsuitable_nodes.insert(NodeName::new("n1"));
    let uid = world.submit(job("j"));
    world.settle();
    assert_eq!(world.nodes_of(&uid), ["n2"]);
    world.end(&uid, "n2", Outcome::Completed);
    world.unsuitable_nodes.insert(NodeName::new("n2"));
    let other = world.submit(job("k"));
    world.settle();
    assert_failed(&world.status(&other).unwrap(), "Unsuitable", None);
}

#[test]
fn a_vanished_allocation_is_no_end_of_waiting() {
    let mut world = world(1);
    let uid = started(&mut world, 1);
    world
        .ledger
        .delete(&key::allocation(&NodeName::new("n1"), &uid));
    world.restart();
    world.settle();
    assert_eq!(world.status(&uid).unwrap().attempt, 2);
}

#[test]
fn a_gang_larger_than_a_transaction_survives_a_crash_at_every_step() {
    // 140 nodes are three transactions to start, and two to run and to end.
    for crash_after in 0..5 {
        let mut world = world(140);
        world.submit(job("j").nodes(140));
        crash_in_next_action(&mut world, crash_after);
        stop_left_overs(&mut world);
        let uid = JobUid::new("uid-j");
        assert_eq!(state(&world, &uid), Running, "{crash_after}");
        let names = world.nodes_of(&uid);
        for name in &names {
            world.report(&uid, name, ReportPhase::Prepared);
        }
        crash_in_next_action(&mut world, crash_after);
        assert!(
            names
                .iter()
                .all(|name| phase(&world, &uid, name) == AllocationPhase::Run),
            "{crash_after}"
        );
        world.terminate(&uid);
        crash_in_next_action(&mut world, crash_after);
        for name in &names {
            assert_eq!(phase(&world, &uid, name), AllocationPhase::Stop);
            world.end(&uid, name, Outcome::Stopped);
        }
        crash_in_next_action(&mut world, crash_after);
        assert_failed(&world.status(&uid).unwrap(), "JobTerminated", None);
        assert_nothing_left(&world);
    }
}

/// The nodes end what they are told to stop.
fn stop_left_overs(world: &mut World) {
    for (node, allocation) in world.allocations() {
        if allocation.phase == AllocationPhase::Stop {
            world.end(&allocation.uid, node.as_str(), Outcome::Stopped);
        }
    }
    world.settle();
}

fn crash_in_next_action(world: &mut World, crash_after: usize) {
    let decisions = world.decide();
    world.commit_some(&decisions.actions[0], crash_after);
    world.restart();
    world.settle();
}
