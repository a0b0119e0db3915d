//! A real daemon on loopback, and a small client of it, for tests and benchmarks.
//!
//! * [`daemon`] — starts, kills and restarts the built binary in a folder of its own.
//! * [`client`] — JSON over HTTP, as any user's program would.
//! * [`ganesha`] — a real NFS server with an export of its own.
//! * [`gpus`] — machines with GPUs that there are not, and daemons that believe in them.
//! * [`images`] — images of containers, made of the machine's own programs.
//! * [`ip`] — networks of the kernel.
//! * [`mounts`] — what the kernel says about mounts.
//! * [`mpi`] — programs for MPI.
//! * [`raw`] — bytes over TCP, for clients that no HTTP library would be.
//! * [`processes`] — what the kernel says about processes and control groups.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "this is test code: a broken expectation ends the test with its sentence"
)]

pub mod client;
pub mod daemon;
pub mod ganesha;
pub mod gpus;
pub mod images;
pub mod ip;
pub mod mounts;
pub mod mpi;
pub mod processes;
pub mod raw;

use std::time::{Duration, Instant};

/// Waits until `condition` gives something, looking every few milliseconds.
///
/// # Panics
///
/// When it has not after `limit`, with `what` in the message.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            start.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Long enough for anything that a loaded machine of two cores does in a test.
pub const PATIENCE: Duration = Duration::from_mins(1);
