//! The audit log: which requests get a line, what it says, and what happens when
//! it cannot be written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lote_api::{AuditLog, AuditSink, Rotation};
use serde_json::{Value, json};

use crate::access::Guarded;
use crate::daemon::{Daemon, LAB, job_body, job_url};

#[test]
fn changes_and_refusals_are_written_down_and_reads_are_not() {
    let guarded = Guarded::start();
    let root = Some(guarded.root.as_str());
    let before = guarded.audit().len();
    guarded
        .send(root, "GET", "/v1/groups", &Value::Null)
        .expect(200);
    guarded
        .send(None, "GET", "/healthz", &Value::Null)
        .expect(200);
    guarded
        .send(root, "POST", &format!("{}/plan", job_url("j")), &job_body())
        .expect(200);
    assert_eq!(guarded.audit().len(), before);

    let path = format!("{LAB}/ws?secret=lote_x");
    let reply = guarded.send(root, "PATCH", &path, &json!({"tags": {"a": "b"}}));
    reply.expect(200);
    let mut line = guarded.audit().pop().unwrap();
    assert_eq!(line["requestId"], reply.header("x-ms-request-id"));
    let id = guarded.root.split('_').nth(1).unwrap();
    assert_eq!(line["who"], id);
    assert!(
        line["remote"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{line}"
    );
    for member in ["requestId", "who", "remote"] {
        line[member] = json!("…");
    }
    insta::assert_json_snapshot!(line, @r#"
    {
      "method": "PATCH",
      "name": "root",
      "path": "/v1/groups/lab/workspaces/ws",
      "permission": "workspaces/write",
      "remote": "…",
      "requestId": "…",
      "role": "admin",
      "status": 200,
      "target": "workspace lab/ws",
      "time": "2018-07-02T10:00:00Z",
      "who": "…"
    }
    "#);
    // A change that was tried and failed is one that somebody tried.
    guarded
        .send(root, "PUT", &format!("{LAB}/ws/clusters/x"), &json!({}))
        .expect(400);
    let line = guarded.audit().pop().unwrap();
    assert_eq!(
        (&line["status"], &line["code"]),
        (&json!(400), &json!("InvalidParameter"))
    );
    // A wrong token tells which one it claims to be, and no more.
    let wrong = format!("lote_{id}_{}", "S".repeat(43));
    guarded.expect_refused(Some(&wrong), "GET", "/v1/groups", &Value::Null, 401);
    let line = guarded.audit().pop().unwrap();
    assert_eq!((&line["who"], &line["claimed"]), (&Value::Null, &json!(id)));
    assert!(!line.to_string().contains("SSSS"));
    let first = &guarded.audit()[0];
    assert_eq!(first["who"], "open", "before there was a token: {first}");
}

#[test]
fn reads_are_written_down_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let file = path.clone();
    let daemon = Daemon::start_configured(move |config| {
        config.audit = Some(AuditLog::open(&file, Rotation::default()).unwrap());
        config.audit_reads = true;
    });
    daemon.get("/v1/groups").expect(200);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"permission\":\"groups/read\""), "{text}");
}

/// A log on a disk that can be full.
#[derive(Clone, Default)]
struct Disk {
    full: Arc<AtomicBool>,
    fills_up_later: Arc<AtomicBool>,
}

impl Disk {
    fn result(flag: &AtomicBool) -> io::Result<()> {
        if flag.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl AuditSink for Disk {
    fn make_room(&mut self) -> io::Result<()> {
        Self::result(&self.full)
    }

    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Self::result(&self.full)?;
        Self::result(&self.fills_up_later)
    }
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let disk = Disk::default();
    let sink = disk.clone();
    let daemon = Daemon::start_configured(move |config| {
        config.audit = Some(AuditLog::to(Box::new(sink.clone())).unwrap());
    });
    daemon.furnish();
    disk.full.store(true, Ordering::SeqCst);
    // The thread learns of it with the next line; from then on nothing is done.
    let url = format!("{LAB}/ws/experiments/x");
    daemon
        .put(&url, &json!({}))
        .expect_error(503, "AuditLogUnavailable");
    let revision = daemon.revision();
    let reply = daemon.put(&format!("{LAB}/ws/experiments/y"), &json!({}));
    reply.expect_error(503, "AuditLogUnavailable");
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(daemon.revision(), revision);
    // Reads go on.
    daemon.get("/v1/groups").expect(200);
    disk.full.store(false, Ordering::SeqCst);
    daemon
        .put(&format!("{LAB}/ws/experiments/y"), &json!({}))
        .expect(200);
    // Should a line fail after the change, the caller is not told that all is well.
    disk.fills_up_later.store(true, Ordering::SeqCst);
    let reply = daemon.put(&format!("{LAB}/ws/experiments/z"), &json!({}));
    let error = reply.expect_error(503, "AuditLogUnavailable");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("may have been made"),
        "{error}"
    );
}
