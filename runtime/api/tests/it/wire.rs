//! HTTP itself: unknown paths, methods, headers, hosts, connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::daemon::{Daemon, LAB, rm};

/// Sends bytes as they are and reads until the other side closes or resets.
fn raw(daemon: &Daemon, request: &str) -> String {
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    let sent = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        !answer.is_empty() || sent.is_err() || read.is_err(),
        "closed without a word"
    );
    answer
}

#[test]
fn unknown_paths_and_methods_are_told_in_the_envelope() {
    let daemon = Daemon::start();
    for path in [
        "/",
        "/nothing",
        "/v1",
        "/v1/groups/g/x",
        "/v1/groups/g/workspaces/w/experiments/",
        "/files/x",
        "/%zz",
    ] {
        daemon.get(path).expect_error(404, "ResourceNotFound");
    }
    daemon
        .get(&format!(
            "/subscriptions/s/nothing?{}",
            crate::daemon::VERSION
        ))
        .expect_error(404, "ResourceNotFound");
    let reply = daemon.put("/v1/nodes", &json!({}));
    reply.expect_error(405, "MethodNotAllowed");
    assert!(reply.header("allow").contains("GET"), "{reply:?}");
    daemon
        .get(&rm("/workspaces/w/experiments/e/jobs/j/terminate"))
        .expect_error(405, "MethodNotAllowed");
}

#[test]
fn every_answer_has_a_request_id() {
    let daemon = Daemon::start();
    for path in ["/healthz", "/nothing", "/subscriptions/s/resourceGroups/g"] {
        let reply = daemon.request("GET", path, &[("x-ms-client-request-id", "abc-1")], b"");
        assert_eq!(reply.header("x-ms-client-request-id"), "abc-1");
        assert_eq!(reply.header("x-ms-request-id").len(), 36);
    }
}

#[test]
fn a_bad_host_does_not_get_into_urls() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.submit("j");
    let path = rm("/workspaces/ws/experiments/e/jobs/j");
    for (host, expected) in [
        ("gate.example:99", "http://gate.example:99/".to_owned()),
        ("evil\"/<x>", format!("http://{}/", daemon.address)),
        ("user@evil", format!("http://{}/", daemon.address)),
        ("", format!("http://{}/", daemon.address)),
    ] {
        let answer = raw(
            &daemon,
            &format!("DELETE {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        );
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("location: "))
            .unwrap();
        assert!(location.starts_with(&expected), "{host}: {location}");
    }
}

#[test]
fn heads_have_limits() {
    let daemon = Daemon::start();
    let long = "x".repeat(1_000_000);
    let answer = raw(
        &daemon,
        &format!("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {long}\r\n\r\n"),
    );
    // The answer is lost when the system resets the connection over the unread rest.
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let many = "X: 1\r\n".repeat(200);
    let answer = raw(
        &daemon,
        &format!("GET /healthz HTTP/1.1\r\nHost: h\r\n{many}\r\n"),
    );
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = raw(&daemon, "NONSENSE\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    daemon.get("/healthz").expect(200);
}

#[test]
fn heads_and_bodies_that_do_not_come_are_not_waited_for() {
    let daemon = Daemon::start_configured(|config| {
        config.head_timeout = Duration::from_millis(200);
        config.body_timeout = Duration::from_millis(200);
    });
    daemon.furnish();
    let revision = daemon.revision();
    let slow = |request: &str| {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for head in ["", "GET /healthz HTTP/1.1\r\nHost: h\r\n"] {
        let answer = slow(head);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
    }
    let body =
        format!("PUT {LAB}/ws/clusters/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{{");
    let answer = slow(&body);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("RequestTimeout"), "{answer}");
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn a_body_that_breaks_off_stores_nothing() {
    let daemon = Daemon::start();
    daemon.furnish();
    let revision = daemon.revision();
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream
        .write_all(
            format!(
                "PUT {LAB}/ws/experiments/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{{}}"
            )
            .as_bytes(),
        )
        .unwrap();
    drop(stream);
    daemon.get("/healthz").expect(200);
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn a_store_that_does_not_answer_is_503() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.store.break_down(true);
    for path in [
        format!("{LAB}/ws"),
        "/readyz".into(),
        rm("/workspaces/ws/clusters"),
    ] {
        let reply = daemon.get(&path);
        reply.expect_error(503, "StoreUnavailable");
        assert_eq!(reply.header("retry-after"), "1");
    }
    daemon
        .put(&crate::daemon::job_url("j"), &crate::daemon::job_body())
        .expect_error(503, "StoreUnavailable");
    daemon.get("/healthz").expect(200);
    daemon.store.break_down(false);
    daemon.get(&format!("{LAB}/ws")).expect(200);
}
