//! Writes what has become of the exports, when there is something new to say.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lote_model::export::{ExportReport, ExportState, StorageUsage};
use lote_model::id::FileServerUid;
use lote_model::key;
use lote_model::problem::explain;
use lote_store::{Commit, ListRequest, Revision, StoreError, Transaction, list_json};
use tokio::sync::watch;

use super::ExportNode;
use super::measure::Usages;

/// Pause after a failed call of the store.
const RETRY: Duration = Duration::from_secs(1);

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(5);

/// How full an export is is not written more often than this.
const USAGE_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// A change of less than this part of the whole is not worth a write.
const USAGE_STEP: u64 = 100;

/// What there is to report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether the store was read; before that nothing is known to be gone.
    pub(super) is_known: bool,
    pub(super) exports: BTreeMap<FileServerUid, ExportOutcome>,
}

/// What has become of one export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExportOutcome {
    /// The revision of the export that it is about.
    pub(super) revision: Revision,
    /// None while nothing has come of it yet.
    pub(super) state: Option<ExportState>,
}

/// The reports as they are in the store.
type Written = BTreeMap<FileServerUid, ExportReport>;

/// Writes reports for ever, whatever the store does meanwhile.
pub(super) async fn write(
    node: &ExportNode,
    mut outcome: watch::Receiver<Outcome>,
    mut usages: watch::Receiver<Usages>,
) {
    let mut written = None;
    loop {
        let pause = match flush(node, &mut written, &mut outcome, &mut usages).await {
            Ok(()) => Duration::try_from(USAGE_PAUSE).unwrap_or(RETRY),
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::debug!(
                    error = explain(&error),
                    "cannot report on exports; trying again"
                );
                RETRY
            }
        };
        let is_new = async {
            tokio::select! {
                changed = outcome.changed() => changed,
                changed = usages.changed() => changed,
            }
        };
        if let Ok(Err(_)) = tokio::time::timeout(pause, is_new).await {
            return;
        }
    }
}

async fn flush(
    node: &ExportNode,
    written: &mut Option<Written>,
    outcome: &mut watch::Receiver<Outcome>,
    usages: &mut watch::Receiver<Usages>,
) -> Result<(), StoreError> {
    let (outcome, usages) = (
        outcome.borrow_and_update().clone(),
        usages.borrow_and_update().clone(),
    );
    if !outcome.is_known {
        return Ok(());
    }
    let written = match written {
        Some(written) => written,
        None => written.insert(read(node).await?),
    };
    let gone: Vec<FileServerUid> = written
        .keys()
        .filter(|uid| !outcome.exports.contains_key(uid))
        .cloned()
        .collect();
    for uid in gone {
        remove(node, &uid).await?;
        written.remove(&uid);
    }
    for (uid, export) in &outcome.exports {
        let Some(state) = &export.state else { continue };
        let report = ExportReport {
            uid: uid.clone(),
            state: state.clone(),
            usage: usages.get(uid).copied(),
            reported_at: Timestamp::now(),
        };
        if let Some(report) = news(written.get(uid), report)
            && put(node, export.revision, &report).await?
        {
            written.insert(uid.clone(), report);
        }
    }
    Ok(())
}

/// The report that is to be written, if one is.
fn news(last: Option<&ExportReport>, mut now: ExportReport) -> Option<ExportReport> {
    let Some(last) = last else { return Some(now) };
    let is_due = now.reported_at.duration_since(last.reported_at) >= USAGE_PAUSE
        || last.usage.is_none()
        || last.reported_at > now.reported_at;
    let is_served = matches!(now.state, ExportState::Serving(_));
    // A daemon that has just started has not measured yet.
    now.usage = now.usage.or(last.usage.filter(|_| is_served));
    let is_noticeable = differs(last.usage, now.usage) && is_due;
    (last.state != now.state || is_noticeable).then_some(now)
}

fn differs(last: Option<StorageUsage>, now: Option<StorageUsage>) -> bool {
    match (last, now) {
        (Some(last), Some(now)) => {
            let whole = last.used_bytes.saturating_add(last.free_bytes);
            let step = (whole / USAGE_STEP).max(1);
            last.used_bytes.abs_diff(now.used_bytes) >= step
                || last.free_bytes.abs_diff(now.free_bytes) >= step
        }
        (last, now) => last.is_some() != now.is_some(),
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(CALL_MAX, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(StoreError::Unavailable {
            source: std::sync::Arc::new(elapsed),
        }),
    }
}

async fn read(node: &ExportNode) -> Result<Written, StoreError> {
    let request = ListRequest::prefix(key::exported_of(&node.name));
    let listing = in_time(list_json::<ExportReport>(&*node.store, request)).await?;
    let reports = listing.items.into_iter().map(|item| item.value);
    Ok(reports.map(|report| (report.uid.clone(), report)).collect())
}

/// Writes a report, only while the export is as it was when it came about. Whether it was.
async fn put(
    node: &ExportNode,
    revision: Revision,
    report: &ExportReport,
) -> Result<bool, StoreError> {
    let transaction = Transaction::new()
        .require_revision(key::export(&node.name, &report.uid), revision)
        .put_json(key::exported(&node.name, &report.uid), report)?;
    let commit = in_time(node.store.commit(transaction)).await?;
    // If it has changed, the change arrives here soon and leads to another report.
    Ok(matches!(commit, Commit::Applied { .. }))
}

/// Nobody waits for a report about an export that is gone.
async fn remove(node: &ExportNode, uid: &FileServerUid) -> Result<(), StoreError> {
    let transaction = Transaction::new()
        .require_absent(key::export(&node.name, uid))
        .delete(key::exported(&node.name, uid));
    in_time(node.store.commit(transaction)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(used_bytes: u64) -> StorageUsage {
        StorageUsage {
            used_bytes,
            free_bytes: 1_000_000 - used_bytes,
        }
    }

    fn report(
        state: ExportState,
        usage: impl Into<Option<StorageUsage>>,
        second: i64,
    ) -> ExportReport {
        ExportReport {
            uid: FileServerUid::new("u"),
            state,
            usage: usage.into(),
            reported_at: Timestamp::from_second(second).unwrap(),
        }
    }

    fn failed(message: &str) -> ExportState {
        ExportState::Failed(lote_model::job::ErrorRecord::new("X", message))
    }

    #[test]
    fn only_news_are_written() {
        let last = report(failed("a"), usage(500_000), 0);
        let of = |now| news(Some(&last), now).is_some();
        assert!(!of(report(failed("a"), usage(500_000), 3600)));
        assert!(of(report(failed("b"), usage(500_000), 1)));
        assert!(of(report(ExportState::Withdrawn, None, 1)));
        assert!(news(None, last.clone()).is_some());
    }

    #[test]
    fn usage_is_written_when_it_changed_noticeably_and_not_too_often() {
        let last = report(failed("a"), usage(500_000), 0);
        let of = |now| news(Some(&last), now).is_some();
        assert!(!of(report(failed("a"), usage(509_000), 61)));
        assert!(of(report(failed("a"), usage(510_000), 61)));
        assert!(!of(report(failed("a"), usage(510_000), 59)));
        // The first time at once.
        let unknown = report(failed("a"), None, 0);
        assert!(news(Some(&unknown), report(failed("a"), usage(1), 1)).is_some());
    }
}
