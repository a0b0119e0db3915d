//! The next step of one job, from what its nodes report.
//!
//! ```text
//! queued ──start──▶ running: Prepare ──all prepared──▶ Run ──▶ all nodes ended ──▶ concluded
//!    ▲                 │  user, limit, failure, loss, primaries done: Stop ──▲  │
//!    └─────────────────┴────────────────── requeue ─────────────────────────────┘
//! ```
//!
//! A step looks at one job only, and a state that a crash left half-way has a step as well.

use jiff::Timestamp;
use lote_model::allocation::AllocationPhase;
use lote_model::cluster::NodeDeallocationOption;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::{Ending, ErrorRecord, JobStatus, RequeueCause};
use lote_model::node::NodeRecord;
use lote_model::report::{Outcome, Report, ReportPhase};
use lote_model::state::ExecutionState;

use crate::conclusion::{self, Verdict};
use crate::snapshot::{Gang, LiveJob, NodeFate, Part, Snapshot};
use crate::time::after_seconds;

/// What a job, or what is left of one, needs next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It runs nowhere and the user wants it deleted.
    Erase,
    /// It has ended, or goes back to the queue.
    Conclude(Verdict),
    /// Its nodes shall stop it, for this reason.
    End(Ending),
    /// All nodes are prepared and shall run it; or some do already.
    Run,
    /// Some nodes have not been told to stop yet.
    StopRest,
    /// Allocations of no running job shall stop.
    StopLeftOver,
    /// Nothing of them runs any more.
    RemoveLeftOver,
}

/// One node of a running job.
#[derive(Clone, Debug)]
pub struct PartView<'a> {
    /// The node.
    pub node: &'a NodeName,
    /// Its position in the gang.
    pub rank: u32,
    /// What it has been told; none if it holds nothing any more.
    pub phase: Option<AllocationPhase>,
    /// What it says of this attempt.
    pub report: Option<&'a Report>,
    /// Why nothing more can be expected of it, though it did not say so.
    pub lost: Option<String>,
}

impl PartView<'_> {
    /// How it ended here, if the node says so.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.report?.phase {
            ReportPhase::Ended { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    /// Whether nothing of the job runs there any more, or nobody will ever know.
    pub fn is_over(&self) -> bool {
        self.outcome().is_some() || self.lost.is_some()
    }

    fn is_prepared(&self) -> bool {
        self.report.is_some_and(|report| report.phase.is_prepared())
    }

    fn has_finished_primaries(&self) -> bool {
        matches!(
            self.report.map(|report| &report.phase),
            Some(
                ReportPhase::PrimariesDone { .. }
                    | ReportPhase::Ended {
                        outcome: Outcome::Completed,
                        ..
                    }
            )
        )
    }
}

/// The next step of the job, or of what is left of it, if nothing is under way.
pub fn next_step(snapshot: &Snapshot, uid: &JobUid, now: Timestamp) -> Option<Step> {
    let gang = snapshot.gang(uid);
    let Some(job) = snapshot.job(uid) else {
        return gang.and_then(|gang| left_over_step(snapshot, gang, now));
    };
    if job.in_flight.is_some() {
        return None;
    }
    match (&job.status, job.state()) {
        (Some(status), ExecutionState::Running | ExecutionState::Terminating) => {
            let parts = parts(snapshot, job, status, gang, now);
            running_step(snapshot, job, status, &parts, now)
        }
        _ => match gang.filter(|gang| gang.has_allocations()) {
            Some(gang) => left_over_step(snapshot, gang, now),
            None => queued_step(snapshot, job),
        },
    }
}

