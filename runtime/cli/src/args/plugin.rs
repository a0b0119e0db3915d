//! `lote plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `lote plugin`: what a daemon is asked, and what is done here without one.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// What a daemon is asked.
    #[command(flatten)]
    Query(PluginQuery),
    /// What needs no daemon.
    #[command(flatten)]
    Local(LocalPluginCommand),
}

/// What a daemon is asked about its plugins.
#[derive(Debug, Subcommand)]
pub enum PluginQuery {
    /// List the loaded framework plugins, and those that are not loaded
    List,
    /// Show a plugin
    Show(PluginShowArgs),
}

/// `lote plugin show`.
#[derive(Debug, Args)]
pub struct PluginShowArgs {
    /// NAME, or NAME@VERSION; without a version the one that jobs get by default
    pub name: String,
    /// Wait until the daemon has loaded it, or says why not; at most these seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30")]
    pub wait: Option<u64>,
    /// Only the component with this SHA-256
    #[arg(skip)]
    pub digest: Option<String>,
}

/// What authors and operators of plugins do on their own machine.
#[derive(Debug, Subcommand)]
pub enum LocalPluginCommand {
    /// Write a project of a new plugin that builds at once
    New(PluginNewArgs),
    /// Check a component as a daemon would before it loads it
    Check(PluginCheckArgs),
    /// Show the plan that a component, or a built-in plugin, makes of a job
    Plan(PluginPlanArgs),
    /// Compare a component's answers with those that a folder of cases expects
    Test(PluginTestArgs),
    /// Check a component and put it into a daemon's plugin folder
    Install(PluginInstallArgs),
    /// Take a plugin out of a daemon's plugin folder; jobs that run go on
    Remove(PluginRemoveArgs),
}

/// Languages that projects are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Cargo and the target wasm32-unknown-unknown.
    Rust,
    /// `componentize-py`.
    Python,
    /// `componentize-qjs`.
    #[value(alias = "js")]
    Javascript,
}

/// `lote plugin new`.
#[derive(Debug, Args)]
pub struct PluginNewArgs {
    /// The plugin's name, and that of the new folder: lower-case letters, digits and `-`
    pub name: String,
    /// The language to write it in
    #[arg(long = "lang", value_enum, value_name = "LANGUAGE")]
    pub language: Language,
}

/// `lote plugin check`.
#[derive(Debug, Args)]
pub struct PluginCheckArgs {
    /// The component
    pub file: PathBuf,
}

/// A component in a file, or one in the program.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PluginSource {
    /// The component
    pub file: Option<PathBuf>,
    /// A built-in plugin instead, such as pytorch
    #[arg(long, value_name = "NAME")]
    pub framework: Option<String>,
}

/// `lote plugin plan`.
#[derive(Debug, Args)]
pub struct PluginPlanArgs {
    /// Whose plan.
    #[command(flatten)]
    pub source: PluginSource,
    /// A job file, as for `lote job create -f`
    #[arg(long, value_name = "FILE")]
    pub job: PathBuf,
    /// How many nodes, instead of the job's own number
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub nodes: Option<u32>,
    /// GPUs on each node
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_024))]
    pub gpus: u32,
    /// A folder that all nodes share
    #[arg(long, value_name = "PATH")]
    pub shared_scratch: Option<String>,
    /// The program that starts a command on another node of the job
    #[arg(long, value_name = "PATH")]
    pub peer_launcher: Option<String>,
}

/// `lote plugin test`.
#[derive(Debug, Args)]
pub struct PluginTestArgs {
    /// The component
    pub file: PathBuf,
    /// The folder of cases: NAME.json, and beside it NAME.plan.json with what is expected
    #[arg(default_value = "cases")]
    pub cases: PathBuf,
    /// Write what it answers as what is expected
    #[arg(long)]
    pub accept: bool,
}

/// `lote plugin install`.
#[derive(Debug, Args)]
pub struct PluginInstallArgs {
    /// The component
    pub file: PathBuf,
    /// The folder that the daemon was given with the same option
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: PathBuf,
    /// Replace the same version of the plugin, if it is there with another content
    #[arg(long)]
    pub replace: bool,
    /// Wait until the daemon has loaded it, or says why not
    #[arg(long)]
    pub wait: bool,
}

/// `lote plugin remove`.
#[derive(Debug, Args)]
pub struct PluginRemoveArgs {
    /// NAME@VERSION
    pub name: String,
    /// The folder that the daemon was given with the same option
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: PathBuf,
}
