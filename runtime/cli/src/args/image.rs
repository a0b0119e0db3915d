//! `lote image`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `lote image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Serve the files of a network boot by HTTP, until interrupted
    Serve(ServeArgs),
}

/// `lote image serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The directory `network` of a node image
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Where they are served
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:8470")]
    pub listen: SocketAddr,
    /// Words to add to the kernel's command line, such as lote.join=URL; everybody who can reach
    /// this server reads them
    #[arg(long, value_name = "TEXT")]
    pub append: Option<String>,
}
