//! What can be typed. Parsing only: no meaning, no I/O.

pub mod file_server;
pub mod image;
pub mod job;
pub mod plugin;
pub mod resources;
pub mod run;
pub mod state;
pub mod token;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::node_args::NodeArgs;

/// Batch training on your own machines.
///
/// `lote node` turns this machine into a node; everything else talks to a daemon.
#[derive(Debug, Parser)]
#[command(name = "lote", version, max_term_width = 100, after_help = crate::exit::HELP)]
pub struct Cli {
    /// Options of every client command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every client command takes, before or after its name.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The daemon to talk to [default: <http://127.0.0.1:8471>]
    #[arg(long, env = "LOTE_URL", global = true, value_name = "URL")]
    pub url: Option<String>,
    /// The token to show it
    #[arg(
        long,
        env = "LOTE_TOKEN",
        global = true,
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub token: Option<String>,
    /// The certificates that an https daemon's must be signed by [default: the system's]
    #[arg(long, env = "LOTE_CA_FILE", global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The one certificate that an https daemon must show, as it prints at its start
    #[arg(
        long,
        env = "LOTE_FINGERPRINT",
        global = true,
        value_name = "sha256:HEX"
    )]
    pub fingerprint: Option<String>,
    /// The resource group [default: default]
    #[arg(short, long, env = "LOTE_GROUP", global = true)]
    pub group: Option<String>,
    /// The workspace [default: default]
    #[arg(short, long, env = "LOTE_WORKSPACE", global = true)]
    pub workspace: Option<String>,
    /// How to print answers [default: table]
    #[arg(short, long, env = "LOTE_OUTPUT", global = true, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Aligned columns and indented details, for people.
    #[default]
    Table,
    /// The daemon's answer as JSON.
    Json,
    /// The daemon's answer as YAML.
    Yaml,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run this machine as a node, or ask about nodes
    Node(NodeCommand),
    /// Submit a command as a job, follow it, end with its exit code
    Run(run::RunArgs),
    /// Create, watch and end jobs
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Workspaces: named containers of everything else
    #[command(subcommand)]
    Workspace(resources::WorkspaceCommand),
    /// Experiments: containers of jobs
    #[command(subcommand)]
    Experiment(resources::ExperimentCommand),
    /// Clusters: nodes of one size, held for jobs
    #[command(subcommand)]
    Cluster(resources::ClusterCommand),
    /// File servers: a node's disks, shared with clusters and jobs
    #[command(subcommand)]
    FileServer(file_server::FileServerCommand),
    /// Show what workspaces have used, by day
    Usage(UsageArgs),
    /// Show how much there is of what quotas and machines limit
    #[command(visible_alias = "usages")]
    Quota,
    /// Framework plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Tokens: who may do what
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Write the whole state into a file of JSON lines, for `lote import`
    Export(state::ExportArgs),
    /// Fill the empty store of a daemon that does not run yet
    Import(state::ImportArgs),
    /// What machines boot from
    #[command(subcommand)]
    Image(image::ImageCommand),
}

/// `lote node`: the daemon without a subcommand, a client with one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct NodeCommand {
    /// What to ask about nodes; none runs the daemon.
    #[command(subcommand)]
    pub query: Option<NodeQuery>,
    /// The daemon's options.
    #[command(flatten)]
    pub daemon: NodeArgs,
}

