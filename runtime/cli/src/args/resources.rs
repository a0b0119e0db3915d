//! `lote workspace`, `lote experiment`, `lote cluster`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use lote_model::money::Money;

use super::job::duration;
use super::name_and_value;

/// `lote workspace`.
#[derive(Debug, Subcommand)]
pub enum WorkspaceCommand {
    /// Create a workspace
    Create {
        /// Its name
        name: String,
        /// The region that is echoed; Lote has only one
        #[arg(short, long, default_value = "local")]
        location: String,
        /// Free text of your own
        #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = name_and_value)]
        tags: Vec<(String, String)>,
    },
    /// List the workspaces of the group
    List,
    /// Show a workspace
    Show {
        /// Its name
        name: String,
    },
    /// Delete a workspace with everything in it
    Delete(DeleteArgs),
}

/// `lote experiment`.
#[derive(Debug, Subcommand)]
pub enum ExperimentCommand {
    /// Create an experiment
    Create {
        /// Its name
        name: String,
    },
    /// List the experiments of the workspace
    List,
    /// Show an experiment
    Show {
        /// Its name
        name: String,
    },
    /// Delete an experiment with its jobs
    Delete(DeleteArgs),
}

/// `lote cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Create a cluster
    Create(CreateClusterArgs),
    /// List the clusters of the workspace
    List,
    /// Show a cluster
    Show {
        /// Its name
        name: String,
    },
    /// List the nodes a cluster has now, and where to log in to them
    Nodes {
        /// The cluster
        name: String,
    },
    /// Delete a cluster; its nodes return to the pool
    Delete(DeleteArgs),
    /// Give a cluster a fixed number of nodes
    Resize {
        /// The cluster
        name: String,
        /// How many nodes
        #[arg(short, long)]
        target: u32,
    },
    /// Change what a cluster costs and may cost, and how long it keeps idle nodes
    Set {
        /// The cluster
        name: String,
        /// What to change
        #[command(flatten)]
        settings: ClusterSettingsArgs,
        /// Let it cost what it costs
        #[arg(long, conflicts_with = "budget")]
        no_budget: bool,
    },
    /// Let a cluster have as many nodes as its jobs need
    AutoScale {
        /// The cluster
        name: String,
        /// Never fewer
        #[arg(long)]
        min: u32,
        /// Never more
        #[arg(long)]
        max: u32,
    },
}

/// `lote cluster create`.
#[derive(Debug, Args)]
pub struct CreateClusterArgs {
    /// Its name
    pub name: String,
    /// A file with the body of the API; options win over it
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The size label of its nodes, such as cpu (see `lote node list`)
    #[arg(short, long, required_unless_present = "file")]
    pub size: Option<String>,
    /// A fixed number of nodes
    #[arg(short, long, conflicts_with_all = ["min", "max"])]
    pub target: Option<u32>,
    /// Automatic size: never fewer nodes
    #[arg(long, requires = "max")]
    pub min: Option<u32>,
    /// Automatic size: never more nodes
    #[arg(long, requires = "min")]
    pub max: Option<u32>,
    /// The administrator's name that is recorded [default: yours]
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    /// Whether a dedicated cluster that lacks nodes may take those of this one
    #[arg(long)]
    pub low_priority: bool,
    /// What Batch AI has no word for
    #[command(flatten)]
    pub settings: ClusterSettingsArgs,
}

/// What Batch AI has no word for, of a cluster.
#[derive(Debug, Default, Args)]
pub struct ClusterSettingsArgs {
    /// How long an idle node stays with a cluster that scales automatically, such as 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub idle_delay: Option<Duration>,
    /// What a node costs in an hour, in your currency
    #[arg(long, value_name = "AMOUNT", value_parser = money)]
    pub price: Option<Money>,
    /// What the nodes of the cluster may cost; needs a price
    #[arg(long, value_name = "AMOUNT", value_parser = money)]
    pub budget: Option<Money>,
    /// In what time: day, month (both of UTC) or total
    #[arg(long, value_name = "PERIOD", requires = "budget", default_value = "month",
          value_parser = ["day", "month", "total"])]
    pub budget_period: String,
}

fn money(text: &str) -> Result<Money, String> {
    Money::parse(text)
        .ok_or_else(|| "give an amount such as 2.5, with at most six digits after the point".into())
}

/// `delete` of a container or cluster.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Its name
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Do not wait until it is gone
    #[arg(long)]
    pub no_wait: bool,
}
