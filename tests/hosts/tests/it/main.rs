//! What needs many hosts: joining, placement over them, their loss, the loss of what they share, and
//! frameworks that train over them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "this is test code: a broken expectation ends the test with its sentence"
)]

mod frameworks;
mod load;
mod loss;
mod membership;
mod placement;
mod power;
mod remote_start;
mod restarts;
mod soak;
mod storage;