/// What a client asks about nodes, or of them.
#[derive(Debug, Subcommand)]
pub enum NodeQuery {
    /// List the nodes
    List,
    /// Show a node: size, GPUs, what isolation is in force, what is wrong with it
    Status {
        /// The node; all of them when absent
        name: Option<String>,
    },
    /// Give a node no new jobs; those that it has go on
    Drain {
        /// The node
        name: String,
        /// Why, for those who ask about the node
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Give a drained node jobs again
    Resume {
        /// The node
        name: String,
    },
    /// Forget a node that is lost, switched off, or drained and empty
    #[command(visible_alias = "delete")]
    Remove {
        /// The node
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// `lote usage`.
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// The first day, such as 2026-11-01 [default: 29 days before the last]
    #[arg(long, value_name = "DAY")]
    pub from: Option<String>,
    /// The last day, in UTC [default: today]
    #[arg(long, value_name = "DAY")]
    pub to: Option<String>,
}

/// A command line, told apart.
#[derive(Debug)]
pub enum Invocation {
    /// Run the daemon.
    Daemon(Box<DaemonArgs>),
    /// Fill a daemon's store.
    Import(Box<state::ImportArgs>),
    /// Work on a plugin, without a daemon.
    Plugin(Box<LocalPluginArgs>),
    /// Serve what machines boot from.
    Image(image::ImageCommand),
    /// Talk to a daemon.
    Client(Box<ClientArgs>),
}

/// The daemon's command line.
#[derive(Debug)]
pub struct DaemonArgs {
    /// Options of every command; for a daemon that joins: whom to believe, with what token.
    pub global: GlobalArgs,
    /// Its own.
    pub node: NodeArgs,
}

/// The command line of what is done with plugins here.
#[derive(Debug)]
pub struct LocalPluginArgs {
    /// Options of every command.
    pub global: GlobalArgs,
    /// The command.
    pub command: plugin::LocalPluginCommand,
}

/// A client's command line.
#[derive(Debug)]
pub struct ClientArgs {
    /// Options of every command.
    pub global: GlobalArgs,
    /// The command.
    pub command: ClientCommand,
}

/// A command that talks to a daemon.
#[derive(Debug)]
pub enum ClientCommand {
    /// `lote node list|status|drain|resume|remove`.
    Node(NodeQuery),
    /// `lote run`.
    Run(run::RunArgs),
    /// `lote job`.
    Job(job::JobCommand),
    /// `lote workspace`.
    Workspace(resources::WorkspaceCommand),
    /// `lote experiment`.
    Experiment(resources::ExperimentCommand),
    /// `lote cluster`.
    Cluster(resources::ClusterCommand),
    /// `lote file-server`.
    FileServer(file_server::FileServerCommand),
    /// `lote usage`.
    Usage(UsageArgs),
    /// `lote quota`.
    Quota,
    /// `lote plugin list|show`.
    Plugin(plugin::PluginQuery),
    /// `lote token`.
    Token(token::TokenCommand),
    /// `lote export`.
    Export(state::ExportArgs),
}

impl Cli {
    /// Tells the daemon's command line from a client's.
    pub fn into_invocation(self) -> Invocation {
        let command = match self.command {
            Command::Node(NodeCommand {
                query: None,
                daemon,
            }) => {
                return Invocation::Daemon(Box::new(DaemonArgs {
                    global: self.global,
                    node: daemon,
                }));
            }
            Command::Node(NodeCommand {
                query: Some(query), ..
            }) => ClientCommand::Node(query),
            Command::Run(run) => ClientCommand::Run(run),
            Command::Job(job) => ClientCommand::Job(job),
            Command::Workspace(workspace) => ClientCommand::Workspace(workspace),
            Command::Experiment(experiment) => ClientCommand::Experiment(experiment),
            Command::Cluster(cluster) => ClientCommand::Cluster(cluster),
            Command::FileServer(server) => ClientCommand::FileServer(server),
            Command::Usage(usage) => ClientCommand::Usage(usage),
            Command::Quota => ClientCommand::Quota,
            Command::Plugin(plugin::PluginCommand::Local(command)) => {
                return Invocation::Plugin(Box::new(LocalPluginArgs {
                    global: self.global,
                    command,
                }));
            }
            Command::Plugin(plugin::PluginCommand::Query(query)) => ClientCommand::Plugin(query),
            Command::Token(token) => ClientCommand::Token(token),
            Command::Export(export) => ClientCommand::Export(export),
            Command::Import(import) => return Invocation::Import(Box::new(import)),
            Command::Image(image) => return Invocation::Image(image),
        };
        Invocation::Client(Box::new(ClientArgs {
            global: self.global,
            command,
        }))
    }
}

/// Reads `NAME=VALUE`.
fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(Cli::into_invocation)
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn node_alone_is_the_daemon_and_with_a_query_a_client() {
        assert!(matches!(
            parse("lote node --listen 127.0.0.1:0").unwrap(),
            Invocation::Daemon(args) if args.node.listen.as_deref() == Some("127.0.0.1:0")
        ));
        let Invocation::Client(client) = parse("lote node status n1 -o json").unwrap() else {
            panic!("taken for the daemon")
        };
        assert!(matches!(
            client.command,
            ClientCommand::Node(NodeQuery::Status { name: Some(name) }) if name == "n1"
        ));
        assert_eq!(client.global.output, Some(Format::Json));
    }

    #[test]
    fn a_daemon_that_joins_may_be_given_what_clients_are() {
        let line = "lote node --join https://a:8471 --token t --fingerprint f";
        let Invocation::Daemon(args) = parse(line).unwrap() else {
            panic!("taken for a client")
        };
        assert_eq!(args.global.token.as_deref(), Some("t"));
        assert_eq!(args.global.fingerprint.as_deref(), Some("f"));
        assert_eq!(args.node.join.as_deref(), Some("https://a:8471"));
    }

    #[test]
    fn plugins_are_worked_on_here_and_asked_for_there() {
        for line in [
            "lote plugin check x.wasm",
            "lote plugin plan x.wasm --job job.json --nodes 4 --gpus 8",
            "lote plugin plan --framework pytorch --job job.json",
            "lote plugin test x.wasm",
            "lote plugin new x --lang python",
            "lote plugin install x.wasm --plugin-dir d --wait",
        ] {
            assert!(
                matches!(parse(line).unwrap(), Invocation::Plugin(_)),
                "{line}"
            );
        }
        for line in ["lote plugin list", "lote plugin show x@1.0.0 --wait"] {
            assert!(
                matches!(parse(line).unwrap(), Invocation::Client(_)),
                "{line}"
            );
        }
        assert!(parse("lote plugin plan --job job.json").is_err());
        assert!(parse("lote plugin plan x.wasm --framework pytorch --job job.json").is_err());
    }

    #[test]
    fn options_of_the_daemon_and_a_query_do_not_mix() {
        assert!(parse("lote node --listen 127.0.0.1:0 list").is_err());
    }

    #[test]
    fn run_takes_everything_after_the_dashes() {
        let Invocation::Client(client) =
            parse("lote run --nodes 2 -g lab -- python train.py --nodes 9").unwrap()
        else {
            panic!("taken for the daemon")
        };
        let ClientCommand::Run(run) = client.command else {
            panic!("not a run")
        };
        assert_eq!(run.nodes, 2);
        assert_eq!(run.command, ["python", "train.py", "--nodes", "9"]);
        assert_eq!(client.global.group.as_deref(), Some("lab"));
    }
}
