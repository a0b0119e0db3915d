//! Set-up and chores, in Rust: `cargo xtask test | demo | hosts | plugins | node-image | bench`.
//!
//! * `cli` — what can be typed.
//! * `workspace` — where the checkout and its target directory are.
//! * `command` — runs other programs, and says how they failed.
//! * `install` — packages, tools and virtual environments that a chore needs.
//! * `nvidia` — NVIDIA's own NVML, for a machine without a GPU.
//! * `plugins` — builds the framework plugins as components.
//! * `artifacts` — builds everything else, once, and finds the test programs.
//! * `libtest` — reads what a test program printed.
//! * `stage` — the stages of `cargo xtask test` and the summary.
//! * `hosts` — builds and starts a site of many hosts.
//! * `node_image` — builds the image that nodes boot from.
//! * `planted` — plants faults in the leader, which the simulator must find.
//! * `fuzz` — builds the fuzz targets and runs each for some seconds.
//! * `architecture` — the rules of ARCHITECTURE.md, checked.
//! * `supply` — licences, sources and advisories of the dependencies.
//! * `demo` — a daemon and a real training job, from nothing.
//!
//! Everything is built in the release profile and with the whole workspace
//! selected. Another profile, or another selection with other features, would
//! compile the largest dependency (wasmtime, minutes) a second time.

mod architecture;
mod artifacts;
mod bench;
mod cli;
mod command;
mod demo;
mod error;
mod frameworks;
mod fuzz;
mod hosts;
mod install;
mod libtest;
mod node_image;
mod nvidia;
mod planted;
mod plugins;
mod stage;
mod supply;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Chore, Cli};
use crate::error::Error;
use crate::workspace::Workspace;

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<ExitCode, Error> {
    if let Chore::Test { list: true, .. } = chore {
        stage::list();
        return Ok(ExitCode::SUCCESS);
    }
    let workspace = Workspace::find()?;
    match chore {
        Chore::Test { stages, .. } => stage::run(&workspace, &stages),
        Chore::Demo { keep, binary } => {
            demo::run(&workspace, &demo::Options { keep, binary }).map(|()| ExitCode::SUCCESS)
        }
        Chore::Plugins => {
            for component in artifacts::plugins(&workspace)? {
                println!("{}", component.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Chore::NodeImage {
            flavor,
            output,
            binary,
            site,
        } => {
            let options = node_image::Options {
                flavor,
                output,
                binary,
                site,
            };
            let built = node_image::run(&workspace, &options)?;
            println!("{}", built.display());
            Ok(ExitCode::SUCCESS)
        }
        Chore::Hosts { count } => hosts::run(&workspace, count),
        Chore::Bench { arguments } => bench::run(&workspace, &arguments),
    }
}
