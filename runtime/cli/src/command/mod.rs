//! One function per command: ask the daemon, show the answer.

mod cluster;
mod context;
mod experiment;
mod export;
mod file_server;
mod files;
mod job;
mod job_input;
mod logs;
mod node;
mod plugin;
mod remote_login;
mod run;
mod server_files;
mod token;
mod top;
mod usage;
mod workspace;

pub use context::{Context, yaml};

use crate::args::ClientCommand;
use crate::failure::Failure;

/// The exit code of a command that was carried out.
pub type Outcome = Result<u8, Failure>;

/// Carries out a command.
pub fn run(context: &Context<'_>, command: ClientCommand) -> Outcome {
    match command {
        ClientCommand::Node(query) => node::run(context, query),
        ClientCommand::Run(run) => run::run(context, &run),
        ClientCommand::Job(command) => job::run(context, command),
        ClientCommand::Workspace(command) => workspace::run(context, command),
        ClientCommand::Experiment(command) => experiment::run(context, command),
        ClientCommand::Cluster(command) => cluster::run(context, command),
        ClientCommand::FileServer(command) => file_server::run(context, command),
        ClientCommand::Usage(args) => usage::by_day(context, &args),
        ClientCommand::Quota => usage::quotas(context),
        ClientCommand::Plugin(command) => plugin::run(context, &command),
        ClientCommand::Token(command) => token::run(context, command),
        ClientCommand::Export(export) => export::run(context, &export),
    }
}
