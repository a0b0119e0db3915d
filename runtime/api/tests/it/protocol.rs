//! The tables of capabilities §4.1 to §4.6, line by line.

use lote_store::Transaction;
use serde_json::{Value, json};

use crate::daemon::{
    Daemon, PROVIDER, VERSION, cluster_body, job_body, job_path, rm, rm_job, running, succeeded,
};

const EMPTY: &str = "";

/// An operation: its number in §4.1, method, path, body, and the status that a
/// first call and the same call again get.
type Line = (u8, &'static str, String, String, [u16; 2]);

fn file_server_body() -> Value {
    json!({"properties": {
        "vmSize": "cpu", "sshConfiguration": {"userAccountSettings": {"adminUserName": "ops"}},
        "dataDisks": {"diskSizeInGB": 1, "diskCount": 1, "storageAccountType": "Standard_LRS"}}})
}

fn provider(rest: &str) -> String {
    format!("/subscriptions/sub/providers/Microsoft.BatchAI{rest}?{VERSION}")
}

/// All 29 in an order in which each finds what it needs.
fn lines() -> Vec<Line> {
    let line = |number, method, path: String, body: &Value, statuses| {
        let body = if body.is_null() {
            EMPTY.to_owned()
        } else {
            body.to_string()
        };
        (number, method, path, body, statuses)
    };
    let none = Value::Null;
    let (cluster, server) = (
        rm("/workspaces/ws/clusters/c"),
        rm("/workspaces/ws/fileServers/f"),
    );
    let experiment = rm("/workspaces/ws/experiments/e");
    let scale = json!({"properties": {"scaleSettings": {"manual": {"targetNodeCount": 2}}}});
    let files = rm_job("j", "/listOutputFiles?outputdirectoryid=stdouterr");
    let of_cluster = rm("/workspaces/ws/clusters/c/listRemoteLoginInformation");
    vec![
        line(
            1,
            "GET",
            format!("/providers/Microsoft.BatchAI/operations?{VERSION}"),
            &none,
            [200, 200],
        ),
        line(
            2,
            "GET",
            provider("/locations/local/usages"),
            &none,
            [200, 200],
        ),
        line(
            5,
            "PUT",
            rm("/workspaces/ws"),
            &json!({"location": "local"}),
            [200, 200],
        ),
        line(3, "GET", provider("/workspaces"), &none, [200, 200]),
        line(4, "GET", rm("/workspaces"), &none, [200, 200]),
        line(
            6,
            "PATCH",
            rm("/workspaces/ws"),
            &json!({"tags": {"a": "b"}}),
            [200, 200],
        ),
        line(8, "GET", rm("/workspaces/ws"), &none, [200, 200]),
        line(10, "PUT", experiment.clone(), &none, [200, 200]),
        line(
            9,
            "GET",
            rm("/workspaces/ws/experiments"),
            &none,
            [200, 200],
        ),
        line(12, "GET", experiment.clone(), &none, [200, 200]),
        line(25, "PUT", cluster.clone(), &cluster_body(), [200, 200]),
        line(24, "GET", rm("/workspaces/ws/clusters"), &none, [200, 200]),
        line(26, "PATCH", cluster.clone(), &scale, [200, 200]),
        line(28, "GET", cluster.clone(), &none, [200, 200]),
        line(29, "POST", of_cluster, &none, [200, 200]),
        line(21, "PUT", server.clone(), &file_server_body(), [202, 200]),
        line(
            20,
            "GET",
            rm("/workspaces/ws/fileServers"),
            &none,
            [200, 200],
        ),
        line(23, "GET", server.clone(), &none, [200, 200]),
        line(14, "PUT", rm_job("j", ""), &job_body(), [200, 200]),
        line(
            13,
            "GET",
            rm("/workspaces/ws/experiments/e/jobs"),
            &none,
            [200, 200],
        ),
        line(16, "GET", rm_job("j", ""), &none, [200, 200]),
        line(17, "POST", files, &none, [200, 200]),
        line(
            18,
            "POST",
            rm_job("j", "/listRemoteLoginInformation"),
            &none,
            [200, 200],
        ),
        line(19, "POST", rm_job("j", "/terminate"), &none, [202, 202]),
        line(15, "DELETE", rm_job("j", ""), &none, [202, 202]),
        line(22, "DELETE", server, &none, [202, 202]),
        line(27, "DELETE", cluster, &none, [202, 202]),
        line(11, "DELETE", experiment, &none, [202, 202]),
        line(7, "DELETE", rm("/workspaces/ws"), &none, [202, 202]),
    ]
}

#[test]
fn each_operation_answers_with_the_codes_of_the_table() {
    let daemon = Daemon::start();
    let mut seen: Vec<u8> = Vec::new();
    for (number, method, path, body, statuses) in lines() {
        // Clients say JSON also where there is no body.
        let headers = [("content-type", "application/json; charset=utf-8")];
        for (time, status) in statuses.into_iter().enumerate() {
            let reply = daemon.request(method, &path, &headers, body.as_bytes());
            let told = format!("{number} {method} {path}, call {time}: {}", reply.text());
            assert_eq!(reply.status, status, "{told}");
            let waits = status == 202;
            assert_eq!(reply.bytes.is_empty(), waits, "{told}");
            assert_eq!(
                reply.header("azure-asyncoperation").starts_with("http://"),
                waits,
                "{told}"
            );
            assert_eq!(
                reply.header("location").starts_with("http://"),
                waits,
                "{told}"
            );
            assert_eq!(
                reply.header("retry-after"),
                if waits { "1" } else { "" },
                "{told}"
            );
        }
        seen.push(number);
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=29).collect::<Vec<u8>>());
}

