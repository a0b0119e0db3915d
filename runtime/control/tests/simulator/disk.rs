//! The file servers of one machine, as it really serves them.

use std::collections::BTreeSet;

use lote_control::testing::serving;
use lote_model::export::{Export, ExportPhase, ExportReport, ExportState};
use lote_model::id::{FileServerUid, NodeName};
use lote_model::key;
use lote_store::{Transaction, Versioned};

use crate::site::SharedStore;
use crate::storage::read;

/// What lies on it outlives the power.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What it serves now.
    pub(crate) served: BTreeSet<FileServerUid>,
    /// All that was ever made on it.
    pub(crate) made: BTreeSet<FileServerUid>,
    /// Whose files are there.
    pub(crate) files: BTreeSet<FileServerUid>,
}

impl Disk {
    /// Serves what the store says, and says so.
    pub(crate) fn follow(&mut self, node: &NodeName, store: &mut SharedStore, now: i64) {
        let prefix = key::exports_of(node);
        let wanted: Vec<Versioned> = store.ledger.list(&prefix).cloned().collect();
        let mut known = BTreeSet::new();
        for item in wanted {
            let export: Export = read(&item);
            let uid = export.uid;
            let state = match export.phase {
                ExportPhase::Serve => {
                    self.made.insert(uid.clone());
                    self.files.insert(uid.clone());
                    self.served.insert(uid.clone());
                    serving()
                }
                ExportPhase::Withdraw { erase } => {
                    self.served.remove(&uid);
                    if erase {
                        self.files.remove(&uid);
                    }
                    ExportState::Withdrawn
                }
            };
            known.insert(uid.clone());
            let report_key = key::exported(node, &uid);
            let before: Option<ExportReport> = store.ledger.get(&report_key);
            if before.is_some_and(|before| before.state == state) {
                continue;
            }
            let report = ExportReport {
                uid,
                state,
                usage: None,
                reported_at: lote_control::testing::at_second(now),
            };
            let transaction = Transaction::new()
                .require_revision(&item.key, item.mod_revision)
                .put_json(report_key, &report)
                .unwrap();
            store.commit(&transaction);
        }
        self.served.retain(|uid| known.contains(uid));
    }
}
