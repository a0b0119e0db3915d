//! What is wrong with a request is told with code, sentence and target, and
//! nothing is stored.

use serde_json::{Value, json};

use crate::daemon::{Daemon, LAB, cluster_body, job_body, job_url, rm};

/// A body with one member of `properties` replaced, or removed by null-as-text.
fn with(mut body: Value, member: &str, value: Value) -> Value {
    body["properties"][member] = value;
    body
}

fn without(mut body: Value, member: &str) -> Value {
    body["properties"].as_object_mut().unwrap().remove(member);
    body
}

#[test]
fn job_bodies() {
    let daemon = Daemon::start();
    daemon.furnish();
    let revision = daemon.revision();
    let cases = [
        (
            with(job_body(), "nodeCount", json!("1")),
            "/properties/nodeCount",
        ),
        (
            with(job_body(), "nodeCount", json!(0)),
            "/properties/nodeCount",
        ),
        (
            with(job_body(), "nodeCount", json!(1.5)),
            "/properties/nodeCount",
        ),
        (
            with(job_body(), "nodecount", json!(1)),
            "/properties/nodecount",
        ),
        (
            with(job_body(), "cluster", json!({"id": "c"})),
            "/properties/cluster/id",
        ),
        (
            with(job_body(), "cluster", json!("c")),
            "/properties/cluster",
        ),
        (
            with(
                job_body(),
                "pyTorchSettings",
                json!({"pythonScriptFilePath": "x"}),
            ),
            "/properties/pyTorchSettings",
        ),
        (
            with(job_body(), "customToolkitSettings", json!({})),
            "/properties/customToolkitSettings/commandLine",
        ),
        (
            with(job_body(), "containerSettings", json!({})),
            "/properties/containerSettings",
        ),
        (
            with(
                job_body(),
                "outputDirectories",
                json!([{"id": "stdouterr", "pathPrefix": "/"}]),
            ),
            "/properties/outputDirectories/0/id",
        ),
        (json!({}), "/properties"),
        (json!({"properties": []}), "/properties"),
    ];
    for (body, target) in cases {
        let reply = daemon.put(&job_url("j"), &body);
        assert_eq!(reply.status, 400, "{body}");
        let error = &reply.json()["error"];
        assert_eq!(error["target"], target, "{body} gave {error}");
        assert!(
            error["code"].is_string() && error["message"].as_str().unwrap().contains(' '),
            "{error}"
        );
    }
    for (body, told) in [
        (without(job_body(), "nodeCount"), "nodeCount"),
        (
            without(job_body(), "stdOutErrPathPrefix"),
            "stdOutErrPathPrefix",
        ),
        (
            without(job_body(), "customToolkitSettings"),
            "customToolkitSettings",
        ),
    ] {
        let reply = daemon.put(&job_url("j"), &body);
        assert_eq!(reply.status, 400);
        assert!(
            reply.json()["error"]["message"]
                .as_str()
                .unwrap()
                .contains(told),
            "{}",
            reply.text()
        );
    }
    for body in [
        "",
        "{",
        "[]",
        "1",
        "nul",
        "{\"properties\": {}",
        "\u{feff}{}",
        "{\"properties\":{\"nodeCount\":1,}}",
    ] {
        let reply = daemon.request(
            "PUT",
            &job_url("j"),
            &[("content-type", "application/json")],
            body.as_bytes(),
        );
        reply.expect_error(400, "InvalidRequestContent");
    }
    assert_eq!(daemon.revision(), revision, "nothing was stored");
}

