//! Committing transactions.

use std::time::Duration;

use etcd_client::{Client, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp};

use super::failure::Meaning;
use super::keys::{self, KeySpace};
use super::lease;
use super::members::{Members, Repeat};
use crate::api::LeaseId;
use crate::error::StoreError;
use crate::transaction::{Commit, Compare, Transaction, Write};

/// How long etcd may take. Longer than its own time limit would only keep callers waiting.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);

/// Commits a valid transaction.
pub(super) async fn commit(
    members: &Members,
    space: &KeySpace,
    transaction: &Transaction,
) -> Result<Commit, StoreError> {
    let txn = txn(space, transaction);
    let ask = |mut client: Client| {
        let txn = txn.clone();
        async move { client.txn(txn).await }
    };
    let repeat = if transaction.writes.is_empty() {
        Repeat::Harmless
    } else {
        Repeat::Never
    };
    match members.call(COMMIT_LIMIT, repeat, ask).await {
        Ok(answer) => {
            let revision = answer
                .header()
                .map_or(0, |header| keys::revision(header.revision()));
            Ok(if answer.succeeded() {
                Commit::Applied { revision }
            } else {
                Commit::Conflict { revision }
            })
        }
        Err(failure) if failure.meaning == Meaning::LeaseNotFound => {
            Err(match ended_lease(members, &leases(transaction)).await {
                Some(lease) => StoreError::LeaseNotFound { lease },
                None => failure.into_write_error(),
            })
        }
        Err(failure) => Err(failure.into_write_error()),
    }
}

fn txn(space: &KeySpace, transaction: &Transaction) -> Txn {
    let compares: Vec<_> = transaction
        .compares
        .iter()
        .map(|Compare { key, mod_revision }| {
            etcd_client::Compare::mod_revision(
                space.outside(key),
                CompareOp::Equal,
                keys::signed(*mod_revision),
            )
        })
        .collect();
    let txn = Txn::new().when(compares);
    if transaction.writes.is_empty() {
        // Etcd would compare with what this member has, which may be of yesterday. Reading a key
        // makes it ask the others.
        let read = || {
            let options = GetOptions::new().with_count_only();
            vec![TxnOp::get(space.outside(""), Some(options))]
        };
        return txn.and_then(read()).or_else(read());
    }
    let writes: Vec<_> = transaction
        .writes
        .iter()
        .map(|write| operation(space, write))
        .collect();
    txn.and_then(writes)
}

fn operation(space: &KeySpace, write: &Write) -> TxnOp {
    match write {
        Write::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease::signed(lease)));
            TxnOp::put(space.outside(key), value.to_vec(), options)
        }
        Write::Delete { key } => TxnOp::delete(space.outside(key), None),
        Write::DeletePrefix { prefix } => {
            let range = space.under(prefix);
            let options = DeleteOptions::new().with_range(range.end);
            TxnOp::delete(range.start, Some(options))
        }
    }
}

fn leases(transaction: &Transaction) -> Vec<LeaseId> {
    let mut leases: Vec<_> = transaction
        .writes
        .iter()
        .filter_map(|write| match write {
            Write::Put { lease, .. } => *lease,
            Write::Delete { .. } | Write::DeletePrefix { .. } => None,
        })
        .collect();
    leases.sort_unstable();
    leases.dedup();
    leases
}

/// Which of the leases is gone; etcd does not say.
async fn ended_lease(members: &Members, leases: &[LeaseId]) -> Option<LeaseId> {
    if let [only] = leases {
        return Some(*only);
    }
    for lease in leases {
        let alive = lease::is_alive(members, *lease).await;
        if alive.is_ok_and(|alive| !alive) {
            return Some(*lease);
        }
    }
    None
}
