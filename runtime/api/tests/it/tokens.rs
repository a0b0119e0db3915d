//! Tokens as resources: the first one, their life, and what ends with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lote_api::OperatorTokens;
use lote_model::access::token::TokenRecord;
use lote_model::key;
use serde_json::{Value, json};

use crate::access::{Guarded, make, send};
use crate::daemon::{Daemon, job_url, redacted, wait_until};

fn id(token: &str) -> &str {
    token.split('_').nth(1).unwrap()
}

fn url(token: &str) -> String {
    format!("/v1/tokens/{}", id(token))
}

#[test]
fn while_no_token_exists_anybody_may() {
    let daemon = Daemon::start();
    for bearer in [None, Some("any-string"), Some("a.b.c"), Some("lote_x_y")] {
        send(&daemon, bearer, "GET", "/v1/groups", &Value::Null).expect(200);
    }
    let list = send(&daemon, None, "GET", "/v1/tokens", &Value::Null).expect(200);
    assert_eq!(list, json!({"value": []}));
    // But no page that a browser on this machine shows.
    let page = [("origin", "http://example.org")];
    let reply = daemon.request("PUT", "/v1/groups/lab", &page, b"{}");
    reply.expect_error(403, "AuthorizationFailed");
}

#[test]
fn the_first_token_is_an_administrators_and_closes_the_door() {
    let mut daemon = Daemon::start();
    daemon.furnish();
    for properties in [
        json!({"role": "contributor"}),
        json!({"role": "reader"}),
        json!({"role": "admin", "scope": {"group": "lab"}}),
    ] {
        let body = json!({"properties": properties});
        let reply = send(&daemon, None, "POST", "/v1/tokens", &body);
        reply.expect_error(400, "FirstTokenMustBeAdmin");
        daemon.get("/v1/groups").expect(200);
    }
    let root = make(
        &daemon,
        None,
        &json!({"role": "admin", "displayName": "root"}),
    );
    let body = json!({"properties": {"role": "admin"}});
    send(&daemon, None, "POST", "/v1/tokens", &body).expect_error(401, "AuthenticationFailed");
    daemon
        .get("/v1/groups")
        .expect_error(401, "AuthenticationFailed");
    send(&daemon, Some(&root), "GET", "/v1/groups", &Value::Null).expect(200);
    // Clients that insist on the shape of a JSON Web Token.
    let wrapped = format!("e30.e30.{root}");
    send(&daemon, Some(&wrapped), "GET", "/v1/groups", &Value::Null).expect(200);
    // It is in the store, so it stays closed.
    daemon.restart();
    daemon
        .get("/v1/groups")
        .expect_error(401, "AuthenticationFailed");
    send(&daemon, Some(&root), "GET", "/v1/groups", &Value::Null).expect(200);
}

#[test]
fn a_token_is_shown_once_and_stored_as_a_hash() {
    let guarded = Guarded::start();
    let body = json!({"properties": {
        "role": "contributor", "displayName": "ci", "expiresIn": "P30D",
        "scope": {"group": "lab", "workspace": "ws"}}});
    let reply = guarded.send(Some(&guarded.root), "POST", "/v1/tokens", &body);
    assert_eq!(reply.header("cache-control"), "no-store");
    let made = reply.expect(201);
    let text = made["properties"]["token"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), url(&text));
    let read = guarded.send(Some(&guarded.root), "GET", &url(&text), &Value::Null);
    let mut shown = read.expect(200);
    let known = [
        (id(&text), "[id]"),
        (id(&guarded.root), "[root]"),
        (&text[text.len() - 4..], "[last]"),
    ];
    let mut printed = shown.to_string();
    for (value, name) in known {
        printed = printed.replace(value, name);
    }
    shown = serde_json::from_str(&printed).unwrap();
    insta::assert_json_snapshot!(redacted(&guarded.daemon, &shown), @r#"
    {
      "id": "/v1/tokens/[id]",
      "name": "[id]",
      "properties": {
        "createdAt": "2018-07-02T10:00:00Z",
        "createdBy": "[root] (root)",
        "displayName": "ci",
        "expiresAt": "2018-08-01T10:00:00Z",
        "lastFour": "[last]",
        "role": "contributor",
        "scope": {
          "group": "lab",
          "workspace": "ws"
        },
        "state": "active"
      },
      "type": "Lote/tokens"
    }
    "#);
    // Nowhere in the store, in a list or in the audit log is the secret.
    let secret = text.splitn(3, '_').nth(2).unwrap();
    let list = guarded.send(Some(&guarded.root), "GET", "/v1/tokens", &Value::Null);
    assert!(!list.text().contains(secret));
    let record: TokenRecord = guarded
        .daemon
        .read(&format!("{}{}", key::TOKENS, id(&text)))
        .unwrap();
    assert!(!serde_json::to_string(&record).unwrap().contains(secret));
    assert!(
        guarded
            .audit()
            .iter()
            .all(|line| !line.to_string().contains(secret))
    );
}

