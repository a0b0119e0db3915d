//! What must hold after every step.

use std::collections::{BTreeMap, BTreeSet};

use lote_control::room::Request;
use lote_control::testing::{Ledger, assert_fits};
use lote_model::allocation::{Allocation, Grant};
use lote_model::id::{JobUid, NodeName};
use lote_model::job::{JobRecord, JobStatus};
use lote_model::key;
use lote_model::node::Drain;
use lote_model::state::ExecutionState;
use lote_store::{Event, Revision, Versioned};

use crate::machine::Machine;
use crate::site::Site;

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// What became of each job, once it did.
    ends: BTreeMap<JobUid, ExecutionState>,
    /// Jobs that a user has marked to be erased.
    erased: BTreeSet<String>,
    /// What the store held up to this revision has been looked at.
    seen: Revision,
    /// Why jobs were started again.
    pub(crate) requeued: BTreeSet<String>,
    /// Allocations, with the second in which each was first seen.
    granted: BTreeMap<(NodeName, JobUid, u32), i64>,
}

/// A decision on its way when a node was drained may still arrive: its seconds under way, the
/// leader's delay in seeing the drain, and as much again.
const DRAIN_DELAY: i64 = 12;

/// What the leader has stored about a job.
pub(crate) fn status(ledger: &Ledger, record: &JobRecord) -> Option<JobStatus> {
    ledger.get(&key::job_status(&record.path))
}

/// Whether a job has ended or was erased.
pub(crate) fn is_finished(ledger: &Ledger, record: &JobRecord) -> bool {
    match ledger.get::<JobRecord>(&key::job(&record.path)) {
        None => true,
        Some(current) if current.delete_requested_at.is_some() => false,
        Some(_) => status(ledger, record).is_some_and(|status| status.state.is_terminal()),
    }
}

impl Checks {
    pub(crate) fn after_step(&mut self, site: &Site) {
        nothing_runs_twice(&site.machines);
        for machine in &site.machines {
            fits(machine);
        }
        if self.seen == site.store.revision() {
            return;
        }
        self.jobs(site);
        let allocations = allocations(&site.store.ledger);
        self.drained_nodes_get_nothing(site, &allocations);
        gangs_are_whole(site, &allocations);
        nodes_suit_their_jobs(site, &allocations);
        self.seen = site.store.revision();
    }

    /// A job that has ended stays so, and only users erase jobs.
    fn jobs(&mut self, site: &Site) {
        let changes = site.store.after(self.seen, usize::MAX);
        for event in changes.flat_map(|(_, events)| events) {
            match event {
                Event::Put(item) if item.key.starts_with(key::JOB_STATUS) => {
                    let status: JobStatus = serde_json::from_slice(&item.value).unwrap();
                    self.requeued
                        .extend(status.requeued.map(|reason| reason.code));
                    let known = self.ends.get(&status.uid);
                    assert!(
                        known.is_none_or(|known| *known == status.state),
                        "{} ended as {known:?} and is {:?} now",
                        status.uid,
                        status.state
                    );
                    if status.state.is_terminal() {
                        self.ends.insert(status.uid, status.state);
                    }
                }
                Event::Delete { key, .. } if key.starts_with(key::JOBS) => {
                    assert!(self.erased.remove(key), "nobody wanted {key} to be erased");
                }
                Event::Put(item) if item.key.starts_with(key::JOBS) => {
                    let record: JobRecord = serde_json::from_slice(&item.value).unwrap();
                    if record.delete_requested_at.is_some() {
                        self.erased.insert(item.key.clone());
                    }
                }
                _ => {}
            }
        }
    }

    fn drained_nodes_get_nothing(&mut self, site: &Site, allocations: &[(NodeName, Allocation)]) {
        let mut granted = BTreeMap::new();
        for (node, allocation) in allocations {
            let id = (node.clone(), allocation.uid.clone(), allocation.attempt);
            let first_seen = self.granted.get(&id).copied().unwrap_or(site.now);
            granted.insert(id, first_seen);
            let drain: Option<Drain> = site.store.ledger.get(&key::drain(node));
            if let Some(drain) = drain {
                let drained_for = first_seen - drain.requested_at.as_second();
                assert!(
                    drained_for <= DRAIN_DELAY,
                    "{node} was drained for {drained_for} s when it got {}",
                    allocation.uid
                );
            }
        }
        self.granted = granted;
    }
}

/// No job is on a node that does not offer what it needs.
fn nodes_suit_their_jobs(site: &Site, allocations: &[(NodeName, Allocation)]) {
    let machines = site.machines.iter();
    let machines: BTreeMap<_, _> = machines.map(|machine| (machine.name(), machine)).collect();
    for (node, allocation) in allocations {
        let machine = machines.get(node);
        let (Some(machine), Some(job)) = (machine, site.jobs.get(&allocation.uid)) else {
            continue;
        };
        let request = Request::of(&job.properties, &job.framework);
        assert!(
            request.suits(&machine.builder.0),
            "{} needs {:?}, and is on {node}",
            job.uid,
            request.needs
        );
    }
}

/// Nothing is left of jobs that are over.
pub(crate) fn at_the_end(site: &Site) {
    let reports = site.store.ledger.list(key::REPORTS);
    assert_eq!(reports.count(), 0, "a report is left");
}

fn allocations(ledger: &Ledger) -> Vec<(NodeName, Allocation)> {
    let read = |item: &Versioned| {
        let (node, _) = item.key.strip_prefix(key::ALLOCATIONS)?.split_once('/')?;
        Some((
            NodeName::new(node),
            serde_json::from_slice(&item.value).ok()?,
        ))
    };
    ledger.list(key::ALLOCATIONS).filter_map(read).collect()
}

/// Processes of one attempt of a job only, wherever they are.
fn nothing_runs_twice(machines: &[Machine]) {
    let mut running: BTreeMap<&JobUid, (u32, &NodeName)> = BTreeMap::new();
    for machine in machines {
        for (uid, run) in machine.runs.iter().filter(|(_, run)| run.is_active()) {
            let (attempt, other) = *running.entry(uid).or_insert((run.attempt, machine.name()));
            assert_eq!(
                attempt,
                run.attempt,
                "{uid} runs twice: on {other} and on {}",
                machine.name()
            );
        }
    }
}

/// What really runs on a machine fits on it, each part for itself.
fn fits(machine: &Machine) {
    let active = machine.runs.values().filter(|run| run.is_active());
    let grants: Vec<&Grant> = active.map(|run| &run.allocation.grant).collect();
    assert_fits(&machine.builder.0, &grants);
}

/// A job that runs has all its nodes.
fn gangs_are_whole(site: &Site, allocations: &[(NodeName, Allocation)]) {
    let mut counts: BTreeMap<(&JobUid, u32), u32> = BTreeMap::new();
    for (_, allocation) in allocations {
        *counts
            .entry((&allocation.uid, allocation.attempt))
            .or_default() += 1;
    }
    for ((uid, attempt), count) in counts {
        let Some(record) = site.jobs.get(uid) else {
            continue;
        };
        let status = status(&site.store.ledger, record);
        let runs = status
            .filter(|status| status.attempt == attempt)
            .is_some_and(|status| status.state == ExecutionState::Running);
        if runs {
            assert_eq!(
                count, record.properties.node_count,
                "{uid} has a part of its gang only"
            );
        }
    }
}
