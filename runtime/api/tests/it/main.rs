//! The HTTP interface over a real store, by a real client on loopback. The tests
//! write what the leader and the nodes would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test that cannot go on says so by panicking, and its table may be long"
)]

mod access;
mod archive;
mod audit;
mod bad_input;
mod cluster_lote;
mod concurrent;
mod connections;
mod contract;
mod daemon;
mod deletion;
mod described;
mod examples;
mod file_servers;
mod files;
mod golden;
mod jobs;
mod join;
mod links;
mod live;
mod measured;
mod neighbours;
mod node_commands;
mod operations;
mod paging;
mod peers;
mod protocol;
mod quotas;
mod remote_login;
mod requeued;
mod resources;
mod secrets;
mod server_files;
mod store;
mod tls;
mod tokens;
mod usages;
mod wire;
