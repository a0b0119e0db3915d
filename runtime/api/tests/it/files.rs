//! listOutputFiles: what is there, in pages, and nothing beyond.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use lote_model::id::NodeName;
use lote_model::job::{DirectoryLocation, JobRecord, JobStatus, STDOUTERR, UNDELIVERED};
use lote_model::key;
use lote_model::report::{Report, ReportPhase};
use lote_model::state::ExecutionState;
use serde_json::{Value, json};

use crate::daemon::{Daemon, NODE, job_path, location, rm_job, running, succeeded};

/// A job `j` whose directories `out` and `model` this node has reported.
pub(crate) fn with_directories(daemon: &Daemon) -> (JobRecord, PathBuf) {
    daemon.furnish();
    let record = daemon.submit("j");
    let work = daemon.folder.path().join("work");
    fs::create_dir_all(work.join("out")).unwrap();
    fs::create_dir_all(work.join("model")).unwrap();
    daemon.set_status(&running(&record, daemon.now()), "j");
    report(daemon, &record, NODE, 1);
    (record, work)
}

fn report(daemon: &Daemon, record: &JobRecord, node: &str, attempt: u32) {
    let work = daemon.folder.path().join("work");
    let report = Report {
        uid: record.uid.clone(),
        node: NodeName::new(node),
        attempt,
        rank: 0,
        phase: ReportPhase::Prepared,
        directories: vec![
            location(STDOUTERR, node, &work.join("out")),
            location("MODEL", node, &work.join("model")),
        ],
        at: daemon.now(),
    };
    daemon.write(&key::report(&record.uid, &NodeName::new(node)), &report);
}

/// What the nodes of a gang say whose output lies on this node's file server.
fn report_shared(daemon: &Daemon, record: &JobRecord, nodes: &[&str], root: &Path, path: &Path) {
    for (rank, node) in (0..).zip(nodes) {
        let shared = DirectoryLocation {
            root: Some(root.to_str().unwrap().into()),
            ..location(STDOUTERR, NODE, path)
        };
        let report = Report {
            uid: record.uid.clone(),
            node: NodeName::new(*node),
            attempt: 1,
            rank,
            phase: ReportPhase::Prepared,
            directories: vec![shared],
            at: daemon.now(),
        };
        daemon.write(&key::report(&record.uid, &NodeName::new(*node)), &report);
    }
}

#[test]
fn what_a_gang_has_on_one_file_server_is_shown_once() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    daemon.set_status(&running(&record, daemon.now()), "j");
    let export = daemon.folder.path().join("export");
    fs::create_dir_all(export.join("s/stdouterr")).unwrap();
    fs::write(export.join("s/stdouterr/stdout.txt"), "hello\n").unwrap();
    let path = export.join("s/stdouterr");
    report_shared(&daemon, &record, &["n8", "n9"], &export, &path);
    let page = list(&daemon, "outputdirectoryid=stdouterr");
    assert_eq!(names(&page), ["stdout.txt"]);
    let url = page["value"][0]["downloadUrl"].as_str().unwrap();
    assert_eq!(daemon.get(url).text(), "hello\n");
}

#[test]
fn a_link_on_the_way_does_not_lead_out_of_a_file_server() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    daemon.set_status(&running(&record, daemon.now()), "j");
    let folder = daemon.folder.path();
    let export = folder.join("export");
    fs::create_dir_all(folder.join("secret/stdouterr")).unwrap();
    fs::write(folder.join("secret/stdouterr/key"), "x").unwrap();
    fs::create_dir(&export).unwrap();
    symlink("../secret", export.join("s")).unwrap();
    let query = rm_job("j", "/listOutputFiles?outputdirectoryid=stdouterr");
    for path in [export.join("s/stdouterr"), folder.join("secret/stdouterr")] {
        report_shared(&daemon, &record, &["n9"], &export, &path);
        daemon
            .post(&query)
            .expect_error(403, "PathEscapesDirectory");
    }
}

pub(crate) fn list(daemon: &Daemon, query: &str) -> Value {
    daemon
        .post(&rm_job("j", &format!("/listOutputFiles?{query}")))
        .expect(200)
}

