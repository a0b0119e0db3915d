//! From PUT to the first line of the user's command, on a daemon with nothing else
//! to do.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lote_tests::client::Client;
use lote_tests::daemon::Daemon;

use crate::figure::{Figure, Goal};
use crate::load::small_job;
use crate::machine::{Machine, fork_limit};
use crate::statistics::{median, quantile};

/// Jobs measured, one after another.
const JOBS: usize = 50;

/// Between two jobs: longer than one takes, and shorter than the second after
/// which an automatic cluster gives its idle node back.
const PAUSE: Duration = Duration::from_millis(50);

/// After this long the cluster has given its node back.
const IDLE: Duration = Duration::from_secs(3);

/// What a job runs: the shell itself tells the time, in microseconds, so nothing
/// but its own start stands before the measurement.
const TELL_TIME: &str = "echo $EPOCHREALTIME";

/// Jobs one after another, and what the shell alone takes.
pub(crate) fn measure(_machine: &Machine, cores: f64) -> Vec<Figure> {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("latency");
    // The first job of all: the machine reads the shell and the plugin anew.
    latency(&client, &experiment, "warm-up", cores);
    std::thread::sleep(IDLE);
    let cold = latency(&client, &experiment, "cold", cores);
    let limit = fork_limit();
    // Once more, because the limit took longer than the node waits.
    latency(&client, &experiment, "again", cores);
    let times: Vec<f64> = (0..JOBS)
        .map(|number| latency(&client, &experiment, &format!("j{number}"), cores))
        .collect();
    let shell: Vec<f64> = (0..JOBS).map(|_| shell_milliseconds()).collect();
    let figure = |name: &str, value| Figure::new(name, value, "ms", limit);
    vec![
        figure("latency: PUT to first line, median", median(&times))
            .goal(Goal::AtMost(5.0))
            .note(format!(
                "{JOBS} jobs one after another, start of the shell included"
            )),
        figure("latency: PUT to first line, p99", quantile(&times, 0.99)).goal(Goal::AtMost(15.0)),
        figure(
            "latency: of it the shell's own start, median",
            median(&shell),
        )
        .note("`bash -c` started by the benchmark, to its first line"),
        figure("latency: the same of a cluster without nodes", cold)
            .note("one job, after the automatic cluster gave its node back"),
    ]
}

/// Submits a job that prints the time; gives the milliseconds from before the
/// request to that time.
fn latency(client: &Client, experiment: &str, name: &str, cores: f64) -> f64 {
    let job = small_job(TELL_TIME, cores);
    let start = now_seconds();
    let path = client.submit(experiment, name, &job);
    // Looking earlier would disturb what is measured.
    std::thread::sleep(PAUSE);
    let properties = client.wait_for_end(&path);
    assert_eq!(properties["executionState"], "succeeded", "{properties:#}");
    (told_seconds(&client.stdout(&path)) - start) * 1000.0
}

fn shell_milliseconds() -> f64 {
    let start = now_seconds();
    let output = Command::new("/bin/bash")
        .args(["-c", TELL_TIME])
        .stdin(Stdio::null())
        .output();
    let told = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    (told_seconds(&told.unwrap_or_default()) - start) * 1000.0
}

fn now_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

fn told_seconds(text: &str) -> f64 {
    let seconds = text.trim().replace(',', ".").parse();
    seconds.unwrap_or_else(|_| {
        panic!("a job that tells the time printed '{text}'; bash 5 or newer is needed")
    })
}
