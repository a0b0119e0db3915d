//! `lote file-server`, `lote quota`, and where to log in.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::stub::{Reply, Stub};
use crate::terminal::{Terminal, run};

const SERVER: &str = "/v1/groups/default/workspaces/default/fileservers/nfs";

fn server(state: &str) -> Value {
    json!({"id": SERVER, "name": "nfs", "properties": {"vmSize": "CPU", "provisioningState": state,
        "dataDisks": {"diskCount": 2, "diskSizeInGB": 10, "storageAccountType": "Standard_LRS", "cachingType": "none"}}})
}

/// A daemon on which a new file server ends as `status` says.
fn creating(status: Value) -> Stub {
    Stub::start(move |request| match request.line().as_str() {
        line if line == format!("PUT {SERVER}") => {
            let operation = "/v1/operations/x".to_owned();
            Reply::Whole(
                202,
                vec![("azure-asyncoperation", operation)],
                String::new(),
            )
        }
        "GET /v1/operations/x" => Reply::json(200, &status),
        line if line == format!("GET {SERVER}") => Reply::json(200, &server("succeeded")),
        _ => Reply::error(404, "ResourceNotFound", "there is nothing"),
    })
}

const CREATE: &str = "file-server create nfs --size cpu --disk-count 2 --disk-size 10";

#[test]
fn a_new_file_server_is_waited_for_and_shown() {
    let stub = creating(json!({"status": "Succeeded"}));
    let terminal = Terminal::new();
    let key = terminal.home.path().join("key.pub");
    std::fs::write(&key, "ssh-ed25519 AAAA me\n").unwrap();
    let run = terminal.run(&stub.url, &format!("{CREATE} -u ops -k {}", key.display()));
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("2 x 10 GB"), "{}", run.out);
    let sent: Value = serde_json::from_str(&stub.requests()[0].body).unwrap();
    assert_eq!(
        sent["properties"],
        json!({"vmSize": "cpu", "dataDisks": {"diskCount": 2, "diskSizeInGB": 10, "storageAccountType": "Standard_LRS"},
            "sshConfiguration": {"userAccountSettings": {
                "adminUserName": "ops", "adminUserSshPublicKey": "ssh-ed25519 AAAA me"}}})
    );
}

#[test]
fn one_that_cannot_be_made_says_why() {
    let error = json!({"code": "FileServerNodeNotFound", "message": "no node can share its disks"});
    let stub = creating(json!({"status": "Failed", "error": error}));
    let run = run(&stub.url, CREATE);
    assert_eq!((run.code, run.out.as_str()), (1, ""), "{}", run.err);
    assert!(
        run.err.contains("no node can share its disks"),
        "{}",
        run.err
    );
}

#[test]
fn a_deletion_says_first_what_becomes_of_the_files_and_then_what_it_waits_for() {
    let polls = AtomicUsize::new(0);
    let stub = Stub::start(move |request| match request.line().as_str() {
        line if line == format!("DELETE {SERVER}") => {
            let operation = "/v1/operations/x".to_owned();
            let headers = vec![("azure-asyncoperation", operation)];
            Reply::Whole(202, headers, String::new())
        }
        "GET /v1/operations/x" => {
            let is_over = polls.fetch_add(1, Ordering::SeqCst) == 2;
            let status = if is_over { "Succeeded" } else { "InProgress" };
            Reply::json(200, &json!({"status": status}))
        }
        line if line == format!("GET {SERVER}") => {
            let mut server = server("deleting");
            let error = json!({"code": "FileServerInUse", "message": "1 job that mounts it runs"});
            server["properties"]["lote"] = json!({"errors": [error]});
            Reply::json(200, &server)
        }
        _ => Reply::error(404, "ResourceNotFound", "there is nothing"),
    });
    let refused = run(&stub.url, "file-server delete nfs --erase-data");
    assert!(
        refused.err.contains("erase all its files"),
        "{}",
        refused.err
    );
    let refused = run(&stub.url, "file-server delete nfs");
    assert!(refused.err.contains("stay on its node"), "{}", refused.err);
    assert!(stub.requests().is_empty());
    let run = run(&stub.url, "file-server delete nfs --erase-data --yes");
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(
        run.err, "1 job that mounts it runs\ndeleted file server 'nfs'\n",
        "it is said once"
    );
    assert_eq!(
        stub.requests()[0].target,
        format!("{SERVER}?erasedata=true")
    );
}

#[test]
fn nodes_are_asked_for_with_post_page_by_page() {
    let stub = Stub::start(|request| {
        let login = |node: &str| json!({"nodeId": node, "ipAddress": "10.0.0.7", "port": 22});
        assert_eq!(request.method, "POST", "{}", request.target);
        if request.target.contains("skiptoken") {
            return Reply::json(200, &json!({"value": [login("b")]}));
        }
        let next = format!("{}?$skiptoken=a", request.target);
        Reply::json(200, &json!({"value": [login("a")], "nextLink": next}))
    });
    for line in ["cluster nodes gpu", "job nodes j1 -e e"] {
        let run = run(&stub.url, line);
        assert_eq!(run.code, 0, "{}", run.err);
        let nodes: Vec<&str> = run.out.lines().collect();
        assert_eq!(
            nodes,
            [
                "ID  IP        SSH PORT",
                "a   10.0.0.7  22",
                "b   10.0.0.7  22"
            ]
        );
    }
    let workspace = "/v1/groups/default/workspaces/default";
    let paths: Vec<String> = stub
        .requests()
        .iter()
        .map(|request| request.path().to_owned())
        .collect();
    let (cluster, job) = (
        format!("{workspace}/clusters/gpu/listRemoteLoginInformation"),
        format!("{workspace}/experiments/e/jobs/j1/listRemoteLoginInformation"),
    );
    assert_eq!(paths, [cluster.clone(), cluster, job.clone(), job]);
}

#[test]
fn usages_have_two_names() {
    let stub = Stub::start(|request| {
        assert_eq!(request.line(), "GET /v1/usages");
        let name = json!({"value": "Clusters", "localizedValue": "Clusters"});
        Reply::json(
            200,
            &json!({"value": [{"unit": "Count", "currentValue": 3, "limit": 20, "name": name}]}),
        )
    });
    for line in ["quota", "usages"] {
        let run = run(&stub.url, line);
        assert_eq!(
            run.out, "VALUE     USAGE  LIMIT\nClusters  3      20\n",
            "{}",
            run.err
        );
    }
}
