//! The mount as programs see it, over a real server.
//!
//! * `mounted`, `user` — a mount of a server of one's own, and another user.
//! * `names`, `content`, `rights`, `listing` — what programs do.
//! * `random` — a sequence of operations, beside the same on a local directory.
//! * `two` — what one mount sees of another.
//! * `away` — the server is killed meanwhile, and the mount ends.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the support of tests is not inside test functions"
)]

mod away;
mod content;
mod listing;
mod mounted;
mod names;
mod random;
mod rights;
mod two;
mod user;

use lote_tests::{PATIENCE, wait_for};

/// Waits until a condition holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, PATIENCE, || holds().then_some(()));
}
