//! Finished jobs that are written down and leave the store; and exports of the whole of it.

use std::collections::BTreeMap;

use lote_api::Retention;
use lote_model::duration::Seconds;
use lote_model::id::NodeName;
use lote_model::job::{JobRecord, JobStatus};
use lote_model::key;
use lote_model::leader::LeaderRecord;
use lote_model::state::ExecutionState;
use lote_store::{ListRequest, Store};
use serde_json::{Value, json};

use crate::daemon::{Daemon, NODE, job_url, running, wait_until};

fn keeping(jobs_max: u64, age_max: Option<u64>, is_elected: bool) -> (Daemon, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("archive");
    let daemon = Daemon::start_configured(move |config| {
        config.retention = Some(Retention {
            jobs_max,
            age_max: age_max.map(Seconds),
            directory: directory.clone(),
            is_elected,
        });
    });
    daemon.furnish();
    (daemon, folder)
}

fn finish(daemon: &Daemon, name: &str) -> JobRecord {
    let record = daemon.submit(name);
    let status = JobStatus {
        state: ExecutionState::Succeeded,
        end_time: Some(daemon.now()),
        exit_code: Some(0),
        ..running(&record, daemon.now())
    };
    daemon.set_status(&status, name);
    daemon.advance(1);
    record
}

/// The lines of the archive, in order.
fn lines(folder: &tempfile::TempDir) -> Vec<Value> {
    let path = folder
        .path()
        .join(format!("archive/jobs-2018-07-{NODE}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The jobs in the archive, in order.
fn archived(folder: &tempfile::TempDir) -> Vec<Value> {
    lines(folder)
        .iter()
        .map(|line| line["job"].clone())
        .collect()
}

fn is_leaving(daemon: &Daemon, name: &str) -> bool {
    let job = daemon.get(&job_url(name)).expect(200);
    job["properties"]["provisioningState"] == "deleting"
}

#[test]
fn the_oldest_jobs_leave_when_there_are_too_many() {
    let (daemon, folder) = keeping(2, None, false);
    let running_job = daemon.submit("goes-on");
    daemon.set_status(&running(&running_job, daemon.now()), "goes-on");
    for name in ["a", "b", "c", "d"] {
        finish(&daemon, name);
    }
    wait_until("two have left", || is_leaving(&daemon, "b"));
    let jobs = archived(&folder);
    let names: Vec<_> = jobs.iter().map(|job| &job["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(jobs[0]["properties"]["executionState"], "succeeded");
    assert_eq!(jobs[0]["properties"]["executionInfo"]["exitCode"], 0);
    for name in ["c", "d", "goes-on"] {
        assert!(!is_leaving(&daemon, name), "{name}");
    }
}

#[test]
fn old_jobs_leave_in_time() {
    let (daemon, folder) = keeping(100, Some(3600), false);
    finish(&daemon, "a");
    daemon.advance(3600);
    // The end of another is what makes it look, in less than a minute.
    finish(&daemon, "b");
    wait_until("it has left", || is_leaving(&daemon, "a"));
    assert_eq!(archived(&folder).len(), 1);
    assert!(!is_leaving(&daemon, "b"));
}

#[test]
fn a_job_that_cannot_be_written_down_stays() {
    let (daemon, folder) = keeping(0, None, false);
    let in_the_way = folder.path().join("archive");
    std::fs::write(&in_the_way, "a file").unwrap();
    finish(&daemon, "a");
    let other = finish(&daemon, "b");
    // The API answers while the archive does not work.
    assert!(!is_leaving(&daemon, "a"));
    std::fs::remove_file(in_the_way).unwrap();
    wait_until("both have left", || {
        is_leaving(&daemon, "a") && is_leaving(&daemon, "b")
    });
    let uids: Vec<Value> = archived(&folder)
        .iter()
        .map(|job| job["properties"]["lote"]["uid"].clone())
        .collect();
    assert!(uids.contains(&json!(other.uid)), "{uids:?}");
}

#[test]
fn only_the_daemon_that_leads_archives() {
    let (daemon, folder) = keeping(0, None, true);
    let leader = |node: &str| LeaderRecord {
        node: NodeName::new(node),
        since: daemon.now(),
    };
    daemon.write(key::LEADER, &leader("elsewhere"));
    finish(&daemon, "a");
    finish(&daemon, "b");
    daemon.advance(1000);
    let elected_at = daemon.now();
    daemon.write(key::LEADER, &leader(NODE));
    finish(&daemon, "c");
    let names = ["a", "b", "c"];
    wait_until("all have left", || {
        names.iter().all(|name| is_leaving(&daemon, name))
    });
    for line in lines(&folder) {
        let at: jiff::Timestamp = serde_json::from_value(line["archivedAt"].clone()).unwrap();
        assert!(at >= elected_at, "{line}");
    }
}

#[test]
fn an_export_tells_every_key_and_its_value() {
    let daemon = Daemon::start();
    daemon.furnish();
    finish(&daemon, "a");
    daemon.write(&key::alive(&NodeName::new(NODE)), &json!({}));
    let reply = daemon.post("/v1/export");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/jsonl");
    assert_eq!(reply.header("cache-control"), "no-store");
    let lines: Vec<Value> = reply
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["loteExport"], 1);
    assert_eq!(lines[lines.len() - 1]["end"]["lines"], lines.len() - 2);
    let told: BTreeMap<&str, &Value> = lines[1..lines.len() - 1]
        .iter()
        .map(|line| (line["key"].as_str().unwrap(), &line["value"]))
        .collect();
    let all = daemon.runtime.block_on(async {
        let listing = daemon.store.list(ListRequest::default()).await.unwrap();
        listing.items
    });
    let kept = all
        .iter()
        .filter(|item| !item.key.starts_with(key::ALIVE) && !item.key.starts_with("sync/"));
    let stored: BTreeMap<&str, Value> = kept
        .map(|item| {
            let value = serde_json::from_slice(&item.value).unwrap();
            (item.key.as_str(), value)
        })
        .collect();
    assert!(stored.len() > 5, "{stored:?}");
    let stored: BTreeMap<&str, &Value> = stored.iter().map(|(key, value)| (*key, value)).collect();
    assert_eq!(told, stored);
}
