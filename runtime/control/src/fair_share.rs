//! Fair shares between workspaces: of jobs of one priority, those of the workspace that has used
//! less of late come first.
//!
//! The measure is node-seconds, a part of a node counting as that part, and worth half after each
//! half-life, so that a workspace that used much is not set back for ever. Running jobs count
//! from their start, and besides for a while to come ([`AHEAD`]): without that, whoever submits
//! first would get all free nodes at once, since what has just started has used nothing yet.
//!
//! * Workspaces are compared in steps of about a fifth, and what is less than a minute of one node
//!   is nothing. So two that use nearly the same are served by age, the order of jobs does not
//!   change with every second, and what one workspace alone submits is ordered by priority and age.
//! * Usage is worth less for all at the same rate, so that waiting changes no order; only starts
//!   and ends do.
//! * What a run used is stored in the transaction that concludes it, under a key of its own, so
//!   that it counts exactly once whatever happens; from time to time the leader adds these up. What
//!   runs is known from the statuses of jobs. So every leader comes to the same shares.

use jiff::{SignedDuration, Timestamp};
use lote_model::fair_share::Usage;
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_store::{Transaction, Write};

use crate::actions::Subject;
use crate::daily_usage;
use crate::decide::Pass;
use crate::room::{Amount, Request};
use crate::snapshot::{Gang, LiveJob, Snapshot, WorkspaceKey, WorkspaceUse};

/// A running job counts in advance for this part of the half-life: an hour of a day. Long enough
/// that a node counts for something the moment it is given, short enough that what was really used
/// decides.
const AHEAD: f64 = 1.0 / 24.0;

/// How many ended runs of a workspace are kept one by one. Adding up costs a write for so many.
const RUNS_KEPT: usize = 64;

/// Usage below this is none: one node for a minute.
const LEAST_NODE_SECONDS: f64 = 60.0;

/// How many steps there are until the usage has doubled.
const STEPS_PER_DOUBLING: u32 = 4;

/// Less than this is forgotten, so that workspaces that are gone leave nothing behind.
const FORGOTTEN_NODE_SECONDS: f64 = 1.0;

/// The half-life in seconds; at least one.
fn half_life_seconds(half_life: SignedDuration) -> f64 {
    half_life.as_secs_f64().max(1.0)
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// What an amount is worth now.
fn worth(usage: &Usage, now: Timestamp, half_life: SignedDuration) -> f64 {
    let ago = seconds_between(usage.at, now);
    usage.node_seconds * (-ago / half_life_seconds(half_life)).exp2()
}

/// What a use of `nodes` that began then and lasts is worth now.
fn worth_of_run(nodes: f64, since: Timestamp, now: Timestamp, half_life: SignedDuration) -> f64 {
    let half_life = half_life_seconds(half_life);
    let left = (-seconds_between(since, now) / half_life).exp2();
    nodes * half_life / std::f64::consts::LN_2 * (1.0 - left)
}

/// What a job that holds so much counts in advance.
pub(crate) fn ahead(nodes: f64, half_life: SignedDuration) -> f64 {
    nodes * half_life_seconds(half_life) * AHEAD
}

/// What a workspace has used of late, in node-seconds.
pub(crate) fn used(workspace: &WorkspaceUse, now: Timestamp, half_life: SignedDuration) -> f64 {
    let ended = workspace.total.iter().chain(workspace.ended.values());
    let ended: f64 = ended.map(|usage| worth(usage, now, half_life)).sum();
    let runs = workspace.running.values();
    let runs: f64 = runs
        .map(|run| worth_of_run(run.nodes, run.since, now, half_life) + ahead(run.nodes, half_life))
        .sum();
    ended + runs
}

/// The step on which a usage is compared.
pub(crate) fn step(node_seconds: f64) -> u32 {
    let ratio = node_seconds / LEAST_NODE_SECONDS;
    if ratio < 1.0 {
        return 0;
    }
    // Whole numbers, so that no machine rounds otherwise.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; what is too large becomes the largest"
    )]
    let quarters = (ratio * f64::from(STEPS_PER_DOUBLING)) as u64;
    let doublings = quarters.ilog2() - STEPS_PER_DOUBLING.ilog2();
    let within = (quarters >> doublings) - u64::from(STEPS_PER_DOUBLING);
    1 + doublings * STEPS_PER_DOUBLING + u32::try_from(within).unwrap_or_default()
}

