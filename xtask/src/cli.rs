//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::node_image::Flavor;

/// Set-up and chores of the Lote workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) chore: Chore,
}

/// The chores.
#[derive(Debug, Subcommand)]
pub(crate) enum Chore {
    /// Install what the tests need and run them, stage by stage
    Test {
        /// The stages to run, in their own order [default: all]
        #[arg(value_name = "STAGE", value_parser = crate::stage::names())]
        stages: Vec<String>,
        /// Print the stages and what each checks
        #[arg(long)]
        list: bool,
    },
    /// Start a daemon in a temporary folder and train a network with a real job
    Demo {
        /// Keep the daemon's folder after the end
        #[arg(long)]
        keep: bool,
        /// Use this `lote` program and build nothing
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Build the framework plugins as WebAssembly components
    Plugins,
    /// Start hosts in network namespaces, with etcd, and cut, kill and heal them by hand (root)
    Hosts {
        /// How many hosts
        #[arg(value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=100))]
        count: u8,
    },
    /// Build the image that nodes boot from: for disks, optical media and the network (root)
    NodeImage {
        /// For which machines
        #[arg(long, value_enum, default_value = "cpu")]
        flavor: Flavor,
        /// Where the files go [default: node-image/FLAVOR in Cargo's target folder]
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Use this `lote` program and build none
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
        /// What this site adds: any of `packages`, `sources`, `root/` and `customize` in this directory
        #[arg(long, value_name = "DIR")]
        site: Option<PathBuf>,
    },
    /// Build and run the benchmark program; arguments are passed on
    Bench {
        /// Names of benchmarks and options of the benchmark program
        #[arg(
            value_name = "NAME",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        arguments: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn unknown_stages_are_refused_before_anything_is_built() {
        assert!(Cli::try_parse_from(["xtask", "test", "unit"]).is_ok());
        assert!(Cli::try_parse_from(["xtask", "test", "nonsense"]).is_err());
    }

    #[test]
    fn the_benchmark_gets_its_own_options() {
        let cli = Cli::try_parse_from(["xtask", "bench", "dispatch", "--jobs", "10"]).unwrap();
        let Chore::Bench { arguments } = cli.chore else {
            panic!("{cli:?}")
        };
        assert_eq!(arguments, ["dispatch", "--jobs", "10"]);
    }
}
