//! `cargo xtask bench hosts`: four hosts on three etcd members, how fast jobs pass through them.
//!
//! All of it runs on one machine, so the figures are those of a site whose every part has a share
//! of these processors. Figures are printed, never asserted.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that went wrong has no value; there is nothing to recover"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lote_test_hosts::{HostDaemon, Lab, LabOptions};
use lote_tests::client::{Client, DEFAULT_WORKSPACE, shell_job_with};
use lote_tests::{processes, wait_for};
use serde_json::{Value, json};

/// Jobs of the dispatch run.
const JOBS: usize = 400;

/// Jobs submitted one at a time, to an idle site.
const SINGLE_JOBS: usize = 40;

/// Long enough for all of them on any machine.
const PATIENCE: Duration = Duration::from_mins(10);

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("network namespaces need root: run this command as root");
        return ExitCode::FAILURE;
    }
    let lab = Lab::start(&LabOptions::hosts(4).with_members_on_disk());
    let clients: Vec<Client> = lab.daemons.iter().map(HostDaemon::client).collect();
    let experiment = lab.client().experiment("bench");
    make_cluster(&lab);
    run(&clients, &experiment, "warm-up", 20);
    let (acknowledged, finished) = run(&clients, &experiment, "dispatch", JOBS);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred jobs")]
    let rate = |time: Duration| JOBS as f64 / time.as_secs_f64();
    println!("4 hosts, 3 etcd members, {JOBS} jobs of `true` by 4 clients:");
    println!("  acknowledged  {:8.1} jobs/s", rate(acknowledged));
    println!("  finished      {:8.1} jobs/s", rate(finished));
    let mut latencies: Vec<f64> = (0..SINGLE_JOBS)
        .map(|number| submit_to_start(&clients[number % clients.len()], &experiment, number))
        .collect();
    latencies.sort_by(f64::total_cmp);
    println!("from PUT to the start, {SINGLE_JOBS} jobs one after the other:");
    println!("  median        {:8.1} ms", latencies[SINGLE_JOBS / 2]);
    println!(
        "  p95           {:8.1} ms",
        latencies[SINGLE_JOBS * 95 / 100]
    );
    for daemon in &lab.daemons {
        let resident: u64 = daemon.process_id().map_or(0, processes::resident_bytes);
        println!(
            "resident memory of {}: {} MiB",
            daemon.name(),
            resident >> 20
        );
    }
    ExitCode::SUCCESS
}

fn make_cluster(lab: &Lab) {
    let path = format!("{DEFAULT_WORKSPACE}/clusters/c");
    let body = json!({"properties": {
        "vmSize": "cpu",
        "scaleSettings": {"manual": {"targetNodeCount": lab.daemons.len()}},
        "userAccountSettings": {"adminUserName": "op"},
    }});
    let answer = lab.client().put(&path, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    wait_for("the cluster to have its nodes", PATIENCE, || {
        let cluster = lab.client().get(&path).json;
        (cluster["properties"]["allocationState"] == "steady").then_some(())
    });
}

fn job(command_line: &str) -> Value {
    let mut job = shell_job_with(
        command_line,
        json!({"resources": {"cpusPerNode": 0.25, "memory": "32m"}}),
    );
    job["cluster"] = json!({"id": format!("{DEFAULT_WORKSPACE}/clusters/c")});
    job
}

/// How long it took until all were acknowledged, and until all had succeeded.
fn run(clients: &[Client], experiment: &str, name: &str, count: usize) -> (Duration, Duration) {
    let body = job("true");
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (index, client) in clients.iter().enumerate() {
            let body = &body;
            scope.spawn(move || {
                for number in (index..count).step_by(clients.len()) {
                    client.submit(experiment, &format!("{name}-{number}"), body);
                }
            });
        }
    });
    let acknowledged = start.elapsed();
    let client = &clients[0];
    for number in (0..count).rev() {
        let path = format!("{experiment}/jobs/{name}-{number}");
        wait_for("a job to succeed", PATIENCE, || {
            let state = client.job(&path)["executionState"].clone();
            assert_ne!(state, "failed", "{path}");
            (state == "succeeded").then_some(())
        });
    }
    (acknowledged, start.elapsed())
}

/// Milliseconds from the request until the command wrote the time.
fn submit_to_start(client: &Client, experiment: &str, number: usize) -> f64 {
    let before = std::time::SystemTime::now();
    let name = format!("single-{number}");
    let path = client.submit(experiment, &name, &job("date +%s.%N"));
    client.wait_for_end(&path);
    let started: f64 = client
        .stdout(&path)
        .trim()
        .parse()
        .expect("the job wrote the time");
    let before = before
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64();
    (started - before) * 1000.0
}
