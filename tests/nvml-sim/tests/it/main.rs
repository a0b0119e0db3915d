//! The built library, loaded and called as the daemon does, through `nvml-wrapper`.
//!
//! * `sim` — a copy of the library with a machine of its own.
//! * `inventory` — what GPUs are, where, and how near to each other.
//! * `usage` — what follows from who uses them.
//! * `faults` — calls that fail or hang, GPUs that are lost or gone, events.
//! * `mig` — instances.
//! * `recorded` — the answers of a real H100.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is test code: a broken expectation ends the test with its sentence"
)]

mod faults;
mod inventory;
mod mig;
mod recorded;
mod sim;
mod usage;
