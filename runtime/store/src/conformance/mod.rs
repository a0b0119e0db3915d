//! The tests that every back end must pass.
//!
//! A back end's own tests call [`run_all`] with a way to make an empty store. Each case is a
//! function over `Arc<dyn Store>`, so it can use nothing but the interface. Cases panic when they
//! fail, with the case's name printed before.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "test code: a failed case panics"
)]

mod leases;
mod reads;
mod transactions;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use crate::{Commit, Revision, Store, StoreError, Transaction, Versioned, Watch, WatchBatch};

/// How long a case waits for what must happen soon.
const PATIENCE: Duration = Duration::from_secs(20);

macro_rules! run {
    ($fresh:ident: $($module:ident::{$($case:ident),+ $(,)?})+) => {$($(
        println!(concat!("conformance: ", stringify!($module), "::", stringify!($case)));
        $module::$case($fresh().await).await;
    )+)+};
}

/// Runs every case, each on a new store from `fresh`. Call it from a tokio runtime with time.
pub async fn run_all<F>(fresh: impl Fn() -> F)
where
    F: Future<Output = Arc<dyn Store>>,
{
    run!(fresh:
        reads::{
            an_absent_key_reads_as_nothing,
            a_key_counts_its_versions,
            lists_are_in_byte_order_under_the_prefix,
            pages_join_to_the_whole,
            keys_only_leaves_values_out,
            an_empty_key_is_refused,
            values_are_typed_by_the_json_helpers,
        }
        transactions::{
            all_writes_share_one_revision,
            a_conflict_changes_nothing,
            a_compare_sees_the_last_write_only,
            what_changes_nothing_makes_no_revision,
            a_prefix_is_deleted_and_nothing_beside_it,
            invalid_transactions_are_refused,
            the_largest_transaction_fits,
            concurrent_increments_all_count,
            one_of_many_creators_wins,
        }
        watches::{
            history_comes_first_then_what_happens,
            only_the_prefix_is_told,
            a_batch_keeps_the_order_of_the_writes,
            zero_starts_after_the_call,
            a_future_revision_is_waited_for,
            a_list_and_a_watch_leave_no_gap,
            cancelling_a_wait_loses_nothing,
        }
        leases::{
            a_key_vanishes_when_its_lease_ends,
            renewing_keeps_a_lease,
            revoking_deletes_all_keys_in_one_revision,
            a_key_can_leave_its_lease,
            an_ended_lease_is_refused,
        }
    );
}

/// Commits what must be applied.
async fn apply(store: &dyn Store, transaction: Transaction) -> Revision {
    match store.commit(transaction).await.unwrap() {
        Commit::Applied { revision } => revision,
        Commit::Conflict { revision } => panic!("conflict at revision {revision}"),
    }
}

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    apply(store, Transaction::new().put(key, value.to_owned())).await
}

async fn value_of(store: &dyn Store, key: &str) -> Option<String> {
    store
        .get(key)
        .await
        .unwrap()
        .map(|versioned| text(&versioned))
}

fn text(versioned: &Versioned) -> String {
    String::from_utf8(versioned.value.to_vec()).unwrap()
}

async fn next(watch: &mut Watch) -> WatchBatch {
    try_next(watch).await.unwrap()
}

async fn try_next(watch: &mut Watch) -> Result<WatchBatch, StoreError> {
    tokio::time::timeout(PATIENCE, watch.next())
        .await
        .expect("the watch says nothing")
}
