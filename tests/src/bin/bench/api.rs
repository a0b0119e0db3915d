//! Requests per second and their latency, by the load tool `wrk`.

use std::process::Command;

use lote_tests::client::{DEFAULT_WORKSPACE, shell_job};
use lote_tests::daemon::Daemon;
use lote_tests::processes::resident_bytes;
use serde_json::{Value, json};

use crate::figure::Figure;
use crate::machine::fork_limit;

/// The load tool; Debian's package has the same name.
const TOOL: &str = "wrk";

/// What makes its requests and prints what came of them.
const SCRIPT: &str = include_str!("api.lua");

/// Connections at once: as many as the original job factory has threads.
const CONNECTIONS: u32 = 30;

/// How long each kind of request is measured.
const SECONDS: u32 = 10;

/// Values on a page of the measured list.
const PAGE: u32 = 100;

/// A kind of request.
struct Kind<'a> {
    name: &'static str,
    method: &'a str,
    /// `NUMBER` in it is replaced.
    path: &'a str,
    /// How many numbers there are; 0 for a new one each time.
    numbers: u64,
    body: &'a str,
}

/// What the tool saw.
struct Seen {
    requests: f64,
    per_second: f64,
    p50_milliseconds: f64,
    p99_milliseconds: f64,
}

/// Whether the tool is there.
pub(crate) fn is_possible() -> bool {
    // Without arguments it explains itself and fails.
    Command::new(TOOL).output().is_ok()
}

/// PUT, GET and list of jobs, and the daemon's memory. The jobs are for a
/// cluster without nodes: they are stored and queued, and none of them runs.
pub(crate) fn measure() -> Vec<Figure> {
    let limit = fork_limit();
    let daemon = Daemon::start(&[]);
    let jobs = format!("{}/jobs", daemon.client().experiment("load"));
    let job_path = format!("{jobs}/jNUMBER");
    let body = json!({"properties": queued_job(&daemon)}).to_string();
    let mut figures = vec![memory(&daemon, "before", limit)];
    let put = Kind {
        name: "PUT of a new job",
        method: "PUT",
        path: &job_path,
        numbers: 0,
        body: &body,
    };
    let seen = run(&daemon, &put);
    figures.extend(described(&put, &seen, limit));
    figures.push(memory(&daemon, "after PUT", limit));
    // The last ones may have been given up unanswered.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few thousand"
    )]
    let stored = (seen.requests as u64)
        .saturating_sub(CONNECTIONS.into())
        .max(1);
    let list = format!("{jobs}?maxresults={PAGE}");
    for (name, path) in [("GET of a job", &job_path), ("list of 100 jobs", &list)] {
        let kind = Kind {
            name,
            method: "GET",
            path,
            numbers: stored,
            body: "",
        };
        figures.extend(described(&kind, &run(&daemon, &kind), limit));
    }
    figures.push(memory(&daemon, "after all", limit));
    figures
}

/// A small job for a cluster that has no node.
fn queued_job(daemon: &Daemon) -> Value {
    let cluster = format!("{DEFAULT_WORKSPACE}/clusters/empty");
    let properties = json!({
        "vmSize": "cpu",
        "userAccountSettings": {"adminUserName": "admin"},
        "scaleSettings": {"manual": {"targetNodeCount": 0}},
    });
    let made = daemon
        .client()
        .put(&cluster, &json!({"properties": properties}));
    assert_eq!(made.status, 200, "{made:?}");
    let mut job = shell_job("true");
    job["cluster"]["id"] = cluster.into();
    job
}

fn run(daemon: &Daemon, kind: &Kind) -> Seen {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let script = folder.path().join("api.lua");
    std::fs::write(&script, SCRIPT).unwrap_or_else(|error| panic!("no script: {error}"));
    let mut tool = Command::new(TOOL);
    tool.args(["--threads", "1", "--timeout", "30"])
        .args(["--connections", &CONNECTIONS.to_string()])
        .args(["--duration", &SECONDS.to_string()])
        .arg("--script")
        .arg(&script)
        .args([&daemon.url(), "--", kind.method, kind.path])
        .args([&kind.numbers.to_string(), kind.body]);
    let output = tool
        .output()
        .unwrap_or_else(|error| panic!("{TOOL} does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    read(&said).unwrap_or_else(|| panic!("{TOOL} failed for the {}: {said}", kind.name))
}

/// Reads what the script printed; none if a request failed, because a quick
/// refusal is no figure.
fn read(said: &str) -> Option<Seen> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("FIGURES "))?;
    let figures: Value = serde_json::from_str(line).ok()?;
    let number = |name: &str| figures[name].as_f64();
    let sound = figures["failed"] == 0 && figures["broken"] == 0;
    sound.then_some(Seen {
        requests: number("requests")?,
        per_second: number("requests")? / number("seconds")?,
        p50_milliseconds: number("p50")?,
        p99_milliseconds: number("p99")?,
    })
}

fn described(kind: &Kind, seen: &Seen, limit: f64) -> Vec<Figure> {
    let figure = |what: &str, value, unit| {
        let name = format!("api: {}{what}", kind.name);
        Figure::new(name, value, unit, limit)
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let how = format!("{TOOL}, {CONNECTIONS} connections, {SECONDS} s, load average {load}");
    vec![
        figure("", seen.per_second, "1/s").note(how),
        figure(", p50", seen.p50_milliseconds, "ms"),
        figure(", p99", seen.p99_milliseconds, "ms"),
    ]
}

fn memory(daemon: &Daemon, when: &str, limit: f64) -> Figure {
    #[expect(clippy::cast_precision_loss, reason = "a few MiB")]
    let resident = resident_bytes(daemon.pid()) as f64 / f64::from(1 << 20);
    Figure::new(
        format!("api: resident memory {when}"),
        resident,
        "MiB",
        limit,
    )
}