#[test]
fn deletions_of_what_is_not_there_find_nothing_to_do() {
    let daemon = Daemon::start();
    for (number, method, path, _, _) in lines().into_iter().filter(|line| line.1 == "DELETE") {
        assert_eq!(
            daemon.request(method, &path, &[], b"").status,
            204,
            "{number}"
        );
    }
}

#[test]
fn what_is_missing_is_named_from_the_outside_in() {
    let daemon = Daemon::start();
    let reads: Vec<String> = [
        "",
        "/clusters/c",
        "/fileServers/f",
        "/experiments/e",
        "/experiments/e/jobs/j",
        "/clusters",
    ]
    .map(|rest| rm(&format!("/workspaces/ws{rest}")))
    .into();
    let expect = |codes: [&str; 6]| {
        for (path, code) in reads.iter().zip(codes) {
            daemon.get(path).expect_error(404, code);
            let head = daemon.request("HEAD", path, &[], b"");
            assert_eq!((head.status, head.bytes.len()), (404, 0), "{path}");
        }
    };
    daemon
        .get(&rm("/workspaces"))
        .expect_error(404, "ResourceGroupNotFound");
    expect(["ResourceGroupNotFound"; 6]);
    daemon.put("/v1/groups/lab", &json!({})).expect(200);
    assert_eq!(
        daemon.get(&rm("/workspaces")).expect(200),
        json!({"value": []})
    );
    expect(["WorkspaceNotFound"; 6]);
    daemon
        .put(&rm("/workspaces/ws"), &json!({"location": "l"}))
        .expect(200);
    daemon.get(&reads[1]).expect_error(404, "ClusterNotFound");
    daemon
        .get(&reads[2])
        .expect_error(404, "FileServerNotFound");
    daemon
        .get(&reads[3])
        .expect_error(404, "ExperimentNotFound");
    daemon
        .get(&reads[4])
        .expect_error(404, "ExperimentNotFound");
    daemon.put(&reads[3], &json!({})).expect(200);
    let error = daemon.get(&reads[4]).expect_error(404, "JobNotFound");
    assert_eq!(error["message"], "The specified job j is not found");
    assert_eq!(daemon.request("HEAD", &reads[3], &[], b"").status, 200);
}

#[test]
fn termination_of_a_job_that_has_ended_is_200_without_headers() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    daemon.set_status(&running(&record, daemon.now()), "j");
    let live = daemon.post(&rm_job("j", "/terminate"));
    assert_eq!(live.status, 202, "never 204");
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    let revision = daemon.revision();
    let reply = daemon.post(&rm_job("j", "/terminate"));
    assert_eq!((reply.status, reply.bytes.len()), (200, 0));
    assert!(reply.header("azure-asyncoperation").is_empty());
    assert_eq!(daemon.revision(), revision);
    daemon.commit(Transaction::new().delete(lote_model::key::job(&job_path("j"))));
    assert_eq!(daemon.get(&daemon.url(live.header("location"))).status, 200);
}

