//! Writes the node's reports about one job.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lote_model::allocation::Allocation;
use lote_model::job::DirectoryLocation;
use lote_model::key;
use lote_model::report::{Report, ReportPhase};
use lote_store::{Commit, Transaction};
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
        let Ok(value) = serde_json::to_vec(&report) else {
            tracing::error!(job = %self.allocation.job, "a report cannot be written as JSON");
            return Err(Withdrawn);
        };
        loop {
            match self.try_write(value.clone()).await {
                Some(result) => return result,
                None => tokio::time::sleep(RETRY).await,
            }
        }
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