/// How many nodes a request takes, parts counted as parts: the largest part of GPUs, processors
/// and memory, because the rest of the node is worth less without it.
pub(crate) fn nodes_held(request: &Request, record: Option<&NodeRecord>) -> f64 {
    let part = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let part_of_node = request.share.zip(record).map_or(1.0, |(share, record)| {
        let (amount, whole) = (share.amount(), Amount::whole(record));
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let memory = part(amount.memory_bytes as f64, whole.memory_bytes as f64);
        part(amount.gpus.into(), whole.gpus.into())
            .max(part(amount.cpu_millis.into(), whole.cpu_millis.into()))
            .max(memory)
            .min(1.0)
    });
    f64::from(request.node_count) * part_of_node
}

/// The record of what the attempt of a job that ends now has used; none if it did not run.
pub(crate) fn record(
    snapshot: &Snapshot,
    job: &LiveJob,
    gang: Option<&Gang>,
    now: Timestamp,
) -> Option<Write> {
    let run = snapshot.run_of(job)?;
    let half_life = snapshot.config().usage_half_life;
    let usage = Usage {
        node_seconds: worth_of_run(run.nodes, run.since, now, half_life),
        at: now,
        run: Some(daily_usage::of_run(gang, job.attempt(), &run, now)),
    };
    let record = &job.record;
    let key = key::share_of_run(&record.path.workspace, &record.uid, job.attempt());
    match Write::put_json(key, &usage) {
        Ok(write) => Some(write),
        Err(error) => {
            tracing::error!(job = %record.path, %error, "the use of a job cannot be written");
            None
        }
    }
}

/// Adds up what ended runs have used.
pub(crate) fn settle(pass: &mut Pass<'_>) {
    for (key, workspace) in pass.snapshot.workspaces() {
        if let Some(transaction) = sum_up(pass, key, workspace) {
            let subject = Subject::Share(key.clone());
            pass.change(subject, "sum up usage", Ok(vec![transaction]));
        }
    }
}

fn sum_up(pass: &Pass<'_>, key: &WorkspaceKey, workspace: &WorkspaceUse) -> Option<Transaction> {
    if workspace.in_flight {
        return None;
    }
    let half_life = pass.snapshot.config().usage_half_life;
    let total = workspace.total.as_ref();
    let total = total.map_or(0.0, |total| worth(total, pass.now, half_life));
    let total_key = format!("{}{key}", key::SHARES);
    let transaction = Transaction::new().require_revision(&total_key, workspace.total_revision);
    if workspace.ended.len() < RUNS_KEPT {
        let is_over = workspace.ended.is_empty() && total < FORGOTTEN_NODE_SECONDS;
        return (is_over && workspace.total.is_some()).then(|| transaction.delete(total_key));
    }
    let ended = workspace.ended.iter().take(RUNS_KEPT);
    let sum = ended
        .clone()
        .map(|(_, usage)| worth(usage, pass.now, half_life));
    let usage = Usage {
        node_seconds: total + sum.sum::<f64>(),
        at: pass.now,
        run: None,
    };
    let runs = ended.clone().filter_map(|(_, usage)| usage.run.as_ref());
    let transaction =
        daily_usage::add_runs(transaction, pass.snapshot, key, runs, pass.now).ok()?;
    let transaction = ended.fold(transaction, |transaction, (run, _)| {
        transaction.delete(format!("{total_key}/{run}"))
    });
    transaction.put_json(total_key, &usage).ok()
}

#[cfg(test)]
mod tests;