#[test]
fn nulls_and_members_outside_properties_do_no_harm() {
    let daemon = Daemon::start();
    daemon.furnish();
    let decorate = |mut body: Value| {
        for (member, value) in [
            ("$schema", json!("x")),
            ("id", Value::Null),
            ("type", json!(1)),
            ("tags", Value::Null),
        ] {
            body[member] = value;
        }
        body
    };
    let mut cluster = decorate(cluster_body());
    for member in [
        "vmPriority",
        "subnet",
        "nodeSetup",
        "virtualMachineConfiguration",
    ] {
        cluster["properties"][member] = Value::Null;
    }
    daemon
        .put(&rm("/workspaces/ws/clusters/c2"), &cluster)
        .expect(200);
    let mut job = decorate(job_body());
    for member in [
        "schedulingPriority",
        "mountVolumes",
        "constraints",
        "secrets",
        "inputDirectories",
    ] {
        job["properties"][member] = Value::Null;
    }
    daemon.put(&rm_job("j", ""), &job).expect(200);
    let mut server = decorate(file_server_body());
    server["properties"]["subnet"] = Value::Null;
    server["properties"]["sshConfiguration"]["publicIPsToAllow"] = Value::Null;
    server["properties"]["dataDisks"]["cachingType"] = Value::Null;
    daemon
        .put(&rm("/workspaces/ws/fileServers/f"), &server)
        .expect(202);
    let workspace = json!({"location": "local", "tags": null, "sku": {"name": "Basic"}});
    daemon.put(&rm("/workspaces/w2"), &workspace).expect(200);
    for nothing in ["", "null", "{}", "{\"properties\": null}"] {
        let url = rm("/workspaces/ws/experiments/e2");
        daemon
            .request("PUT", &url, &[], nothing.as_bytes())
            .expect(200);
    }
}

#[test]
fn conditions_on_requests_do_not_exist() {
    let daemon = Daemon::start();
    daemon.furnish();
    let headers = [("if-match", "\"old\""), ("if-none-match", "*")];
    let body = json!({"tags": {"a": "b"}}).to_string();
    daemon
        .request("PATCH", &rm("/workspaces/ws"), &headers, body.as_bytes())
        .expect(200);
    daemon
        .request("GET", &rm("/workspaces/ws"), &headers, b"")
        .expect(200);
}

#[test]
fn names_that_break_the_rules_are_named() {
    let daemon = Daemon::start();
    daemon.furnish();
    let long = "x".repeat(65);
    for (path, target) in [
        (
            "/subscriptions/sub/resourceGroups/a%20b/providers/Microsoft.BatchAI/workspaces/ws"
                .to_owned(),
            "resourceGroupName",
        ),
        (format!("{PROVIDER}/workspaces/a.b"), "workspaceName"),
        (
            format!("{PROVIDER}/workspaces/ws/clusters/{long}"),
            "clusterName",
        ),
        (
            format!("{PROVIDER}/workspaces/ws/fileServers/a%2Fb"),
            "fileServerName",
        ),
        (
            format!("{PROVIDER}/workspaces/ws/experiments/%C3%A4"),
            "experimentName",
        ),
        (
            format!("{PROVIDER}/workspaces/ws/experiments/e/jobs/.."),
            "jobName",
        ),
    ] {
        let error = daemon
            .get(&format!("{path}?{VERSION}"))
            .expect_error(400, "InvalidResourceName");
        assert_eq!(error["target"], target, "{path}");
    }
}

#[test]
fn every_list_takes_pages_of_1_to_1000() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.submit("j");
    let lists = [
        ("GET", "/workspaces"),
        ("GET", "/workspaces/ws/experiments"),
        ("GET", "/workspaces/ws/clusters"),
        ("GET", "/workspaces/ws/fileServers"),
        ("GET", "/workspaces/ws/experiments/e/jobs"),
        (
            "POST",
            "/workspaces/ws/clusters/c/listRemoteLoginInformation",
        ),
        (
            "POST",
            "/workspaces/ws/experiments/e/jobs/j/listRemoteLoginInformation",
        ),
    ];
    for (method, list) in lists {
        for (size, status) in [
            ("1", 200),
            ("1000", 200),
            ("0", 400),
            ("1001", 400),
            ("x", 400),
        ] {
            let reply = daemon.request(method, &rm(&format!("{list}?maxresults={size}")), &[], b"");
            let answer = reply.expect(status);
            if status == 400 {
                assert_eq!(answer["error"]["target"], "maxresults", "{list}");
            }
        }
    }
}
