//! Real processes on the real kernel.
//!
//! The binary is three things: the test runner, the spawner that tests start, and
//! a daemon that a test kills. Tests that need root say so when they are skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "tests fail by panicking, and a test binary has no users"
)]

mod agent;
mod cgroups;
mod devices;
mod export;
mod gpus;
mod host;
mod isolation;
mod mounts;
mod processes;
mod records;
mod shares;
mod spool;
mod support;
mod switched;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use lote_node::cgroup::CgroupLayout;
use lote_node::export::{NFS_SERVER_SUBCOMMAND, RPCBIND_SUBCOMMAND, nfs_server_main, rpcbind_main};
use lote_node::launch::{SPAWNER_SUBCOMMAND, spawner_main};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(SPAWNER_SUBCOMMAND) => return spawner_main(),
        Some(NFS_SERVER_SUBCOMMAND) => return nfs_server_main(),
        Some(RPCBIND_SUBCOMMAND) => return rpcbind_main(),
        Some(support::DAEMON_SUBCOMMAND) => return support::daemon_main(),
        Some(mounts::CLIENT_SUBCOMMAND) => return mounts::client_main(),
        _ => {}
    }
    let tests = [
        processes::TESTS,
        records::TESTS,
        isolation::TESTS,
        cgroups::TESTS,
        devices::TESTS,
        shares::TESTS,
        agent::TESTS,
        mounts::TESTS,
        gpus::TESTS,
        spool::TESTS,
        export::TESTS,
    ];
    let trials = tests.into_iter().flatten().map(|test| {
        let run = test.run;
        Trial::test(test.name, move || {
            run();
            Ok(())
        })
        .with_ignored_flag(support::skipped(test))
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    support::usable_layout().iter().for_each(CgroupLayout::tidy);
    conclusion.exit_code()
}
