//! What keeps a leader that was replaced from writing.

use lote_model::key;
use lote_store::{Revision, Transaction};

use crate::planted::Fault;

/// The transaction, to be applied only while the leader that was elected at `elected` leads.
///
/// A leader that is paused between its decision and its write may have been replaced meanwhile.
/// Its lease is gone then, the key is absent or another's, and the compare fails.
#[must_use]
pub fn require_leader(transaction: Transaction, elected: Revision) -> Transaction {
    if Fault::SkipFencing.is_planted() {
        return transaction;
    }
    transaction.require_revision(key::LEADER, elected)
}
