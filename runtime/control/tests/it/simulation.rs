//! Random worlds: nodes that fail and come back, users who change their minds, a leader that
//! crashes, actions that take their time.

use std::collections::BTreeMap;

use lote_control::actions::Action;
use lote_control::snapshot::Snapshot;
use lote_control::testing::{ClusterBuilder, NodeBuilder, World, cluster, job, node};
use lote_model::allocation::{Allocation, AllocationPhase};
use lote_model::id::{JobUid, NodeName};
use lote_model::job::ErrorRecord;
use lote_model::key;
use lote_model::report::{Outcome, Report, ReportPhase};
use lote_model::state::{ExecutionState, Priority};
use proptest::prelude::*;

use crate::invariants;

/// A job as random numbers.
#[derive(Clone, Debug)]
struct JobPlan {
    nodes: u32,
    share: Option<(u32, u32, u32)>,
    priority: u8,
    limit_seconds: u64,
    cluster: bool,
}

#[derive(Clone, Debug)]
enum Operation {
    Submit(JobPlan),
    /// Decide; the actions wait to be carried out.
    Decide,
    /// Carry out one of the waiting actions.
    CarryOut(usize),
    /// One node goes on with one allocation, and ends it with one of four outcomes.
    Node(usize, u8),
    Terminate(usize),
    Delete(usize),
    Lease(usize, bool),
    Advance(i64),
    Scale(bool, u32, bool),
    /// The leader starts anew; actions under way are lost before or after some transactions.
    Crash(usize),
}

fn job_plan() -> impl Strategy<Value = JobPlan> {
    let share = proptest::option::of((0..3_u32, 1..5_u32, 0..3_u32));
    (1..4_u32, share, 0..3_u8, 1..100_u64, any::<bool>()).prop_map(
        |(nodes, share, priority, limit_seconds, cluster)| JobPlan {
            nodes,
            share,
            priority,
            limit_seconds,
            cluster,
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => job_plan().prop_map(Operation::Submit),
        8 => Just(Operation::Decide),
        8 => any::<usize>().prop_map(Operation::CarryOut),
        8 => (any::<usize>(), 0..6_u8).prop_map(|(index, end)| Operation::Node(index, end)),
        1 => any::<usize>().prop_map(Operation::Terminate),
        1 => any::<usize>().prop_map(Operation::Delete),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(index, is_alive)| Operation::Lease(index, is_alive)),
        2 => (1..40_i64).prop_map(Operation::Advance),
        1 => (any::<bool>(), 0..5_u32, any::<bool>()).prop_map(|(which, nodes, auto)| Operation::Scale(which, nodes, auto)),
        1 => (0..3_usize).prop_map(Operation::Crash),
    ]
}

fn nodes() -> impl Strategy<Value = Vec<NodeBuilder>> {
    let node =
        (0..4_u32, 1..6_u32).prop_map(|(gpus, cores)| node("").gpus(gpus).cores(cores).ports(64));
    proptest::collection::vec(node, 1..5).prop_map(|nodes| {
        let named = |(number, node): (usize, NodeBuilder)| {
            let gpus = u32::try_from(node.0.gpus.len()).expect("few");
            let mut node = node;
            node.0.name = NodeName::new(format!("n{number}"));
            node.gpus(gpus)
        };
        nodes.into_iter().enumerate().map(named).collect()
    })
}

struct Simulation {
    world: World,
    waiting: Vec<Action>,
    jobs: Vec<JobUid>,
    nodes: Vec<NodeBuilder>,
    /// What became of each job, once it did.
    ends: BTreeMap<JobUid, ExecutionState>,
}

impl Simulation {
    fn new(nodes: Vec<NodeBuilder>) -> Self {
        let mut world = World::new();
        for node in &nodes {
            world.add_node(node);
        }
        world.put_cluster(&first_cluster(2, false));
        world.put_cluster(&second_cluster(2, true));
        Self {
            world,
            waiting: Vec::new(),
            jobs: Vec::new(),
            nodes,
            ends: BTreeMap::new(),
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Submit(plan) => self.submit(plan),
            Operation::Decide => {
                let decisions = lote_control::decide::decide(&self.world.snapshot, self.world.now);
                invariants::check_order(&self.world, &decisions);
                self.world.snapshot.begin(&decisions, self.world.now);
                self.waiting.extend(decisions.actions);
            }
            Operation::CarryOut(index) if !self.waiting.is_empty() => {
                let action = self.waiting.swap_remove(index % self.waiting.len());
                self.world.carry_out(&action);
            }
            Operation::Node(index, end) => self.step_node(*index, *end),
            Operation::Terminate(index) => self.with_job(*index, World::terminate),
            Operation::Delete(index) => self.with_job(*index, World::delete),
            Operation::Lease(index, is_alive) => {
                let name = self.nodes[index % self.nodes.len()].0.name.clone();
                self.world.set_alive(&name, *is_alive);
            }
            Operation::Advance(seconds) => self.world.advance_seconds(*seconds),
            Operation::Scale(which, nodes, auto) => {
                let build = if *which {
                    first_cluster
                } else {
                    second_cluster
                };
                self.world.put_cluster(&build(*nodes, *auto));
            }
            Operation::Crash(transactions) => {
                for action in std::mem::take(&mut self.waiting) {
                    self.world.commit_some(&action, *transactions);
                }
                self.world.restart();
            }
            Operation::CarryOut(_) => {}
        }
        self.check();
    }

    fn check(&mut self) {
        invariants::check(&self.world);
        for uid in &self.jobs {
            let Some(status) = self
                .world
                .status(uid)
                .filter(|status| status.state.is_terminal())
            else {
                continue;
            };
            let known = *self.ends.entry(uid.clone()).or_insert(status.state);
            assert_eq!(known, status.state, "{uid} ended twice");
        }
    }