/// The nodes of a running job in rank order, with what is known of each.
pub fn parts<'a>(
    snapshot: &Snapshot,
    job: &LiveJob,
    status: &'a JobStatus,
    gang: Option<&'a Gang>,
    now: Timestamp,
) -> Vec<PartView<'a>> {
    let view = |(rank, node): (usize, &'a NodeName)| {
        let part = gang.and_then(|gang| gang.parts.get(node));
        let current = |part: &&Part| {
            part.allocation
                .as_ref()
                .is_some_and(|is| is.attempt == status.attempt)
        };
        let allocation = part
            .filter(current)
            .and_then(|part| part.allocation.as_ref());
        let report = part
            .and_then(|part| part.report.as_ref())
            .filter(|report| report.attempt == status.attempt);
        let is_ended = part.is_some_and(|part| part.is_ended(status.attempt));
        let is_lost = snapshot.fate(node, now) == NodeFate::Lost;
        let lost = if is_ended {
            None
        } else if is_lost {
            Some(format!(
                "node '{node}' was lost: its daemon has not been heard of for too long"
            ))
        } else if allocation.is_none() {
            Some(format!(
                "the allocation of job '{}' on node '{node}' has disappeared",
                job.record.path.job
            ))
        } else {
            None
        };
        PartView {
            node,
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            phase: allocation.map(|allocation| allocation.phase),
            report,
            lost,
        }
    };
    status.nodes.iter().enumerate().map(view).collect()
}

fn queued_step(snapshot: &Snapshot, job: &LiveJob) -> Option<Step> {
    if job.record.delete_requested_at.is_some() {
        return Some(Step::Erase);
    }
    if job.record.terminate_requested_at.is_some() {
        return Some(Step::Conclude(Verdict::failed(
            None,
            conclusion::terminated(),
        )));
    }
    if !is_cluster_open(snapshot, job) {
        return Some(Step::Conclude(Verdict::failed(None, cluster_deleted(job))));
    }
    let error = job
        .plan_failure
        .clone()
        .or_else(|| exhausted(snapshot, job));
    error.map(|error| Step::Conclude(Verdict::failed(None, error)))
}

/// The error of a job whose plugin has refused so many nodes that no other set is left.
fn exhausted(snapshot: &Snapshot, job: &LiveJob) -> Option<ErrorRecord> {
    let unsuitable = job.unsuitable.as_ref()?;
    let size = &snapshot
        .clusters()
        .get(&job.cluster)?
        .record
        .as_ref()?
        .properties
        .vm_size;
    let ports = snapshot.config().ports_per_allocation;
    let others = snapshot.nodes().iter().filter(|(name, node)| {
        let can_hold = |node: &NodeRecord| {
            node.size.eq_ignore_ascii_case(size) && job.request.is_possible_on(node, ports)
        };
        !unsuitable.nodes.contains(*name) && node.record.as_deref().is_some_and(can_hold)
    });
    (others.count() < job.request.node_count as usize).then(|| unsuitable.error.clone())
}

