//! Tests of the leader as a whole: random worlds around the decisions, and the driver over the
//! real embedded store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a failed test panics"
)]

mod backfill;
mod driver;
mod election;
mod fake;
mod held;
mod invariants;
mod simulation;
mod slow;