    fn submit(&mut self, plan: &JobPlan) {
        let mut job = job(&format!("j{}", self.jobs.len()))
            .nodes(plan.nodes)
            .limit_seconds(plan.limit_seconds);
        if let Some((gpus, cpus, memory)) = plan.share {
            job = job.share(gpus, f64::from(cpus) / 2.0, (memory > 0).then_some("20g"));
        }
        job = job.priority(
            [Priority::Low, Priority::Normal, Priority::High][usize::from(plan.priority)],
        );
        let job = if plan.cluster { job } else { job.on("d") };
        let uid = self.world.submit(job);
        self.jobs.push(uid);
    }

    fn with_job(&mut self, index: usize, act: impl FnOnce(&mut World, &JobUid)) {
        if !self.jobs.is_empty() {
            let uid = self.jobs[index % self.jobs.len()].clone();
            act(&mut self.world, &uid);
        }
    }

    /// A node reports the next thing about one allocation, as the real one does.
    fn step_node(&mut self, index: usize, end: u8) {
        let allocations = self.world.allocations();
        if allocations.is_empty() {
            return;
        }
        let (node, allocation) = &allocations[index % allocations.len()];
        if let Some(phase) = self.next_report(node, allocation, end) {
            let (uid, attempt, rank) = (&allocation.uid, allocation.attempt, allocation.rank);
            self.world.report_attempt(uid, node, attempt, rank, phase);
        }
    }

    fn next_report(
        &self,
        node: &NodeName,
        allocation: &Allocation,
        end: u8,
    ) -> Option<ReportPhase> {
        let report: Option<Report> = self.world.ledger.get(&key::report(&allocation.uid, node));
        let report = report
            .filter(|report| report.attempt == allocation.attempt)
            .map(|report| report.phase);
        let ended = |outcome| {
            Some(ReportPhase::Ended {
                outcome,
                account: lote_model::accounting::Account::default(),
            })
        };
        match (allocation.phase, report) {
            (_, Some(ReportPhase::Ended { .. })) => None,
            (AllocationPhase::Stop, _) => ended(Outcome::Stopped),
            (_, None) if end == 5 => ended(failed()),
            (_, None) => Some(ReportPhase::Prepared),
            (AllocationPhase::Prepare, _) => None,
            (AllocationPhase::Run, Some(ReportPhase::Prepared)) => Some(ReportPhase::Running),
            (AllocationPhase::Run, _) => match end {
                0 => ended(failed()),
                1 => ended(Outcome::Lost {
                    reason: "the machine was restarted".into(),
                    error: None,
                }),
                2 => Some(ReportPhase::PrimariesDone { exit_code: 0 }),
                _ => ended(Outcome::Completed),
            },
        }
    }

    /// All is well from now on: whatever can end ends, and whatever cannot is terminated.
    fn wind_down(&mut self) {
        for action in std::mem::take(&mut self.waiting) {
            self.world.carry_out(&action);
        }
        for node in self.nodes.clone() {
            self.world.set_alive(&node.0.name, true);
        }
        for round in 0..80 {
            self.world.settle();
            self.check();
            if self.world.snapshot.live_jobs() == 0 && self.world.allocations().is_empty() {
                return;
            }
            let count = self.world.allocations().len();
            for index in 0..count {
                self.step_node(index, 3);
            }
            self.world.advance_seconds(1);
            if round == 40 {
                // What waits now asks for more than there is.
                for uid in self.jobs.clone() {
                    self.world.terminate(&uid);
                }
            }
        }
    }

    fn assert_all_ended(&self) {
        for uid in &self.jobs {
            let path = &self.world.submitted(uid).expect("a job").path;
            let is_erased = self
                .world
                .ledger
                .list(&key::job(path))
                .all(|item| item.key != key::job(path));
            let state = self.world.status(uid).map(|status| status.state);
            assert!(
                is_erased || state.is_some_and(ExecutionState::is_terminal),
                "{uid} never ended: {state:?}"
            );
        }
        assert_eq!(self.world.allocations(), []);
        assert_eq!(self.world.ledger.list(key::REPORTS).count(), 0);
        assert_nothing_held(&self.world.snapshot);
    }
}

fn assert_nothing_held(snapshot: &Snapshot) {
    assert_eq!(snapshot.live_jobs(), 0);
    assert!(snapshot.nodes().values().all(|node| node.holds.is_empty()));
    assert!(
        snapshot
            .clusters()
            .values()
            .all(|cluster| cluster.queue.is_empty() && cluster.live_jobs == 0)
    );
    assert_eq!(snapshot.deadlines().count(), 0);
    assert_eq!(snapshot.erasures().len(), 0);
}

fn failed() -> Outcome {
    Outcome::Failed {
        exit_code: Some(1),
        error: ErrorRecord::new("JobFailed", "Job failed with non-zero exit code"),
    }
}

fn first_cluster(nodes: u32, auto: bool) -> ClusterBuilder {
    if auto {
        cluster("c").auto(0, nodes)
    } else {
        cluster("c").manual(nodes)
    }
}

fn second_cluster(nodes: u32, auto: bool) -> ClusterBuilder {
    if auto {
        cluster("d").auto(1.min(nodes), nodes)
    } else {
        cluster("d").manual(nodes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_world_is_kept_and_every_job_ends(
        nodes in nodes(),
        operations in proptest::collection::vec(operation(), 1..150),
    ) {
        let mut simulation = Simulation::new(nodes);
        for operation in &operations {
            simulation.apply(operation);
        }
        simulation.wind_down();
        simulation.assert_all_ended();
    }
}
