//! End-to-end tests through the public interfaces of the built binary. Each
//! module is a stage of `cargo xtask test`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "this is test code: a broken expectation ends the test with its sentence"
)]

mod access;
mod authors;
mod bodies;
mod command_line;
mod conformance;
mod containers;
mod contract;
mod faults;
mod gpus;
mod hostile_clients;
mod isolation;
mod jobs;
mod load;
mod plugins;
mod requests;
mod resources;
mod sdk;
mod state;
mod supervision;
mod unprivileged;

/// Says aloud that a test cannot run here. `cargo xtask test` counts these lines.
fn skip(test: &str, reason: &str) {
    println!("SKIPPED: {test}: {reason}");
}

/// Whether the tests run as root; says so if not.
fn is_root_or_skip(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}
