//! From a start after `kill -9`, with many jobs running, to the first answer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lote_tests::daemon::Daemon;
use lote_tests::processes::mentioning;
use lote_tests::{PATIENCE, wait_for};

use crate::figure::{Figure, Goal};
use crate::load::small_job;
use crate::machine::{Machine, fork_limit};
use crate::statistics::{largest, median};

/// Jobs that run while the daemon is killed.
const JOBS: usize = 100;

/// How often it is killed.
const ROUNDS: usize = 5;

/// Between two requests to a daemon that does not listen yet.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);

/// How long a job sleeps: longer than the benchmark takes. The number also tells
/// its process from any other.
fn marker() -> String {
    format!("86400.{:07}", std::process::id())
}

/// Kills and starts a daemon with a hundred running jobs.
pub(crate) fn measure(machine: &Machine) -> Vec<Figure> {
    let limit = fork_limit();
    let mut daemon = Daemon::start(&[]);
    let (jobs, running) = start_jobs(&daemon, machine);
    let mut answered = Vec::new();
    let mut ready = Vec::new();
    for round in 0..ROUNDS {
        daemon.kill();
        let start = Instant::now();
        daemon.start_again();
        first_answer(&daemon, &jobs[round % jobs.len()]);
        answered.push(start.elapsed().as_secs_f64() * 1000.0);
        daemon.wait_until_ready();
        ready.push(start.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(sleepers(), running, "the same processes go on");
    }
    let figure = |name: &str, value| Figure::new(name, value, "ms", limit);
    vec![
        figure(
            "restart: to the first answered request, median",
            median(&answered),
        )
        .goal(Goal::AtMost(200.0))
        .note(format!(
            "GET of a running job; {JOBS} jobs running, {ROUNDS} times kill -9"
        )),
        figure(
            "restart: to the first answered request, worst",
            largest(&answered),
        ),
        figure("restart: to readiness, median", median(&ready)),
    ]
}

/// Jobs that sleep, and their processes once all of them run.
fn start_jobs(daemon: &Daemon, machine: &Machine) -> (Vec<String>, BTreeSet<i32>) {
    let client = daemon.client();
    let experiment = client.experiment("restart");
    #[expect(clippy::cast_precision_loss, reason = "few jobs and cores")]
    let cores = machine.cores as f64 / JOBS as f64;
    let job = small_job(&format!("exec sleep {}", marker()), cores);
    let jobs = (0..JOBS)
        .map(|number| client.submit(&experiment, &format!("j{number}"), &job))
        .collect();
    let running = wait_for("all jobs to run", 2 * PATIENCE, || {
        let sleepers = sleepers();
        (sleepers.len() == JOBS).then_some(sleepers)
    });
    (jobs, running)
}

fn sleepers() -> BTreeSet<i32> {
    mentioning(&format!("sleep\0{}", marker()))
        .into_iter()
        .collect()
}

fn first_answer(daemon: &Daemon, job: &str) {
    let client = daemon.client();
    let start = Instant::now();
    while client
        .try_send("GET", job, None)
        .is_none_or(|answer| answer.status != 200)
    {
        assert!(
            start.elapsed() < PATIENCE,
            "no answer after the restart\n{}",
            daemon.log()
        );
        std::thread::sleep(LOOK_INTERVAL);
    }
}
