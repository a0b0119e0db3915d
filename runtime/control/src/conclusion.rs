//! How a job ended, from how its nodes ended.

use jiff::Timestamp;
use lote_model::accounting::Account;
use lote_model::job::{
    DirectoryLocation, Ending, ErrorRecord, JobStatus, OnNodeLoss, RequeueCause,
};
use lote_model::report::{Outcome, Report, ReportPhase};
use lote_model::state::ExecutionState;

use crate::change::status_or_queued;
use crate::lifecycle::PartView;
use crate::snapshot::{Gang, LiveJob};

/// The code of jobs that the user ended.
pub const JOB_TERMINATED: &str = "JobTerminated";
/// The code of jobs that ran longer than they may.
pub const WALL_CLOCK_EXCEEDED: &str = "JobExceededMaxWallClockTime";
/// The code of jobs that lost their nodes once too often.
pub const NODE_LOST: &str = "NodeLost";
/// The code of nodes whose GPUs are not fit for a job that they were to start.
const GPU_CHECK_FAILED: &str = "GpuCheckFailed";
/// The code of jobs whose cluster is gone.
pub const CLUSTER_DELETED: &str = "ClusterDeleted";

/// What becomes of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It ended with exit code 0.
    Succeeded,
    /// It ended in another way.
    Failed {
        /// The exit code that decided, if a process gave one.
        exit_code: Option<i32>,
        /// Why.
        error: ErrorRecord,
    },
    /// It waits again, for this reason.
    Requeued(ErrorRecord),
}

impl Verdict {
    /// It failed.
    pub fn failed(exit_code: Option<i32>, error: ErrorRecord) -> Self {
        Self::Failed { exit_code, error }
    }

    /// The status that says so.
    pub(crate) fn status(self, job: &LiveJob, gang: Option<&Gang>, now: Timestamp) -> JobStatus {
        let mut status = status_or_queued(job);
        status.state_since = now;
        status.waiting = None;
        let ending = status.ending.take();
        if let Self::Requeued(reason) = self {
            let is_uncounted =
                matches!(ending, Some(Ending::Requeue { cause, .. }) if !cause.counts());
            status.uncounted_attempts += u32::from(is_uncounted);
            status.requeued = Some(reason);
            status.state = ExecutionState::Queued;
            status.previous_nodes = std::mem::take(&mut status.nodes);
            status.start_time = None;
            return status;
        }
        status.end_time = Some(now);
        status.start_time = status.start_time.or(Some(now));
        add_reports(&mut status, gang);
        match self {
            Self::Failed { exit_code, error } => {
                status.state = ExecutionState::Failed;
                status.exit_code = exit_code;
                status.errors = vec![error];
            }
            Self::Succeeded | Self::Requeued(_) => {
                status.state = ExecutionState::Succeeded;
                status.exit_code = Some(0);
            }
        }
        status
    }
}

fn add_reports(status: &mut JobStatus, gang: Option<&Gang>) {
    let of_node = |node| {
        gang?
            .parts
            .get(node)?
            .report
            .as_ref()
            .filter(|report| report.attempt == status.attempt)
    };
    let reports: Vec<&Report> = status.nodes.iter().filter_map(of_node).collect();
    let directories: Vec<DirectoryLocation> = reports
        .iter()
        .flat_map(|report| report.directories.iter().cloned())
        .collect();
    let accounts = reports.iter().filter_map(|report| match &report.phase {
        ReportPhase::Ended { account, .. } => Some(account),
        _ => None,
    });
    let account = accounts.fold(None, |sum: Option<Account>, account| {
        Some(sum.map_or_else(|| account.clone(), |sum| sum.plus(account)))
    });
    if !directories.is_empty() {
        status.directories = directories;
    }
    status.account = account;
}

/// The error of a job that the user ended, in the words of the real service.
pub(crate) fn terminated() -> ErrorRecord {
    ErrorRecord::new(
        JOB_TERMINATED,
        "The specified job has been terminated by the user",
    )
}