#[test]
fn scopes_must_exist() {
    let guarded = Guarded::start();
    for (scope, code, target) in [
        (
            json!({"group": "lba"}),
            "ResourceGroupNotFound",
            "/properties/scope/group",
        ),
        (
            json!({"group": "lab", "workspace": "sw"}),
            "WorkspaceNotFound",
            "/properties/scope/workspace",
        ),
    ] {
        let body = json!({"properties": {"role": "reader", "scope": scope}});
        let reply = guarded.send(Some(&guarded.root), "POST", "/v1/tokens", &body);
        assert_eq!(reply.expect_error(400, code)["target"], target);
    }
}

#[test]
fn a_revoked_token_is_void_at_once_and_the_last_administrator_stays() {
    let guarded = Guarded::start();
    let root = Some(guarded.root.as_str());
    let last = guarded.send(root, "DELETE", &url(&guarded.root), &Value::Null);
    last.expect_error(409, "LastAdministrator");
    // One that ends soon, or reaches less, cannot stand in for it.
    guarded.token(&json!({"role": "admin", "scope": {"group": "lab"}}));
    let brief = guarded.token(&json!({"role": "admin", "expiresIn": "PT1M"}));
    guarded.daemon.advance(60);
    let last = guarded.send(root, "DELETE", &url(&guarded.root), &Value::Null);
    last.expect_error(409, "LastAdministrator");

    let other = guarded.token(&json!({"role": "admin"}));
    guarded
        .send(Some(&other), "DELETE", &url(&guarded.root), &Value::Null)
        .expect(200);
    guarded
        .send(root, "GET", "/v1/groups", &Value::Null)
        .expect_error(401, "AuthenticationFailed");
    guarded
        .send(Some(&other), "DELETE", &url(&guarded.root), &Value::Null)
        .expect(200);
    let state = |token: &str| {
        let shown = guarded.send(Some(&other), "GET", &url(token), &Value::Null);
        shown.expect(200)["properties"]["state"].clone()
    };
    assert_eq!(
        (state(&guarded.root), state(&brief)),
        (json!("revoked"), json!("expired"))
    );
    // What is not there is gone already; what cannot be read is not found.
    for missing in ["/v1/tokens/0123456789abcdef", "/v1/tokens/x"] {
        let gone = guarded.send(Some(&other), "DELETE", missing, &Value::Null);
        assert_eq!(gone.status, 204);
        guarded
            .send(Some(&other), "GET", missing, &Value::Null)
            .expect_error(404, "TokenNotFound");
    }
}

