//! The binary of Lote: `lote node` is the daemon, everything else its client.

mod daemon;
mod import;

use std::process::ExitCode;

use clap::Parser;
use lote_cli::{Cli, Invocation};
use lote_node::launch::{SPAWNER_SUBCOMMAND, spawner_main};

/// Gives memory back that a burst of jobs needed; the system's allocator keeps it.
/// Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // First of all: the spawner must stay a small process with one thread.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == SPAWNER_SUBCOMMAND)
    {
        return spawner_main();
    }
    match Cli::parse().into_invocation() {
        Invocation::Daemon(args) => daemon::run(*args),
        Invocation::Import(args) => import::run(*args),
        Invocation::Client(client) => lote_cli::run(*client),
    }
}