/// How a job ended whose nodes are all done, or lost.
pub(crate) fn verdict(job: &LiveJob, status: &JobStatus, parts: &[PartView<'_>]) -> Verdict {
    let is_complete = parts
        .iter()
        .all(|part| matches!(part.outcome(), Some(Outcome::Completed)));
    let loss = first_loss(parts);
    match (&status.ending, first_failure(parts)) {
        (Some(Ending::TerminatedByUser), _) => Verdict::failed(None, terminated()),
        (Some(Ending::WallClockLimit), _) => Verdict::failed(None, wall_clock_exceeded(job)),
        (Some(Ending::PrimariesDone), _) => Verdict::Succeeded,
        (Some(Ending::Requeue { .. }) | None, None) if is_complete => Verdict::Succeeded,
        (Some(Ending::Requeue { reason, cause }), _) => {
            let error = loss.and_then(|loss| loss.error);
            retry(job, *cause, reason, error)
        }
        (Some(Ending::NodeFailed { exit_code, error }), _) => match loss {
            // When a node is lost, the processes on the others fail for want of their peer.
            Some(loss) if error.code != CLUSTER_DELETED => lost(job, loss),
            _ => Verdict::failed(*exit_code, error.clone()),
        },
        (None, Some((exit_code, error))) => match loss {
            Some(loss) => lost(job, loss),
            None => Verdict::failed(exit_code, error),
        },
        (None, None) => match loss {
            Some(loss) => lost(job, loss),
            None => retry(
                job,
                RequeueCause::NodeLost,
                "its nodes stopped it without being told to",
                None,
            ),
        },
    }
}

/// What becomes of a job that has lost a node.
fn lost(job: &LiveJob, loss: Loss) -> Verdict {
    match node_lost(job, &loss) {
        Some(error) if !job.is_unwanted() => Verdict::failed(None, error),
        _ => retry(job, RequeueCause::NodeLost, &loss.reason, loss.error),
    }
}

/// The error of a job that is to fail at the first loss of a node.
///
/// None where it had not started: a node that finds its GPUs unfit for it is as good as another
/// choice of the leader.
pub(crate) fn node_lost(job: &LiveJob, loss: &Loss) -> Option<ErrorRecord> {
    let had_started = loss
        .error
        .as_ref()
        .is_none_or(|error| error.code != GPU_CHECK_FAILED);
    let fails = job.record.properties.lote.on_node_loss == OnNodeLoss::Fail && had_started;
    fails.then(|| {
        let message = format!(
            "{}; the job fails with its node, because its lote.onNodeLoss is 'fail'",
            loss.reason
        );
        named(loss.error.clone(), message)
    })
}

/// The node's own error with this sentence, or one of the leader's.
fn named(error: Option<ErrorRecord>, message: String) -> ErrorRecord {
    match error {
        Some(error) => ErrorRecord { message, ..error },
        None => ErrorRecord::new(NODE_LOST, message),
    }
}

fn retry(job: &LiveJob, cause: RequeueCause, reason: &str, error: Option<ErrorRecord>) -> Verdict {
    let attempts_max = job.record.properties.lote.attempts();
    if job.is_unwanted() {
        return Verdict::failed(None, terminated());
    }
    if !cause.counts() || job.counted_attempts() < attempts_max {
        let plain = || ErrorRecord::new(cause.code(), reason);
        return Verdict::Requeued(error.unwrap_or_else(plain));
    }
    let message = format!(
        "{reason}; the job was started {} times, and may not be started again",
        job.counted_attempts()
    );
    Verdict::failed(None, named(error, message))
}

fn wall_clock_exceeded(job: &LiveJob) -> ErrorRecord {
    let limit = job.record.properties.constraints.max_wall_clock_time;
    ErrorRecord::new(
        WALL_CLOCK_EXCEEDED,
        format!(
            "the job ran longer than its limit of {limit}: raise constraints.maxWallClockTime, or do less in one job"
        ),
    )
}

/// The failure that was reported first.
pub(crate) fn first_failure(parts: &[PartView<'_>]) -> Option<(Option<i32>, ErrorRecord)> {
    let failures = parts.iter().filter_map(|part| match part.outcome()? {
        Outcome::Failed { exit_code, error } => {
            Some((part.report?.at, part.rank, *exit_code, error))
        }
        _ => None,
    });
    let (_, _, exit_code, error) = failures.min_by_key(|(at, rank, ..)| (*at, *rank))?;
    Some((exit_code, error.clone()))
}

/// Why a node's part came to no end of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loss {
    /// In a sentence.
    pub(crate) reason: String,
    /// What the node calls it, if it is more than the loss of a node.
    pub(crate) error: Option<ErrorRecord>,
}

/// The first loss of a part.
pub(crate) fn first_loss(parts: &[PartView<'_>]) -> Option<Loss> {
    parts
        .iter()
        .find_map(|part| match (&part.lost, part.outcome()) {
            (Some(reason), _) => Some(Loss {
                reason: reason.clone(),
                error: None,
            }),
            (None, Some(Outcome::Lost { reason, error })) => Some(Loss {
                reason: format!("node '{}': {reason}", part.node),
                error: error.clone(),
            }),
            _ => None,
        })
}
