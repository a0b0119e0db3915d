//! Builds and runs the benchmark program.

use std::process::{Command, ExitCode};

use crate::artifacts;
use crate::command;
use crate::error::{self, Error};
use crate::install;
use crate::workspace::Workspace;

/// Benchmarks that need Debian packages, with those.
const PACKAGES: &[(&str, &[&str])] = &[
    ("api", &["wrk"]),
    (
        "storage",
        &["nfs-ganesha", "nfs-ganesha-vfs", "rpcbind", "iproute2"],
    ),
];

/// The benchmarks of many hosts: their programs, and what they need beside hosts.
const HOSTS: &[(&str, &str, &[&str])] = &[
    ("hosts", "hosts-bench", &[]),
    (
        "mpi",
        "mpi-bench",
        &["openmpi-bin", "openssh-client", "openssh-server"],
    ),
];

/// Runs `bench` with the user's arguments and ends as it does.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, Error> {
    let named =
        |(name, _, _): &&(&str, &str, &[&str])| arguments.first().is_some_and(|it| it == name);
    if let Some((_, program, packages)) = HOSTS.iter().find(named) {
        return hosts(workspace, program, packages);
    }
    for (benchmark, packages) in PACKAGES {
        if arguments.is_empty() || arguments.iter().any(|name| name == benchmark) {
            // Without them the other benchmarks run, and this one says why it does not.
            if let Err(missing) = install::debian_packages(packages) {
                println!("{}", error::chain(&missing));
            }
        }
    }
    let lote = artifacts::programs(workspace)?;
    // The plugin host measures the calls of plugins itself, and the simulated NVML is a library.
    command::run(&mut workspace.cargo(&[
        "build",
        "--release",
        "--workspace",
        "--lib",
        "--example",
        "plan_cost",
    ]))?;
    let mut bench = Command::new(lote.with_file_name("bench"));
    bench
        .args(arguments)
        .current_dir(&workspace.root)
        .env("LOTE_BINARY", &lote)
        .env("LOTE_PLUGIN_DIR", workspace.plugins());
    command::end_as(&mut bench)
}

fn hosts(workspace: &Workspace, program: &str, packages: &[&str]) -> Result<ExitCode, Error> {
    install::debian_packages(crate::hosts::PACKAGES)?;
    install::debian_packages(packages)?;
    let lote = artifacts::programs(workspace)?;
    command::end_as(Command::new(lote.with_file_name(program)).env("LOTE_BINARY", &lote))
}
