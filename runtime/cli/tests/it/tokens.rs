//! `lote token`.

use serde_json::{Value, json};

use crate::stub::{Reply, Request, Stub};
use crate::terminal::run;

const ID: &str = "00000000000000a1";

fn made(by: &str) -> Value {
    json!({"id": format!("/v1/tokens/{ID}"), "name": ID, "properties": {
        "displayName": "ci", "role": "reader", "state": "active", "lastFour": "wxyz",
        "createdBy": by, "token": format!("lote_{ID}_abcwxyz")}})
}

fn properties(request: &Request) -> Value {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    body["properties"].clone()
}

#[test]
fn a_new_token_stands_alone_on_standard_output() {
    let stub = Stub::start(|_| Reply::json(201, &made(ID)));
    let line = "token create --name ci --role reader -g lab -w ws --expires-in 30d";
    let run = run(&stub.url, line);
    assert_eq!(
        (run.code, run.out),
        (0, format!("lote_{ID}_abcwxyz\n")),
        "{}",
        run.err
    );
    assert!(run.err.contains("shown this once"), "{}", run.err);
    assert!(!run.err.contains("abcwxyz"), "{}", run.err);
    assert!(!run.err.contains("first token"), "{}", run.err);
    let sent = &stub.requests()[0];
    assert_eq!(sent.line(), "POST /v1/tokens");
    assert_eq!(
        properties(sent),
        json!({"role": "reader", "displayName": "ci", "expiresIn": "P30D",
            "scope": {"group": "lab", "workspace": "ws"}})
    );
}

#[test]
fn whoever_makes_the_first_token_is_told_what_changes() {
    let stub = Stub::start(|_| Reply::json(201, &made("open")));
    let run = run(&stub.url, "token create --role admin");
    assert_eq!(properties(&stub.requests()[0]), json!({"role": "admin"}));
    assert!(
        run.err.contains("answers nobody without one"),
        "{}",
        run.err
    );
    assert!(run.err.contains("LOTE_TOKEN"), "{}", run.err);
}

#[test]
fn a_token_to_join_with_says_how() {
    let text = format!("lotejoin_{ID}_abcwxyz");
    let shown = text.clone();
    let stub = Stub::start(move |_| {
        let mut made = made(ID);
        made["properties"]["role"] = json!("node");
        made["properties"]["usesLeft"] = json!(3);
        made["properties"]["token"] = json!(shown);
        Reply::json(201, &made)
    });
    // A group that this shell is set to is no scope for machines.
    let run_node = run(
        &stub.url,
        "-g lab token create --node --uses 3 --expires-in 4h",
    );
    assert_eq!(
        (run_node.code, run_node.out),
        (0, format!("{text}\n")),
        "{}",
        run_node.err
    );
    assert!(run_node.err.contains("LOTE_JOIN_TOKEN"), "{}", run_node.err);
    assert!(
        run_node.err.contains("lote node --join"),
        "{}",
        run_node.err
    );
    assert!(run_node.err.contains("3 machines"), "{}", run_node.err);
    assert!(!run_node.err.contains("abcwxyz"), "{}", run_node.err);
    assert_eq!(
        properties(&stub.requests()[0]),
        json!({"role": "node", "uses": 3, "expiresIn": "PT4H"})
    );
}

#[test]
fn a_token_is_revoked_by_its_id_or_its_text() {
    let stub = Stub::start(|_| Reply::Whole(200, Vec::new(), String::new()));
    for named in [
        ID.to_owned(),
        format!("lote_{ID}_secret"),
        ID.to_uppercase(),
    ] {
        let run = run(&stub.url, &format!("token revoke --yes {named}"));
        assert_eq!(run.code, 0, "{}", run.err);
        assert!(
            run.err.contains(&format!("revoked token {ID}")),
            "{}",
            run.err
        );
    }
    for request in stub.requests() {
        assert_eq!(request.line(), format!("DELETE /v1/tokens/{ID}"));
    }
    assert_eq!(
        run(&stub.url, &format!("token revoke {ID}")).code,
        2,
        "it asks first"
    );
    let run = run(&stub.url, "token revoke --yes ../groups/lab");
    assert_eq!(run.code, 2);
    assert_eq!(stub.requests().len(), 3);
}

#[test]
fn a_refused_token_says_where_to_put_another() {
    let stub = Stub::start(|_| Reply::error(401, "AuthenticationFailed", "the token has expired"));
    let run = run(&stub.url, "--token lote_x job list");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("the token has expired"), "{}", run.err);
    assert!(run.err.contains("LOTE_TOKEN"), "{}", run.err);
}
