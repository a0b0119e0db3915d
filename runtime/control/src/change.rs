//! Decisions as transactions.
//!
//! Every change of a job requires the revision of its status that was decided on: the leader is
//! the only writer of it, so a former leader that does not know of its successor cannot write.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lote_model::allocation::{Allocation, AllocationPhase};
use lote_model::cluster::{ClusterRecord, ClusterStatus};
use lote_model::id::{JobUid, NodeName};
use lote_model::job::{Ending, JobStatus};
use lote_model::key;
use lote_model::state::ExecutionState;
use lote_store::transaction::{MAX_OPERATIONS, MAX_REQUEST_BYTES};
use lote_store::{Compare, Revision, StoreError, Transaction, Write};

use crate::conclusion::Verdict;
use crate::snapshot::{Erasure, Gang, LiveJob};

/// What a write costs besides its key and value, generously.
const WRITE_OVERHEAD_BYTES: usize = 192;

/// The most writes of one transaction: each may need a compare, and some more are for all.
const WRITES_MAX: usize = MAX_OPERATIONS - 8;

/// Room in each transaction for compares.
const COMPARES_BYTES: usize = 4096;

/// Splits writes, in order, into as few transactions as the limits of the store allow.
pub(crate) fn split(writes: Vec<Write>) -> Vec<Transaction> {
    let mut transactions = vec![Transaction::new()];
    let mut bytes = 0;
    for write in writes {
        let size = size_bytes(&write);
        let is_full = transactions.last().is_some_and(|last| {
            last.writes.len() == WRITES_MAX || bytes + size > MAX_REQUEST_BYTES - COMPARES_BYTES
        });
        if is_full {
            transactions.push(Transaction::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(last) = transactions.last_mut() {
            last.writes.push(write);
        }
    }
    transactions
}

fn size_bytes(write: &Write) -> usize {
    WRITE_OVERHEAD_BYTES
        + match write {
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Delete { key } => key.len(),
            Write::DeletePrefix { prefix } => prefix.len(),
        }
}

/// Lets every transaction require the same revisions. Right where the last one writes the
/// compared keys.
pub(crate) fn require_all(
    mut transactions: Vec<Transaction>,
    compares: &[Compare],
) -> Vec<Transaction> {
    for transaction in &mut transactions {
        transaction.compares.extend_from_slice(compares);
    }
    transactions
}

/// Lets the first transaction require revisions. Right where it writes the compared keys itself.
fn require_first(mut transactions: Vec<Transaction>, compares: &[Compare]) -> Vec<Transaction> {
    if let Some(first) = transactions.first_mut() {
        first.compares.extend_from_slice(compares);
    }
    transactions
}

pub(crate) fn compare(key: String, mod_revision: Revision) -> Compare {
    Compare { key, mod_revision }
}

fn status_compare(job: &LiveJob) -> Compare {
    compare(key::job_status(&job.record.path), job.status_revision)
}

/// The status that a job without one has.
pub(crate) fn status_or_queued(job: &LiveJob) -> JobStatus {
    job.status
        .clone()
        .unwrap_or_else(|| JobStatus::queued(&job.record))
}

/// A job is being ended: its status says why, and its nodes stop it.
pub(crate) fn end(
    job: &LiveJob,
    gang: &Gang,
    ending: Ending,
    now: Timestamp,
) -> Result<Vec<Transaction>, StoreError> {
    let mut status = status_or_queued(job);
    if matches!(ending, Ending::TerminatedByUser | Ending::WallClockLimit) {
        status.state = ExecutionState::Terminating;
        status.state_since = now;
    }
    status.ending = Some(ending);
    let mut writes = vec![Write::put_json(key::job_status(&job.record.path), &status)?];
    writes.extend(move_to_phase(gang, AllocationPhase::Stop)?);
    Ok(require_first(split(writes), &[status_compare(job)]))
}

/// All nodes of a gang move on.
pub(crate) fn advance(
    job: &LiveJob,
    gang: &Gang,
    phase: AllocationPhase,
) -> Result<Vec<Transaction>, StoreError> {
    Ok(require_all(
        split(move_to_phase(gang, phase)?),
        &[status_compare(job)],
    ))
}

/// Left-over allocations are stopped.
pub(crate) fn stop_left_over(gang: &Gang) -> Result<Vec<Transaction>, StoreError> {
    Ok(split(move_to_phase(gang, AllocationPhase::Stop)?))
}

fn move_to_phase(gang: &Gang, phase: AllocationPhase) -> Result<Vec<Write>, StoreError> {
    let behind = gang.parts.iter().filter_map(|(node, part)| {
        let allocation = part.allocation.as_ref()?;
        (allocation.phase < phase && !part.is_ended(allocation.attempt))
            .then_some((node, allocation))
    });
    behind
        .map(|(node, allocation)| {
            let allocation = Allocation {
                phase,
                ..allocation.clone()
            };
            Write::put_json(key::allocation(node, &allocation.uid), &allocation)
        })
        .collect()
}

/// A job has ended, or goes back to the queue; what lay on its nodes is gone, and what it used is
/// noted.
pub(crate) fn conclude(
    job: &LiveJob,
    gang: Option<&Gang>,
    verdict: Verdict,
    used: Option<Write>,
    now: Timestamp,
) -> Result<Vec<Transaction>, StoreError> {
    let status = verdict.status(job, gang, now);
    let mut writes = gang.map_or_else(Vec::new, |gang| remove_parts(gang, &job.record.uid));
    writes.extend(used);
    writes.push(Write::put_json(key::job_status(&job.record.path), &status)?);
    Ok(require_all(split(writes), &[status_compare(job)]))
}

/// Takes allocations from nodes that are lost only while they are: one that comes back between the
/// decision and the commit would find its allocation in the store, and start what others are about
/// to get.
pub(crate) fn require_silence(
    mut transactions: Vec<Transaction>,
    lost: &BTreeSet<&NodeName>,
) -> Vec<Transaction> {
    let lost_node = |write: &Write| {
        let Write::Delete { key } = write else {
            return None;
        };
        let (node, _) = key.strip_prefix(key::ALLOCATIONS)?.split_once('/')?;
        lost.get(&NodeName::new(node)).copied()
    };
    for transaction in &mut transactions {
        let nodes = transaction.writes.iter().filter_map(lost_node);
        let silent = nodes.map(|node| compare(key::alive(node), 0));
        transaction.compares.extend(silent.collect::<Vec<_>>());
    }
    transactions
}

/// Erases allocations and reports.
pub(crate) fn remove_parts(gang: &Gang, uid: &JobUid) -> Vec<Write> {
    let allocated = gang
        .parts
        .iter()
        .filter(|(_, part)| part.allocation.is_some());
    let mut writes: Vec<_> = allocated
        .map(|(node, _)| Write::delete(key::allocation(node, uid)))
        .collect();
    writes.push(Write::delete_prefix(key::reports_of(uid)));
    writes
}

/// A job that does not run is erased, at the user's wish.
pub(crate) fn erase(job: &LiveJob, gang: Option<&Gang>, used: Option<Write>) -> Vec<Transaction> {
    let uid = &job.record.uid;
    let mut writes = gang.map_or_else(Vec::new, |gang| remove_parts(gang, uid));
    writes.extend(used);
    writes.push(Write::delete_prefix(key::plans_of(uid)));
    writes.push(Write::delete(key::job_secrets(uid)));
    writes.push(Write::delete(key::job_status(&job.record.path)));
    writes.push(Write::delete(key::job(&job.record.path)));
    let record = compare(key::job(&job.record.path), job.record_revision);
    require_all(split(writes), &[status_compare(job), record])
}

/// A finished job is erased.
pub(crate) fn erase_finished(uid: &JobUid, erasure: &Erasure) -> Vec<Transaction> {
    let record = format!("{}{}", key::JOBS, erasure.place);
    let transaction = Transaction::new()
        .require_revision(&record, erasure.record_revision)
        .delete_prefix(key::reports_of(uid))
        .delete_prefix(key::plans_of(uid))
        .delete(key::job_secrets(uid))
        .delete(format!("{}{}", key::JOB_STATUS, erasure.place))
        .delete(record);
    vec![transaction]
}

/// The text that says why a job waits.
pub(crate) fn explain(job: &LiveJob, waiting: String) -> Result<Vec<Transaction>, StoreError> {
    let status = JobStatus {
        waiting: Some(waiting),
        ..status_or_queued(job)
    };
    let key = key::job_status(&job.record.path);
    Ok(vec![
        Transaction::new()
            .require_revision(&key, job.status_revision)
            .put_json(key, &status)?,
    ])
}

/// A cluster's new status.
pub(crate) fn cluster_status(
    record: &ClusterRecord,
    status_revision: Revision,
    status: &ClusterStatus,
) -> Result<Vec<Transaction>, StoreError> {
    let key = key::cluster_status(&record.path);
    Ok(vec![
        Transaction::new()
            .require_revision(&key, status_revision)
            .put_json(key, status)?,
    ])
}

/// A cluster without jobs is erased.
pub(crate) fn erase_cluster(record: &ClusterRecord, record_revision: Revision) -> Vec<Transaction> {
    let key = key::cluster(&record.path);
    vec![
        Transaction::new()
            .require_revision(&key, record_revision)
            .delete(key::cluster_status(&record.path))
            .delete(key::cluster_secrets(&record.uid))
            .delete(key),
    ]
}
