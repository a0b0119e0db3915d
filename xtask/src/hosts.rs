//! Builds and starts a site of many hosts to play with.

use std::process::{Command, ExitCode};

use crate::artifacts;
use crate::command;
use crate::error::Error;
use crate::install;
use crate::workspace::Workspace;

/// What a host and an etcd member are made of.
pub(crate) const PACKAGES: &[&str] = &["etcd-client", "etcd-server", "iproute2", "util-linux"];

/// Runs the console until the user leaves it.
pub(crate) fn run(workspace: &Workspace, count: u8) -> Result<ExitCode, Error> {
    install::debian_packages(PACKAGES)?;
    let lote = artifacts::programs(workspace)?;
    let mut hosts = Command::new(lote.with_file_name("hosts"));
    hosts.arg(count.to_string()).env("LOTE_BINARY", &lote);
    command::end_as(&mut hosts)
}
