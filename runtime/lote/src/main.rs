//! The binary of Lote: `lote node` is the daemon, everything else its client.

mod daemon;
mod import;

use std::process::ExitCode;

use clap::Parser;
use lote_cli::{Cli, Invocation};
use lote_nfs_mount::NFS_MOUNT_SUBCOMMAND;
use lote_node::launch::{SPAWNER_SUBCOMMAND, spawner_main};

/// Gives memory back that a burst of jobs needed; the system's allocator keeps it.
/// Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // First of all: the spawner must stay a small process with one thread.
    let first = std::env::args_os().nth(1);
    if first
        .as_ref()
        .is_some_and(|argument| argument == SPAWNER_SUBCOMMAND)
    {
        return spawner_main();
    }
    // No command for people: the node starts it, one for each mount.
    if first.is_some_and(|argument| argument == NFS_MOUNT_SUBCOMMAND) {
        return lote_nfs_mount::main(std::env::args_os());
    }
    match Cli::parse().into_invocation() {
        Invocation::Daemon(args) => daemon::run(*args),
        Invocation::Import(args) => import::run(*args),
        Invocation::Client(client) => lote_cli::run(*client),
    }
}