#[test]
fn other_bodies() {
    let daemon = Daemon::start();
    daemon.furnish();
    let revision = daemon.revision();
    let cluster = rm("/workspaces/ws/clusters/new");
    for (url, body, target) in [
        (
            &cluster,
            with(cluster_body(), "vmSize", json!(1)),
            "/properties/vmSize",
        ),
        (
            &cluster,
            with(cluster_body(), "vmSize", json!(" ")),
            "/properties/vmSize",
        ),
        (
            &cluster,
            with(
                cluster_body(),
                "scaleSettings",
                json!({"manual": {"targetNodeCount": -1}}),
            ),
            "/properties/scaleSettings/manual/targetNodeCount",
        ),
        (
            &cluster,
            with(cluster_body(), "nodeSetup", json!({"setupTask": {}})),
            "/properties/nodeSetup/setupTask",
        ),
        (&rm("/workspaces/new"), json!({}), "/location"),
        (&rm("/workspaces/new"), json!({"location": ""}), "/location"),
        (&rm("/workspaces/new"), json!({"location": 1}), "/location"),
        (
            &rm("/workspaces/new"),
            json!({"location": "l", "tags": {"a": 1}}),
            "/tags/a",
        ),
    ] {
        let error = daemon.put(url, &body).expect_error(400, "InvalidParameter");
        assert_eq!(error["target"], target, "{error}");
    }
    daemon
        .request("PUT", &rm("/workspaces/ws/experiments/x"), &[], b"{")
        .expect_error(400, "InvalidRequestContent");
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn names() {
    let daemon = Daemon::start();
    daemon.furnish();
    let revision = daemon.revision();
    let long = "x".repeat(65);
    for bad in ["a.b", "a%20b", "%C3%A4", &long, "%2e%2e", "a%2Fb", "%00"] {
        let error = daemon
            .put(&job_url(bad), &job_body())
            .expect_error(400, "InvalidResourceName");
        assert_eq!(error["target"], "jobName");
        daemon
            .put(&format!("{LAB}/{bad}"), &json!({}))
            .expect_error(400, "InvalidResourceName");
        daemon
            .put(&format!("{LAB}/ws/clusters/{bad}"), &cluster_body())
            .expect_error(400, "InvalidResourceName");
    }
    daemon
        .get(&job_url("%ff"))
        .expect_error(400, "InvalidResourceName");
    daemon
        .put("/v1/groups/a%20b", &json!({}))
        .expect_error(400, "InvalidResourceName");
    let url = "/subscriptions/..%2f..%2fetc/resourceGroups/g/providers/Microsoft.BatchAI/workspaces/w?api-version=2018-05-01";
    daemon
        .put(url, &json!({"location": "l"}))
        .expect_error(400, "InvalidSubscriptionId");
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn huge_bodies() {
    let daemon = Daemon::start();
    daemon.furnish();
    let revision = daemon.revision();
    let huge = vec![b' '; (4 << 20) + 1];
    daemon
        .request("PUT", &job_url("j"), &[], &huge)
        .expect_error(413, "RequestBodyTooLarge");
    daemon
        .request("PUT", &job_url("j"), &[], &vec![b'x'; 40 << 20])
        .expect_error(413, "RequestBodyTooLarge");
    // Within the limit of the interface, too large for the store.
    let values: Vec<Value> = (0..30)
        .map(|index| json!({"name": format!("V{index}"), "value": "x".repeat(100_000)}))
        .collect();
    daemon
        .put(
            &job_url("j"),
            &with(job_body(), "environmentVariables", json!(values)),
        )
        .expect_error(413, "RequestBodyTooLarge");
    assert_eq!(daemon.revision(), revision);
    daemon.submit("j");
}

#[test]
fn versions() {
    let daemon = Daemon::start();
    daemon.furnish();
    let path = "/subscriptions/s/resourceGroups/lab/providers/Microsoft.BatchAI/workspaces/ws";
    let error = daemon
        .get(path)
        .expect_error(400, "MissingApiVersionParameter");
    assert!(error["message"].as_str().unwrap().contains("2018-05-01"));
    let error = daemon
        .get(&format!("{path}?api-version=2017-09-01-preview"))
        .expect_error(400, "InvalidApiVersionParameter");
    assert!(error["message"].as_str().unwrap().contains("2018-05-01"));
    daemon
        .get(&format!("{path}?API-Version=2018-05-01"))
        .expect(200);
    daemon.get(&format!("{LAB}/ws?api-version=1")).expect(200);
    daemon
        .get("/subscriptions/s/resourceGroups/lab?api-version=2024-11-01")
        .expect(200);
}