fn running_step(
    snapshot: &Snapshot,
    job: &LiveJob,
    status: &JobStatus,
    parts: &[PartView<'_>],
    now: Timestamp,
) -> Option<Step> {
    if parts.iter().all(PartView::is_over) {
        let is_erased = job.record.delete_requested_at.is_some();
        let verdict = || conclusion::verdict(job, status, parts);
        return Some(if is_erased {
            Step::Erase
        } else {
            Step::Conclude(verdict())
        });
    }
    let running = || parts.iter().filter(|part| !part.is_over());
    if status.ending.is_some() {
        let is_behind = running().any(|part| {
            part.phase
                .is_some_and(|phase| phase < AllocationPhase::Stop)
        });
        return is_behind.then_some(Step::StopRest);
    }
    if let Some(ending) = ending(snapshot, job, status, parts, now) {
        return Some(Step::End(ending));
    }
    let is_waiting = running().any(|part| part.phase == Some(AllocationPhase::Prepare));
    (is_waiting && parts.iter().all(PartView::is_prepared)).then_some(Step::Run)
}

/// Why a running job must be ended before all of it is over, the user's wish first.
fn ending(
    snapshot: &Snapshot,
    job: &LiveJob,
    status: &JobStatus,
    parts: &[PartView<'_>],
    now: Timestamp,
) -> Option<Ending> {
    if job.is_unwanted() {
        return Some(Ending::TerminatedByUser);
    }
    if !is_cluster_open(snapshot, job) {
        return Some(Ending::NodeFailed {
            exit_code: None,
            error: cluster_deleted(job),
        });
    }
    if let Some((exit_code, error)) = conclusion::first_failure(parts) {
        return Some(Ending::NodeFailed { exit_code, error });
    }
    if let Some(loss) = conclusion::first_loss(parts) {
        return Some(match conclusion::node_lost(job, &loss) {
            Some(error) => Ending::NodeFailed {
                exit_code: None,
                error,
            },
            None => Ending::Requeue {
                reason: loss.reason,
                cause: RequeueCause::NodeLost,
            },
        });
    }
    if are_primaries_done(job, status, parts) {
        return Some(Ending::PrimariesDone);
    }
    let limit = job.record.properties.constraints.max_wall_clock_time;
    if status
        .start_time
        .is_some_and(|start| after_seconds(start, limit) <= now)
    {
        return Some(Ending::WallClockLimit);
    }
    leaving(snapshot, job, parts, now)
}

/// A node of a gang does not see that the primary processes of the others are done.
fn are_primaries_done(job: &LiveJob, status: &JobStatus, parts: &[PartView<'_>]) -> bool {
    if parts.len() < 2 {
        return false;
    }
    let known = job
        .primaries
        .as_ref()
        .filter(|(attempt, ranks)| *attempt == status.attempt && !ranks.is_empty());
    parts
        .iter()
        .filter(|part| known.is_none_or(|(_, ranks)| ranks.contains(&part.rank)))
        .all(PartView::has_finished_primaries)
}

fn leaving(
    snapshot: &Snapshot,
    job: &LiveJob,
    parts: &[PartView<'_>],
    now: Timestamp,
) -> Option<Ending> {
    parts
        .iter()
        .filter(|part| !part.is_over())
        .find_map(|part| {
            let sentence = || {
                format!(
                    "node '{}' leaves cluster '{}', which has been scaled down",
                    part.node, job.record.cluster.name
                )
            };
            match snapshot.fate(part.node, now) {
                NodeFate::Withdrawn(cause) => Some(Ending::Requeue {
                    reason: withdrawn(job, part.node, cause),
                    cause,
                }),
                NodeFate::Leaving(NodeDeallocationOption::Requeue) => Some(Ending::Requeue {
                    reason: sentence(),
                    cause: RequeueCause::ScaledDown,
                }),
                NodeFate::Leaving(NodeDeallocationOption::Terminate) => Some(Ending::NodeFailed {
                    exit_code: None,
                    error: ErrorRecord::new("ClusterScaledDown", sentence()),
                }),
                _ => None,
            }
        })
}

/// Why a node is taken from under a job; who gets it is nobody else's business.
fn withdrawn(job: &LiveJob, node: &NodeName, cause: RequeueCause) -> String {
    let cluster = &job.record.cluster.name;
    if cause == RequeueCause::BudgetSpent {
        return format!("cluster '{cluster}' has spent its budget and gives up node '{node}'");
    }
    format!(
        "node '{node}' of cluster '{cluster}', which is of low priority, is needed by a dedicated cluster"
    )
}

fn is_cluster_open(snapshot: &Snapshot, job: &LiveJob) -> bool {
    snapshot
        .clusters()
        .get(&job.cluster)
        .is_some_and(crate::snapshot::ClusterState::is_open)
}

fn cluster_deleted(job: &LiveJob) -> ErrorRecord {
    let cluster = &job.record.cluster;
    ErrorRecord::new(
        conclusion::CLUSTER_DELETED,
        format!(
            "cluster '{}' of workspace '{}' was deleted: submit the job to another one",
            cluster.name, cluster.workspace.workspace
        ),
    )
}

fn left_over_step(snapshot: &Snapshot, gang: &Gang, now: Timestamp) -> Option<Step> {
    if gang.in_flight {
        return None;
    }
    let is_lost = |node| snapshot.fate(node, now) == NodeFate::Lost;
    let mut running = gang.parts.iter().filter_map(|(node, part)| {
        let allocation = part.allocation.as_ref()?;
        (!part.is_ended(allocation.attempt) && !is_lost(node)).then_some(allocation)
    });
    let Some(first) = running.next() else {
        return Some(Step::RemoveLeftOver);
    };
    let is_behind =
        first.phase < AllocationPhase::Stop || running.any(|is| is.phase < AllocationPhase::Stop);
    is_behind.then_some(Step::StopLeftOver)
}

#[cfg(test)]
mod tests;
