//! Bad input gets a clear error and changes nothing.

use lote_tests::client::{Answer, shell_job};
use lote_tests::daemon::Daemon;
use serde_json::{Value, json};

fn with(member: &str, value: Value) -> String {
    let mut job = shell_job("true");
    job[member] = value;
    json!({"properties": job}).to_string()
}

fn without(member: &str) -> String {
    let mut job = shell_job("true");
    job.as_object_mut().unwrap().remove(member);
    json!({"properties": job}).to_string()
}

fn assert_refused(answer: &Answer, status: u16, target: Option<&str>, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert!(!answer.error_code().is_empty(), "{what}: {answer:?}");
    let message = answer.json["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(' '), "{what}: a sentence, not {message:?}");
    if let Some(target) = target {
        assert_eq!(answer.json["error"]["target"], target, "{what}: {answer:?}");
    }
}

#[test]
fn wrong_jobs_are_refused_with_code_sentence_and_target() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = format!("{experiment}/jobs/j");
    let cases = [
        ("broken JSON", "{\"properties\": {".to_owned(), None),
        ("no object", "[1]".to_owned(), None),
        ("no properties", "{}".to_owned(), Some("/properties")),
        ("missing member", without("nodeCount"), None),
        (
            "missing framework",
            without("customToolkitSettings"),
            Some("/properties"),
        ),
        (
            "extra member",
            with("nodeCuont", json!(1)),
            Some("/properties/nodeCuont"),
        ),
        (
            "wrong type",
            with("nodeCount", json!("two")),
            Some("/properties/nodeCount"),
        ),
        (
            "out of range",
            with("nodeCount", json!(0)),
            Some("/properties/nodeCount"),
        ),
        (
            "two frameworks",
            with("pyTorchSettings", json!({"pythonScriptFilePath": "a.py"})),
            None,
        ),
        (
            "unknown framework",
            with("rayClusterSettings", json!({})),
            None,
        ),
        (
            "bad cluster id",
            with("cluster", json!({"id": "local"})),
            Some("/properties/cluster/id"),
        ),
        (
            "refused by the plugin",
            with("customToolkitSettings", json!({"commandLine": 7})),
            Some("/properties/customToolkitSettings/commandLine"),
        ),
    ];
    for (what, body, target) in cases {
        let answer = client.try_send("PUT", &path, Some(&body)).unwrap();
        assert_refused(&answer, 400, target, what);
    }
    let unknown = with(
        "cluster",
        json!({"id": "/v1/groups/default/workspaces/default/clusters/none"}),
    );
    let answer = client.try_send("PUT", &path, Some(&unknown)).unwrap();
    assert!((400..500).contains(&answer.status), "{answer:?}");
    let bad_name = client.put(
        &format!("{experiment}/jobs/a.b"),
        &json!({"properties": shell_job("true")}),
    );
    assert_refused(&bad_name, 400, None, "bad name");
    let huge = with("stdOutErrPathPrefix", json!("x".repeat(5 << 20)));
    let answer = client.try_send("PUT", &path, Some(&huge)).unwrap();
    assert_refused(&answer, 413, None, "huge body");
    let listed = client.get(&format!("{experiment}/jobs"));
    assert_eq!(listed.json, json!({"value": []}), "nothing was stored");
}

#[test]
fn the_same_put_again_is_no_second_job() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "Job", &shell_job("echo once"));
    let again = client.put(
        &format!("{experiment}/jobs/JOB"),
        &json!({"properties": shell_job("echo once")}),
    );
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.json["name"], "Job", "the first spelling stays");
    let other = client.put(&path, &json!({"properties": shell_job("echo other")}));
    assert_eq!(other.status, 409, "{other:?}");
    client.wait_for_end(&path);
    assert_eq!(client.stdout(&path), "once\n");
}
