//! The binary of Lote: `lote node` is the daemon, everything else its client.

mod daemon;
mod image;
mod import;
mod plugin;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::Parser;
use lote_cli::{Cli, Invocation, boot};
use lote_model::problem::explain;
use lote_nfs_mount::NFS_MOUNT_SUBCOMMAND;
use lote_node::export::{
    MOUNT_EXPORTS_SUBCOMMAND, NFS_SERVER_SUBCOMMAND, RPCBIND_SUBCOMMAND, mount_exports_main,
    nfs_server_main, rpcbind_main,
};
use lote_node::launch::{SPAWNER_SUBCOMMAND, spawner_main};

/// Gives memory back that a burst of jobs needed; the system's allocator keeps it.
/// Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What stands behind the subcommand.
fn arguments_behind() -> Vec<OsString> {
    std::env::args_os().skip(2).collect()
}

fn main() -> ExitCode {
    // First of all: these must stay small processes with one thread.
    let subcommand = std::env::args_os().nth(1);
    match subcommand.as_deref().and_then(OsStr::to_str) {
        Some(SPAWNER_SUBCOMMAND) => return spawner_main(),
        Some(NFS_SERVER_SUBCOMMAND) => return nfs_server_main(),
        Some(RPCBIND_SUBCOMMAND) => return rpcbind_main(),
        // The node starts one for each mount; no command for people.
        Some(NFS_MOUNT_SUBCOMMAND) => return lote_nfs_mount::main(std::env::args_os()),
        Some(MOUNT_EXPORTS_SUBCOMMAND) => return mount_exports_main(&arguments_behind()),
        Some(image::COMPILE_SUBCOMMAND) => return image::compile_main(&arguments_behind()),
        _ => {}
    }
    let arguments = match boot::extended(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("lote: {}", explain(&error));
            return ExitCode::FAILURE;
        }
    };
    match Cli::parse_from(arguments).into_invocation() {
        Invocation::Daemon(args) => daemon::run(*args),
        Invocation::Import(args) => import::run(*args),
        Invocation::Plugin(args) => plugin::run(*args),
        Invocation::Image(command) => image::run(command),
        Invocation::Client(client) => lote_cli::run(*client),
    }
}
