//! The state as a whole: exported, imported elsewhere, and kept small.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use lote_tests::client::DEFAULT_WORKSPACE;
use lote_tests::daemon::{Daemon, binary};
use lote_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};

/// Runs `lote import` as an operator would.
fn import(file: &Path, data: &Path) -> Output {
    Command::new(binary())
        .arg("import")
        .arg(file)
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn error_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(daemon: &Daemon, path: &str) -> Vec<String> {
    let answer = daemon.client().get(path);
    let values = answer.json["value"].as_array().unwrap().clone();
    values
        .iter()
        .map(|value| value["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_state_that_was_exported_is_there_again_after_an_import() {
    let mut daemon = Daemon::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.jsonl");
    let experiments = format!("{DEFAULT_WORKSPACE}/experiments");
    for name in ["one", "two"] {
        let made = daemon.lote(&["experiment", "create", name]);
        assert!(made.status.success(), "{made:?}");
    }
    let run = daemon.lote(&["run", "--experiment", "one", "--", "sh", "-c", "echo kept"]);
    assert!(run.status.success(), "{run:?}");
    let exported = daemon.lote(&["export", file.to_str().unwrap()]);
    assert!(exported.status.success(), "{exported:?}");
    assert!(error_of(&exported).contains("cluster.key"), "{exported:?}");
    // What comes after it is not in it.
    let made = daemon.lote(&["experiment", "create", "three"]);
    assert!(made.status.success(), "{made:?}");
    let jobs = names(&daemon, &format!("{experiments}/one/jobs"));
    daemon.stop();

    // Not into a store that is in use, nor without the key.
    let refused = import(&file, &daemon.data());
    assert!(!refused.status.success(), "{refused:?}");
    assert!(error_of(&refused).contains("not empty"), "{refused:?}");
    let elsewhere = folder.path().join("data");
    let refused = import(&file, &elsewhere);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(error_of(&refused).contains("cluster.key"), "{refused:?}");

    // With the key, in place of the old store.
    daemon.empty_data_but(&["cluster.key"]);
    let done = import(&file, &daemon.data());
    assert!(done.status.success(), "{done:?}");
    daemon.restart();
    assert_eq!(names(&daemon, &experiments), ["one", "two"]);
    assert_eq!(names(&daemon, &format!("{experiments}/one/jobs")), jobs);
    let run = daemon.lote(&["run", "--", "true"]);
    assert!(run.status.success(), "{run:?}");
}

#[test]
fn a_job_goes_on_while_its_state_moves() {
    let mut daemon = Daemon::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.jsonl");
    let script = "echo first; until [ -e $AZ_BATCHAI_MOUNT_ROOT/go ]; do sleep 0.02; done; exit 5";
    let run = |name: &str, script: &str, daemon: &Daemon| {
        let share = [
            "run", "--cpus", "0.5", "--detach", "--name", name, "--", "sh", "-c", script,
        ];
        let run = daemon.lote(&share);
        assert!(run.status.success(), "{run:?}");
    };
    let state = |name: &str, daemon: &Daemon| {
        let path = format!("{DEFAULT_WORKSPACE}/experiments/default/jobs/{name}");
        daemon.client().get(&path).json["properties"].clone()
    };
    run("moves", script, &daemon);
    wait_for("the job to run", PATIENCE, || {
        (state("moves", &daemon)["executionState"] == "running").then_some(())
    });
    let exported = daemon.lote(&["export", file.to_str().unwrap()]);
    assert!(exported.status.success(), "{exported:?}");
    daemon.stop();
    std::fs::remove_file(daemon.data().join("store.redb")).unwrap();
    let done = import(&file, &daemon.data());
    assert!(done.status.success(), "{done:?}");
    daemon.restart();
    run("frees-it", "touch $AZ_BATCHAI_MOUNT_ROOT/go", &daemon);
    let ended = wait_for("the job to end", PATIENCE, || {
        let properties = state("moves", &daemon);
        (properties["executionState"] == "failed").then_some(properties)
    });
    assert_eq!(ended["executionInfo"]["exitCode"], 5, "{ended}");
    assert_eq!(ended["lote"]["attempt"], 1, "{ended}");
}

#[test]
fn half_an_export_is_not_imported() {
    let daemon = Daemon::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.jsonl");
    let exported = daemon.lote(&["export", "-"]);
    assert!(exported.status.success(), "{exported:?}");
    std::fs::write(&file, &exported.stdout[..exported.stdout.len() / 2]).unwrap();
    let refused = import(&file, &folder.path().join("data"));
    assert!(!refused.status.success(), "{refused:?}");
    assert!(!folder.path().join("data").exists());
}

#[test]
fn finished_jobs_are_archived_and_the_newest_stay() {
    let daemon = Daemon::start(&["--keep-finished-jobs", "2"]);
    let made = daemon.lote(&["experiment", "create", "e"]);
    assert!(made.status.success(), "{made:?}");
    for code in ["0", "3", "0", "0"] {
        let command = format!("exit {code}");
        daemon.lote(&["run", "--experiment", "e", "--", "sh", "-c", &command]);
    }
    let jobs = format!("{DEFAULT_WORKSPACE}/experiments/e/jobs");
    wait_for("the oldest to be gone", PATIENCE, || {
        (names(&daemon, &jobs).len() == 2).then_some(())
    });
    let directory = daemon.data().join("archive");
    let files: Vec<_> = std::fs::read_dir(&directory).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
    let codes: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| line["job"]["properties"]["executionInfo"]["exitCode"].clone())
        .collect();
    assert_eq!(codes, [json!(0), json!(3)], "{text}");
}
