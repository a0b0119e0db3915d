//! File servers, usages, quotas, logins and neighbours through the whole daemon.

use lote_tests::client::{DEFAULT_WORKSPACE, shell_job};
use lote_tests::daemon::Daemon;
use lote_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file_server() -> Value {
    json!({"properties": {
        "vmSize": "cpu",
        "sshConfiguration": {"userAccountSettings": {"adminUserName": "ops"}},
        "dataDisks": {"diskSizeInGB": 10, "diskCount": 1, "storageAccountType": "Standard_LRS"},
    }})
}

#[test]
fn a_file_server_that_has_no_node_says_why_and_can_be_deleted() {
    let daemon = Daemon::start(&[]);
    let create = [
        "file-server",
        "create",
        "nfs",
        "--size",
        "cpu",
        "--disk-count",
        "2",
        "--disk-size",
        "10",
        "--node",
        "nowhere",
    ];
    let created = daemon.lote(&create);
    assert_eq!(created.status.code(), Some(1), "{created:?}");
    assert!(
        text(&created.stderr).contains("there is no node of that name"),
        "{created:?}"
    );
    let shown = daemon.lote(&["file-server", "show", "nfs"]);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("failed") && shown.contains("FileServerNodeNotFound"),
        "{shown}"
    );
    assert!(text(&daemon.lote(&["file-server", "list"]).stdout).contains("nfs"));
    let deleted = daemon.lote(&["file-server", "delete", "nfs", "--yes"]);
    assert!(deleted.status.success(), "{deleted:?}");
    assert_eq!(
        daemon.lote(&["file-server", "show", "nfs"]).status.code(),
        Some(3)
    );
}

#[test]
fn a_workspace_takes_its_file_servers_along() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let workspace = "/v1/groups/default/workspaces/w";
    assert_eq!(client.put(workspace, &json!({})).status, 200);
    let answer = client.put(&format!("{workspace}/fileServers/nfs"), &file_server());
    assert_eq!(answer.status, 202, "{answer:?}");
    let deleted = daemon.lote(&["workspace", "delete", "w", "--yes"]);
    assert!(deleted.status.success(), "{deleted:?}");
    assert_eq!(client.get(workspace).status, 404);
    assert_eq!(
        client.get(&format!("{workspace}/fileServers/nfs")).status,
        404
    );
}

#[test]
fn nodes_are_told_while_a_job_has_them() {
    let daemon = Daemon::start(&["--ssh-port", "2222", "--address", "127.0.0.9"]);
    let client = daemon.client();
    let nodes = client.get("/v1/nodes").json;
    let node = nodes["value"][0]["name"].as_str().unwrap();
    let experiment = client.experiment("e");
    let wait = "until [ -e $AZ_BATCHAI_MOUNT_ROOT/go ]; do sleep 0.02; done";
    let job = client.submit(&experiment, "waits", &shell_job(wait));
    let login = json!({"value": [{"nodeId": node, "ipAddress": "127.0.0.9", "port": 2222}]});
    wait_for("the job has its node", PATIENCE, || {
        let list = client.send("POST", &format!("{job}/listRemoteLoginInformation"), None);
        (list.json == login).then_some(())
    });
    for line in [
        vec!["cluster", "nodes", "local"],
        vec!["job", "nodes", "waits", "-e", "e"],
    ] {
        let nodes = text(&daemon.lote(&line).stdout);
        let shown: Vec<&str> = nodes
            .lines()
            .nth(1)
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(shown, [node, "127.0.0.9", "2222"], "{line:?}: {nodes}");
    }
    let quotas = text(&daemon.lote(&["quota"]).stdout);
    assert!(
        quotas.contains("Total Cluster Dedicated Regional vCPUs"),
        "{quotas}"
    );
    client.send("POST", &format!("{job}/terminate"), None);
    client.wait_for_end(&job);
    let over = client.send("POST", &format!("{job}/listRemoteLoginInformation"), None);
    assert_eq!(over.json, json!({"value": []}), "its nodes are others' now");
    let used = text(&daemon.lote(&["usage"]).stdout);
    assert!(used.contains("default/default"), "{used}");
}

#[test]
fn a_quota_of_the_configuration_is_in_force() {
    let daemon = Daemon::start(&["--quota-clusters", "2"]);
    let create =
        |name: &str| daemon.lote(&["cluster", "create", name, "--size", "cpu", "--target", "0"]);
    assert!(create("second").status.success());
    let third = create("third");
    assert_eq!(third.status.code(), Some(1), "{third:?}");
    assert!(text(&third.stderr).contains("the quota is 2"), "{third:?}");
    let usages = daemon.client().get("/v1/usages").json;
    assert_eq!(
        (
            &usages["value"][0]["currentValue"],
            &usages["value"][0]["limit"]
        ),
        (&json!(2), &json!(2)),
        "{usages}"
    );
}

#[test]
fn neighbours_are_there_unless_switched_off() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let subscriptions = client.get("/subscriptions?api-version=2016-06-01");
    let id = subscriptions.json["value"][0]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let provider = client.get(&format!(
        "{id}/providers/Microsoft.BatchAI?api-version=2016-02-01"
    ));
    assert_eq!(
        provider.json["registrationState"], "Registered",
        "{provider:?}"
    );
    let group = client.get(&format!(
        "{id}/resourceGroups/default?api-version=2024-11-01"
    ));
    assert_eq!(group.json["name"], "default", "{group:?}");
    let off = Daemon::start(&["--no-neighbours"]);
    assert_eq!(
        off.client()
            .get("/subscriptions?api-version=2016-06-01")
            .status,
        404
    );
    assert_eq!(off.client().get(DEFAULT_WORKSPACE).status, 200);
}
