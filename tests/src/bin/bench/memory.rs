//! Resident memory of the daemon.

use std::time::Duration;

use lote_tests::daemon::Daemon;
use lote_tests::processes::resident_bytes;

use crate::figure::{Figure, Goal};
use crate::load::run_true;
use crate::machine::{Machine, fork_limit};

/// Jobs between two looks.
const JOBS: usize = 10_000;

/// How long the daemon rests before a look, so that what was only in use for the
/// last request has been given back.
const REST: Duration = Duration::from_secs(3);

const MIB: f64 = (1 << 20) as f64;

/// Idle, after ten thousand jobs, after twenty thousand.
pub(crate) fn measure(_machine: &Machine, cores: f64) -> Vec<Figure> {
    let limit = fork_limit();
    let daemon = Daemon::start(&[]);
    let idle = resident(&daemon);
    run_true(&daemon, "first", JOBS, cores);
    let after_first = resident(&daemon);
    run_true(&daemon, "second", JOBS, cores);
    let after_second = resident(&daemon);
    let figure = |name: &str, value, note: &str| Figure::new(name, value, "MiB", limit).note(note);
    let note = format!("{JOBS} jobs submitted at once by all clients");
    vec![
        figure("memory: idle", idle.0, &idle.1).goal(Goal::AtMost(25.0)),
        figure(
            "memory: after 10,000 finished jobs",
            after_first.0,
            &format!("{}; {note}", after_first.1),
        )
        .goal(Goal::AtMost(40.0)),
        figure(
            "memory: after 20,000 finished jobs",
            after_second.0,
            &after_second.1,
        ),
        figure(
            "memory: growth by the second 10,000",
            after_second.0 - after_first.0,
            "flat is 0",
        ),
    ]
}

/// Resident MiB, and of what they consist.
fn resident(daemon: &Daemon) -> (f64, String) {
    std::thread::sleep(REST);
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap_or_default();
    let part = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        line.split_whitespace()
            .next()
            .and_then(|kib| kib.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1024.0
    };
    #[expect(clippy::cast_precision_loss, reason = "a few MiB")]
    let total = resident_bytes(daemon.pid()) as f64 / MIB;
    (
        total,
        format!(
            "{:.1} its own, {:.1} pages of files",
            part("RssAnon:"),
            part("RssFile:")
        ),
    )
}
