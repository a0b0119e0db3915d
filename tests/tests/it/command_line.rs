//! The command line client against a live daemon.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use lote_tests::client::DEFAULT_WORKSPACE;
use lote_tests::daemon::Daemon;
use serde_json::{Value, json};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn run_follows_the_output_and_ends_with_the_jobs_code() {
    let daemon = Daemon::start(&[]);
    let output = daemon.lote(&[
        "run",
        "--",
        "sh",
        "-c",
        "echo 'to out'; echo 'to err' >&2; exit 9",
    ]);
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    assert_eq!(text(&output.stdout), "to out\n", "{output:?}");
    assert!(text(&output.stderr).contains("to err"), "{output:?}");
}

#[test]
fn run_shows_each_line_as_it_is_written() {
    let daemon = Daemon::start(&[]);
    let script =
        "echo first; until [ -e $AZ_BATCHAI_MOUNT_ROOT/go ]; do sleep 0.02; done; echo last";
    let mut run = daemon
        .lote_command(&["run", "--cpus", "0.5", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    // It arrives although the job has not ended, and cannot before it arrived.
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    let go = daemon.lote(&[
        "run",
        "--cpus",
        "0.5",
        "--",
        "sh",
        "-c",
        "touch $AZ_BATCHAI_MOUNT_ROOT/go",
    ]);
    assert!(go.status.success(), "{go:?}");
    assert_eq!(lines.next().unwrap().unwrap(), "last");
    assert!(run.wait().unwrap().success());
}

#[test]
fn a_job_file_is_submitted_shown_listed_waited_for_and_deleted() {
    let daemon = Daemon::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.json");
    let body = json!({"$schema": "https://example.com/job.json", "properties": {
        "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/local")},
        "nodeCount": 1,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
        "customToolkitSettings": {"commandLine": "echo from a file"}}});
    std::fs::write(&file, body.to_string()).unwrap();
    let file = file.to_str().unwrap();

    let plan = daemon.lote(&["job", "plan", file]);
    assert!(text(&plan.stdout).contains("echo from a file"), "{plan:?}");
    let created = daemon.lote(&["job", "create", "-f", file, "filed"]);
    assert!(created.status.success(), "{created:?}");
    let waited = daemon.lote(&["job", "wait", "filed"]);
    assert!(waited.status.success(), "{waited:?}");
    let shown: Value =
        serde_json::from_slice(&daemon.lote(&["job", "show", "filed", "-o", "json"]).stdout)
            .unwrap();
    assert_eq!(shown["properties"]["executionState"], "succeeded");
    assert!(text(&daemon.lote(&["job", "list"]).stdout).contains("filed"));
    assert_eq!(
        text(&daemon.lote(&["job", "logs", "filed"]).stdout),
        "from a file\n"
    );
    assert!(text(&daemon.lote(&["job", "files", "filed"]).stdout).contains("stdout.txt"));
    assert!(
        daemon
            .lote(&["job", "delete", "filed", "--yes"])
            .status
            .success()
    );
    let gone = daemon.lote(&["job", "show", "filed"]);
    assert_eq!(gone.status.code(), Some(3), "{gone:?}");
    assert!(text(&gone.stderr).contains("filed"), "{gone:?}");
}

#[test]
fn node_status_says_what_is_in_force() {
    let daemon = Daemon::start(&[]);
    let status = text(&daemon.lote(&["node", "status"]).stdout);
    assert!(status.contains("NVML"), "{status}");
    if crate::is_root_or_skip("node_status_says_what_is_in_force (control groups)") {
        assert!(status.contains("memory limit"), "{status}");
    }
}

#[test]
fn a_daemon_that_does_not_answer_is_said_to_be_away() {
    let mut daemon = Daemon::start(&[]);
    daemon.kill();
    let output = daemon.lote(&["job", "list"]);
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("lote node"),
        "says how to start one: {output:?}"
    );
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let daemon = Daemon::start(&[]);
    let data = daemon.data();
    let second = daemon
        .lote_command(&[
            "node",
            "--data-dir",
            data.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ])
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(text(&second.stderr).contains("another"), "{second:?}");
    assert_eq!(
        daemon.client().get("/healthz").status,
        200,
        "the first goes on"
    );
}

#[test]
fn the_api_stays_on_loopback() {
    let daemon = Daemon::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let output = daemon
        .lote_command(&["node", "--data-dir", data, "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("loopback"), "{output:?}");
}
