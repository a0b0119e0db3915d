//! Virtual machines that boot the real node image, join a cluster by themselves and run jobs, driven
//! from outside by the command line. `cargo xtask test machines` builds the image and runs this; each
//! step is counted as a test.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this is test code: a broken expectation ends the test with its sentence"
)]

mod authority;
mod diskless;
mod exposure;
mod image;
mod jobs;
mod loss;
mod machine;
mod network;
mod outside;
mod samba;
mod secrets;
mod site;
mod storage;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use libtest_mimic::{Arguments, Trial};

use site::Site;

/// What can be seen without machines.
const LOOKS: &[(&str, fn())] = &[
    (
        "the_image_holds_no_secret",
        secrets::the_image_holds_no_secret,
    ),
    (
        "the_documentation_says_what_the_daemon_may",
        exposure::the_documentation_says_what_the_daemon_may,
    ),
];

/// What is done with the machines.
type Step = fn(&mut Site);

/// In this order, with the same machines.
const STEPS: &[(&str, Step)] = &[
    (
        "three_machines_boot_and_join_by_themselves",
        Site::assert_complete,
    ),
    (
        "strangers_reach_the_api_and_nothing_else",
        outside::strangers_reach_the_api_only,
    ),
    (
        "mpi_starts_ranks_on_both_workers",
        jobs::mpi_starts_ranks_on_both_workers,
    ),
    (
        "input_and_output_lie_on_the_kernels_nfs_server",
        storage::files_lie_on_the_kernels_nfs_server,
    ),
    (
        "a_file_server_is_held_to_its_size",
        storage::a_file_server_is_held_to_its_size,
    ),
    (
        "a_share_lies_on_an_smb_server",
        storage::a_share_lies_on_an_smb_server,
    ),
    (
        "memory_processors_and_processes_are_limited",
        jobs::limits_hold,
    ),
    (
        "the_kernel_refuses_a_device",
        jobs::the_kernel_refuses_a_device,
    ),
    (
        "a_daemon_that_hangs_is_started_again_and_its_job_goes_on",
        loss::a_daemon_hangs,
    ),
    (
        "a_worker_that_runs_a_job_and_serves_files_to_another_restarts",
        loss::a_worker_with_files_restarts,
    ),
    (
        "the_machine_with_the_store_restarts",
        loss::the_head_restarts,
    ),
    (
        "machines_without_disks_boot_over_the_network_and_from_a_medium",
        diskless::machines_without_disks_work,
    ),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let site: Arc<Mutex<Option<Site>>> = Arc::default();
    let mut trials = Vec::new();
    for (name, look) in LOOKS {
        trials.push(Trial::test(*name, || {
            look();
            Ok(())
        }));
    }
    for (name, step) in STEPS {
        let site = Arc::clone(&site);
        trials.push(Trial::test(*name, move || {
            let mut guard = site.lock().unwrap_or_else(PoisonError::into_inner);
            let site = guard.get_or_insert_with(Site::start);
            let started = Instant::now();
            site.log(&format!("begin: {name}"));
            let said = Watch(site);
            step(said.0);
            said.0.log(&format!(
                "done in {} s: {name}",
                started.elapsed().as_secs()
            ));
            Ok(())
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(site);
    conclusion.exit_code()
}

/// Prints the machines' consoles when a step fails.
struct Watch<'a>(&'a mut Site);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.print_consoles();
        }
    }
}
