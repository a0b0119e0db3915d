//! The command line of Lote: a client of any daemon, and the options of the
//! daemon itself.
//!
//! The binary parses [`Cli`] and either starts the daemon with [`NodeArgs`] or
//! calls [`run`]. Everything here speaks HTTP only; nothing reads the store.
//!
//! Invariants: what people read is made by pure functions ([`show`], [`failure`],
//! [`output`]); only [`boot`], [`console`], [`http`], [`join`], [`tls`], [`settings`],
//! [`transfer`] and [`command`] do I/O.
//!
//! * [`args`], [`node_args`] — what can be typed.
//! * [`boot`] — what a machine is told when it boots.
//! * [`settings`] — which daemon, which group and workspace: options, variables, file.
//! * [`http`], [`place`] — requests to the daemon and where resources stand.
//! * [`join`] — how the daemon of a machine asks to be let into a cluster.
//! * [`tls`] — encrypted connections, and whose certificates are believed.
//! * [`job_file`], [`job_body`], [`job_name`], [`storage_account`] — from files and options to the body of a job.
//! * [`answer`] — the members of answers that are shown.
//! * [`show`], [`output`], [`console`] — tables, details, colours, streams.
//! * [`follow`] — a running job's events and output.
//! * [`transfer`] — files to and from the daemon, in chunks.
//! * [`command`] — one function per command.
//! * [`failure`], [`exit`] — what went wrong, and the process's exit code.

pub mod answer;
pub mod args;
pub mod boot;
pub mod command;
pub mod console;
pub mod exit;
pub mod failure;
pub mod follow;
pub mod framework_settings;
pub mod http;
pub mod job_body;
pub mod job_file;
pub mod job_name;
pub mod join;
pub mod node_args;
pub mod output;
pub mod place;
pub mod settings;
pub mod show;
pub mod storage_account;
pub mod tls;
pub mod transfer;

use std::process::ExitCode;

pub use args::{Cli, ClientArgs, DaemonArgs, Invocation, LocalPluginArgs};
pub use node_args::{NodeArgs, NodeSettings};

use console::Console;
use follow::interrupt;

/// Runs one client command against the process's own terminal, environment and
/// signals, and gives the exit code to end with.
pub fn run(client: ClientArgs) -> ExitCode {
    let console = Console::of_process();
    let surroundings = settings::Surroundings::of_process();
    let code = run_with(client, &surroundings, &console, &interrupt::of_process);
    ExitCode::from(code)
}

/// Runs one client command; the terminal, the surroundings and the source of
/// interrupts are given. Returns the exit code.
pub fn run_with(
    client: ClientArgs,
    surroundings: &settings::Surroundings,
    console: &Console,
    interrupts: &dyn Fn() -> interrupt::Interrupts,
) -> u8 {
    let outcome = settings::Settings::resolve(&client.global, surroundings)
        .map_err(failure::Failure::from)
        .and_then(|settings| {
            let context = command::Context::new(settings, surroundings, console, interrupts)?;
            command::run(&context, client.command)
        });
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            console.error(&failure::render(&failure, console.style_err()));
            failure.exit_code()
        }
    }
}
