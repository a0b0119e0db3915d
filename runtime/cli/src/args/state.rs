//! `lote export` and `lote import`.

use std::path::PathBuf;

use clap::Args;

use crate::node_args::NodeArgs;

/// `lote export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The file to write; `-` is the standard output
    #[arg(value_name = "FILE")]
    pub to: PathBuf,
}

/// `lote import`: fills the empty store that a daemon with the same options will use.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What `lote export` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which store; the other options of the daemon have no effect here.
    #[command(flatten)]
    pub daemon: NodeArgs,
}