fn names(page: &Value) -> Vec<&str> {
    page["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect()
}

#[test]
fn output_that_was_not_delivered_is_found_on_its_node() {
    let daemon = Daemon::start();
    let (record, work) = with_directories(&daemon);
    let query = format!("outputdirectoryid={UNDELIVERED}");
    assert_eq!(names(&list(&daemon, &query)), [""; 0]);
    fs::create_dir_all(work.join("spool")).unwrap();
    fs::write(work.join("spool/stdout.txt"), "hello\n").unwrap();
    let mut status = running(&record, daemon.now());
    status.directories = vec![location(UNDELIVERED, NODE, &work.join("spool"))];
    daemon.set_status(&status, "j");
    assert_eq!(names(&list(&daemon, &query)), ["stdout.txt"]);
}

#[test]
fn output_on_a_file_system_that_is_gone_is_not_shown_as_empty() {
    let daemon = Daemon::start();
    let (record, work) = with_directories(&daemon);
    fs::write(work.join("out/stdout.txt"), "hello\n").unwrap();
    let mut status = running(&record, daemon.now());
    status.directories = vec![DirectoryLocation {
        while_mounted: true,
        ..location(STDOUTERR, NODE, &work.join("out"))
    }];
    daemon.set_status(&status, "j");
    assert_eq!(
        names(&list(&daemon, "outputdirectoryid=stdouterr")),
        ["stdout.txt"]
    );
    status.state = ExecutionState::Succeeded;
    daemon.set_status(&status, "j");
    let query = rm_job("j", "/listOutputFiles?outputdirectoryid=stdouterr");
    daemon.post(&query).expect_error(409, "OutputNotMounted");
}

#[test]
fn files_and_directories_are_sorted_by_name() {
    let daemon = Daemon::start();
    let (record, work) = with_directories(&daemon);
    fs::write(work.join("out/stdout.txt"), "hello\n").unwrap();
    fs::write(work.join("out/execution.log"), "x").unwrap();
    fs::create_dir_all(work.join("out/snapshots/deep")).unwrap();
    fs::write(work.join("out/snapshots/a b ü.txt"), "1").unwrap();
    let page = list(&daemon, "outputdirectoryid=stdouterr");
    assert_eq!(names(&page), ["execution.log", "snapshots", "stdout.txt"]);
    assert_eq!(
        page["value"][1],
        json!({"name": "snapshots", "fileType": "directory"})
    );
    let file = &page["value"][2];
    assert_eq!(
        (&file["fileType"], &file["properties"]["contentLength"]),
        (&json!("file"), &json!(6))
    );
    assert!(
        file["properties"]["lastModified"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    assert!(
        file["downloadUrl"]
            .as_str()
            .unwrap()
            .ends_with("/stdout.txt")
    );
    let inner = list(
        &daemon,
        "OutputDirectoryId=stdouterr&directory=./snapshots/",
    );
    assert_eq!(names(&inner), ["a b ü.txt", "deep"]);
    assert!(
        inner["value"][0]["downloadUrl"]
            .as_str()
            .unwrap()
            .ends_with("/a%20b%20%C3%BC.txt"),
        "{inner}"
    );
    assert_eq!(names(&list(&daemon, "outputdirectoryid=MODEL")), [""; 0]);
    // After its end the leader says where the directories are.
    daemon.commit(lote_store::Transaction::new().delete_prefix(key::reports_of(&record.uid)));
    let ended = JobStatus {
        directories: vec![location(STDOUTERR, NODE, &work.join("out"))],
        ..succeeded(&record, daemon.now())
    };
    daemon.set_status(&ended, "j");
    assert_eq!(
        names(&list(&daemon, "outputdirectoryid=stdouterr")).len(),
        3
    );
}

#[test]
fn nothing_yet_is_an_empty_list() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    assert_eq!(
        list(&daemon, "outputdirectoryid=stdouterr"),
        json!({"value": []})
    );
    daemon.set_status(&running(&record, daemon.now()), "j");
    report(&daemon, &record, NODE, 1);
    assert_eq!(
        list(&daemon, "outputdirectoryid=stdouterr"),
        json!({"value": []}),
        "not made yet"
    );
    assert_eq!(
        list(&daemon, "outputdirectoryid=MODEL&directory=later"),
        json!({"value": []})
    );
}

#[test]
fn the_pages_of_a_directory_are_posted() {
    let daemon = Daemon::start();
    let (_, work) = with_directories(&daemon);
    for index in 0..7 {
        fs::write(work.join(format!("out/f{index}")), "").unwrap();
    }
    let mut seen = Vec::new();
    let mut next = Some(rm_job(
        "j",
        "/listOutputFiles?outputdirectoryid=stdouterr&maxresults=3&linkexpiryinminutes=5",
    ));
    while let Some(url) = next {
        let page = daemon.post(&url).expect(200);
        seen.push(names(&page).join(" "));
        next = page
            .get("nextLink")
            .map(|link| link.as_str().unwrap().to_owned());
    }
    assert_eq!(seen, ["f0 f1 f2", "f3 f4 f5", "f6"]);
}

#[test]
fn wrong_parameters_are_told() {
    let daemon = Daemon::start();
    with_directories(&daemon);
    let refused = |query: &str, code: &str, target: &str| {
        let error = daemon
            .post(&rm_job("j", &format!("/listOutputFiles?{query}")))
            .expect_error(400, code);
        assert_eq!(error["target"], target, "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    refused("", "InvalidParameter", "outputdirectoryid");
    let message = refused(
        "outputdirectoryid=model",
        "InvalidOutputDirectoryId",
        "outputdirectoryid",
    );
    assert!(message.contains("stdouterr, MODEL"), "{message}");
    refused(
        "outputdirectoryid=MODEL&linkexpiryinminutes=4",
        "InvalidParameter",
        "linkexpiryinminutes",
    );
    refused(
        "outputdirectoryid=MODEL&linkexpiryinminutes=601",
        "InvalidParameter",
        "linkexpiryinminutes",
    );
    for path in ["..", "/etc", "a/../..", "%2e%2e", "..%2f..%2fetc", "%00"] {
        refused(
            &format!("outputdirectoryid=MODEL&directory={path}"),
            "InvalidParameter",
            "directory",
        );
    }
    daemon
        .post(&rm_job(
            "none",
            "/listOutputFiles?outputdirectoryid=stdouterr",
        ))
        .expect_error(404, "JobNotFound");
}

#[test]
fn links_lead_nowhere_outside() {
    let daemon = Daemon::start();
    let (_, work) = with_directories(&daemon);
    fs::create_dir_all(work.join("private")).unwrap();
    fs::write(work.join("private/secret.txt"), "secret").unwrap();
    symlink("../private", work.join("out/escape")).unwrap();
    symlink(work.join("private/secret.txt"), work.join("out/file")).unwrap();
    fs::write(work.join("out/real.txt"), "1").unwrap();
    symlink("real.txt", work.join("out/latest")).unwrap();
    nix::unistd::mkfifo(&work.join("out/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        names(&list(&daemon, "outputdirectoryid=stdouterr")),
        ["latest", "real.txt"]
    );
    daemon
        .post(&rm_job(
            "j",
            "/listOutputFiles?outputdirectoryid=stdouterr&directory=escape",
        ))
        .expect_error(403, "PathEscapesDirectory");
    // The job replaces the whole directory by a link.
    fs::remove_dir_all(work.join("model")).unwrap();
    symlink(work.join("private"), work.join("model")).unwrap();
    let reply = daemon.post(&rm_job("j", "/listOutputFiles?outputdirectoryid=MODEL"));
    assert!(
        reply.status >= 400 && !reply.text().contains("secret"),
        "{}",
        reply.text()
    );
}

#[test]
fn files_of_another_node_are_named() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    daemon.set_status(&running(&record, daemon.now()), "j");
    report(&daemon, &record, "far", 1);
    let reply = daemon.post(&rm_job("j", "/listOutputFiles?outputdirectoryid=stdouterr"));
    let error = reply.expect_error(501, "FilesOnOtherNode");
    assert!(error["message"].as_str().unwrap().contains("far"));
    assert_eq!(daemon.job("j").path, job_path("j"));
}

#[test]
fn a_directory_is_read_with_the_rights_of_the_job() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let daemon = Daemon::start_configured(|config| config.read_as_job_user = true);
    fs::set_permissions(daemon.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (record, work) = with_directories(&daemon);
    fs::write(work.join("out/a"), "x").unwrap();
    let reply = || daemon.post(&rm_job("j", "/listOutputFiles?outputdirectoryid=stdouterr"));
    fs::set_permissions(work.join("out"), fs::Permissions::from_mode(0o700)).unwrap();
    reply().expect_error(403, "FileNotReadable");
    std::os::unix::fs::chown(
        work.join("out"),
        Some(record.unix_id.0),
        Some(record.unix_id.0),
    )
    .unwrap();
    let page = reply().expect(200);
    assert_eq!(names(&page), ["a"]);
    let url = page["value"][0]["downloadUrl"].as_str().unwrap().to_owned();
    assert_eq!(daemon.get(&url).text(), "x");
    fs::set_permissions(work.join("out/a"), fs::Permissions::from_mode(0o600)).unwrap();
    daemon.get(&url).expect_error(403, "FileNotReadable");
}
