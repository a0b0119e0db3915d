//! Writes the node's reports about one job.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lote_model::allocation::Allocation;
use lote_model::job::DirectoryLocation;
use lote_model::key;
use lote_model::report::{Report, ReportPhase};
use lote_store::{Commit, StoreError, Transaction, get_json};
use tokio::sync::watch;

use super::Node;
use super::allocations::Directive;

/// Pause before a report that the store refused is written again.
const RETRY: Duration = Duration::from_millis(500);

/// The allocation is gone: nobody waits for reports about it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Withdrawn;

/// Writes reports about one allocation.
#[derive(Debug)]
pub(super) struct Reporter {
    node: Arc<Node>,
    allocation: Allocation,
    directive: watch::Receiver<Directive>,
}

impl Reporter {
    pub(super) fn new(
        node: Arc<Node>,
        allocation: Allocation,
        directive: watch::Receiver<Directive>,
    ) -> Self {
        Self {
            node,
            allocation,
            directive,
        }
    }

    /// Writes a report and returns once it is durable, however long the store is
    /// away. It is written only while the allocation exists, so that no report
    /// of a withdrawn one is left behind.
    pub(super) async fn report(
        &self,
        phase: ReportPhase,
        directories: &[DirectoryLocation],
    ) -> Result<(), Withdrawn> {
        let Some(value) = self.written(phase, directories) else {
            return Err(Withdrawn);
        };
        loop {
            match self.try_write(value.clone()).await {
                Some(result) => return result,
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Writes that the node is not prepared yet, unless it has written since that it is. Nobody
    /// depends on it: what the store does not take is left out.
    pub(super) async fn report_preparing(&self, doing: String, directories: &[DirectoryLocation]) {
        let Some(value) = self.written(ReportPhase::Preparing { doing }, directories) else {
            return;
        };
        if let Err(error) = self.try_write_preparing(value).await {
            tracing::debug!(%error, job = %self.allocation.job, "cannot tell how far a job is");
        }
    }

    async fn try_write_preparing(&self, value: Vec<u8>) -> Result<(), StoreError> {
        let Allocation { uid, attempt, .. } = &self.allocation;
        let name = &self.node.config.name;
        let (allocation, own) = (key::allocation(name, uid), key::report(uid, name));
        let seen = *self.directive.borrow();
        let store = &self.node.store;
        let before = get_json::<Report>(&**store, &own).await?;
        let is_prepared = before.as_ref().is_some_and(|report| {
            report.value.attempt == *attempt && report.value.phase.is_prepared()
        });
        if seen.phase.is_none() || is_prepared {
            return Ok(());
        }
        let transaction = Transaction::new()
            .require_revision(allocation, seen.revision)
            .require_revision(&*own, before.map_or(0, |report| report.mod_revision))
            .put(&*own, value);
        store.commit(transaction).await.map(|_| ())
    }

    /// A report as it is stored.
    fn written(&self, phase: ReportPhase, directories: &[DirectoryLocation]) -> Option<Vec<u8>> {
        let Allocation {
            uid, attempt, rank, ..
        } = &self.allocation;
        let report = Report {
            uid: uid.clone(),
            node: self.node.config.name.clone(),
            attempt: *attempt,
            rank: *rank,
            phase,
            directories: directories.to_vec(),
            at: Timestamp::now(),
        };
        let written = serde_json::to_vec(&report);
        if written.is_err() {
            tracing::error!(job = %self.allocation.job, "a report cannot be written as JSON");
        }
        written.ok()
    }

    /// `None` to try again.
    async fn try_write(&self, value: Vec<u8>) -> Option<Result<(), Withdrawn>> {
        let Allocation { uid, .. } = &self.allocation;
        let name = &self.node.config.name;
        let seen = *self.directive.borrow();
        if seen.phase.is_none() {
            return Some(Err(Withdrawn));
        }
        let transaction = Transaction::new()
            .require_revision(key::allocation(name, uid), seen.revision)
            .put(key::report(uid, name), value);
        match self.node.store.commit(transaction).await {
            Ok(Commit::Applied { .. }) => Some(Ok(())),
            Ok(Commit::Conflict { .. }) => self.newer_than(seen).await,
            Err(error) => {
                tracing::warn!(%error, job = %self.allocation.job, "cannot write a report; trying again");
                None
            }
        }
    }

    /// The allocation has changed: waits until the change has arrived here too.
    async fn newer_than(&self, seen: Directive) -> Option<Result<(), Withdrawn>> {
        let mut directive = self.directive.clone();
        let arrived = directive.wait_for(|directive| *directive != seen);
        match tokio::time::timeout(RETRY, arrived).await {
            Ok(Err(_)) => Some(Err(Withdrawn)),
            _ => None,
        }
    }
}
