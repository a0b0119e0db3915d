//! The HTTP interface over a real store, by a real client on loopback. The tests
//! write what the leader and the nodes would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test that cannot go on says so by panicking, and its table may be long"
)]

mod bad_input;
mod concurrent;
mod connections;
mod daemon;
mod deletion;
mod file_servers;
mod files;
mod golden;
mod jobs;
mod links;
mod live;
mod neighbours;
mod operations;
mod paging;
mod protocol;
mod quotas;
mod remote_login;
mod resources;
mod store;
mod usages;
mod wire;
