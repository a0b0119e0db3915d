//! What lies on nodes of a job, and what they report of it.

use std::collections::BTreeMap;

use lote_model::accounting::Account;
use lote_model::allocation::Allocation;
use lote_model::id::{JobUid, NodeName};
use lote_model::report::{Outcome, Report, ReportPhase};

use super::Snapshot;

/// The allocations and reports of one job uid.
#[derive(Clone, Debug, Default)]
pub struct Gang {
    /// By node.
    pub parts: BTreeMap<NodeName, Part>,
    /// Whether left-overs are being removed.
    pub in_flight: bool,
}

/// One node's part.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// What the leader granted.
    pub allocation: Option<Allocation>,
    /// What the node reported last.
    pub report: Option<Report>,
}

impl Gang {
    /// Whether anything is granted.
    pub fn has_allocations(&self) -> bool {
        self.parts.values().any(|part| part.allocation.is_some())
    }
}

impl Part {
    /// Whether the node is done with this attempt.
    pub fn is_ended(&self, attempt: u32) -> bool {
        self.ended(attempt).is_some()
    }

    /// How this attempt ended on the node.
    pub fn ended(&self, attempt: u32) -> Option<(&Outcome, &Account)> {
        match &self
            .report
            .as_ref()
            .filter(|report| report.attempt == attempt)?
            .phase
        {
            ReportPhase::Ended { outcome, account } => Some((outcome, account)),
            _ => None,
        }
    }
}

impl Snapshot {
    pub(super) fn with_part(
        &mut self,
        uid: &JobUid,
        node: &NodeName,
        now: jiff::Timestamp,
        change: impl FnOnce(&mut Part),
    ) {
        let gang = self.gangs.entry(uid.clone()).or_default();
        let part = gang.parts.entry(node.clone()).or_default();
        change(part);
        if part.allocation.is_none() && part.report.is_none() {
            gang.parts.remove(node);
        }
        if gang.parts.is_empty() {
            self.gangs.remove(uid);
        }
        self.refresh_hold(node, uid, now);
        self.refresh_job(uid);
    }
}
