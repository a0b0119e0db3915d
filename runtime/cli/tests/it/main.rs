//! The command line against a daemon that says what a test wants it to say.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_collect,
    reason = "a test that cannot go on says so by panicking"
)]

mod errors;
mod file_servers;
mod file_stub;
mod following;
mod nodes;
mod plugins;
mod requests;
mod stub;
mod terminal;
mod tokens;
mod transfer;