#[test]
fn two_administrators_cannot_revoke_each_other_at_the_same_time() {
    let guarded = Guarded::start();
    let other = guarded.token(&json!({"role": "admin"}));
    let (address, root) = (guarded.daemon.address, guarded.root.clone());
    let revoke = move |by: String, whom: String| {
        std::thread::spawn(move || {
            let url = format!("http://{address}/v1/tokens/{}", id(&whom));
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .build()
                .into();
            let request = agent
                .delete(&url)
                .header("authorization", format!("Bearer {by}"));
            request.call().unwrap().status().as_u16()
        })
    };
    let both = [
        revoke(root.clone(), other.clone()),
        revoke(other.clone(), root.clone()),
    ];
    let mut statuses = both.map(|thread| thread.join().unwrap());
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200, "{statuses:?}");
    assert!([401, 409].contains(&statuses[1]), "{statuses:?}");
    let alive = [root, other].into_iter().filter(|token| {
        guarded
            .send(Some(token), "GET", "/v1/groups", &Value::Null)
            .status
            == 200
    });
    assert_eq!(alive.count(), 1);
}

#[test]
fn tokens_of_no_more_use_are_forgotten_after_a_while() {
    let guarded = Guarded::start();
    guarded.token(&json!({"role": "reader", "expiresIn": "P1D"}));
    let count = || {
        let list = guarded.send(Some(&guarded.root), "GET", "/v1/tokens", &Value::Null);
        list.expect(200)["value"].as_array().unwrap().len()
    };
    guarded.daemon.advance(91 * 86_400);
    guarded.token(&json!({"role": "reader"}));
    assert_eq!(count(), 3);
    guarded.daemon.advance(86_400);
    guarded.token(&json!({"role": "reader"}));
    assert_eq!(count(), 3);
}

#[test]
fn tokens_of_the_operators_file_administer() {
    let text = "a".repeat(40);
    let file = format!("ops {text}\n");
    let daemon = Daemon::start_configured(move |config| {
        config.operator_tokens = OperatorTokens::parse(&file).unwrap();
    });
    daemon
        .get("/v1/groups")
        .expect_error(401, "AuthenticationFailed");
    let wrong = "b".repeat(40);
    send(&daemon, Some(&wrong), "GET", "/v1/groups", &Value::Null).expect(401);
    send(&daemon, Some(&text), "PUT", "/v1/groups/lab", &json!({})).expect(200);
    // It may make any first token, and take the last one back.
    let reader = make(&daemon, Some(&text), &json!({"role": "reader"}));
    send(&daemon, Some(&reader), "GET", "/v1/groups", &Value::Null).expect(200);
    let root = make(&daemon, Some(&text), &json!({"role": "admin"}));
    send(&daemon, Some(&text), "DELETE", &url(&root), &Value::Null).expect(200);
}

/// A request whose answer does not end by itself.
fn open_stream(guarded: &Guarded, token: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(guarded.daemon.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let path = format!("{}/events", job_url("j"));
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.contains("200"), "{line}");
    while !line.contains("queued") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "no event came");
    }
    reader
}

/// Reads to the end, which comes although the job has not ended, and without the
/// chunk that says that all is there.
fn expect_broken_off(mut stream: BufReader<TcpStream>) {
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[test]
fn open_streams_end_with_their_token() {
    let guarded = Guarded::start();
    let revoked = guarded.token(&json!({"role": "reader"}));
    let expiring = guarded.token(&json!({"role": "reader", "expiresIn": "PT1H"}));
    let streams = [&revoked, &expiring, &guarded.root].map(|token| open_stream(&guarded, token));
    let [first, second, mut third] = streams;
    guarded
        .send(Some(&guarded.root), "DELETE", &url(&revoked), &Value::Null)
        .expect(200);
    expect_broken_off(first);
    guarded.daemon.advance(3_600);
    expect_broken_off(second);
    // Others go on.
    let end = crate::daemon::succeeded(&guarded.daemon.job("j"), guarded.daemon.now());
    guarded.daemon.set_status(&end, "j");
    let mut rest = String::new();
    wait_until("the end is told", || {
        let read = third.read_line(&mut rest).unwrap();
        assert!(read > 0, "broke off: {rest}");
        rest.contains("succeeded")
    });
}
