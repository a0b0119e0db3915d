//! What workspaces use, by day: noted with each run that ends, and added to its days when runs are
//! added up, in the same transaction, so that each counts exactly once.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use lote_model::daily_usage::{DailyUsage, RunUsage, UsedAmounts};
use lote_model::key;
use lote_store::{StoreError, Transaction};

use crate::snapshot::{Gang, Run, Snapshot, WorkspaceKey};

/// Days before the last so many are forgotten: a year, with some time to look at it.
const DAYS_KEPT: i64 = 400;

/// What a run has used that ends now. Nodes that did not tell, because they are lost, have used
/// their GPUs until now.
pub(crate) fn of_run(gang: Option<&Gang>, attempt: u32, run: &Run, now: Timestamp) -> RunUsage {
    let parts = gang.into_iter().flat_map(|gang| gang.parts.values());
    let of_parts = parts.filter_map(|part| {
        if let Some((_, account)) = part.ended(attempt) {
            return Some(UsedAmounts {
                node_seconds: 0.0,
                gpu_seconds: account.gpu_seconds,
                cpu_seconds: account.cpu_seconds,
                gpu_energy_joules: account.energy_joules(),
            });
        }
        let allocation = part.allocation.as_ref()?;
        #[expect(clippy::cast_precision_loss, reason = "a machine has few GPUs")]
        let gpus = allocation.grant.gpus.len() as f64;
        Some(UsedAmounts {
            gpu_seconds: gpus * seconds(allocation.granted_at, now),
            ..UsedAmounts::default()
        })
    });
    let nodes = UsedAmounts {
        node_seconds: run.nodes * seconds(run.since, now),
        ..UsedAmounts::default()
    };
    RunUsage {
        since: run.since,
        until: now,
        amounts: of_parts.fold(nodes, |sum, part| sum.plus(&part)),
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// Adds runs to the days of their workspace, and forgets days that are long gone.
pub(crate) fn add_runs<'r>(
    mut transaction: Transaction,
    snapshot: &Snapshot,
    workspace: &WorkspaceKey,
    runs: impl Iterator<Item = &'r RunUsage>,
    now: Timestamp,
) -> Result<Transaction, StoreError> {
    let mut added: BTreeMap<Date, DailyUsage> = BTreeMap::new();
    for (day, usage) in runs.flat_map(RunUsage::by_day) {
        let sum = added.entry(day).or_default();
        *sum = sum.plus(&usage);
    }
    let today = now.to_zoned(TimeZone::UTC).date();
    let first = today.saturating_sub(Span::new().days(DAYS_KEPT));
    let known: BTreeMap<&str, &(DailyUsage, _)> = snapshot.days_of(workspace).collect();
    for (day, usage) in added.range(first..) {
        let rest = format!("{workspace}/{day}");
        let (before, revision) = known.get(rest.as_str()).map_or_else(
            || (DailyUsage::default(), 0),
            |(usage, revision)| (*usage, *revision),
        );
        let key = format!("{}{rest}", key::DAILY_USAGE);
        transaction = transaction
            .require_revision(&key, revision)
            .put_json(key, &before.plus(usage))?;
    }
    let oldest = format!("{workspace}/{first}");
    let over = known.keys().take_while(|rest| **rest < oldest.as_str());
    Ok(over.fold(transaction, |transaction, rest| {
        transaction.delete(format!("{}{rest}", key::DAILY_USAGE))
    }))
}
