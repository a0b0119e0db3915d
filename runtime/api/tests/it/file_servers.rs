//! File servers: their bodies, and their life as far as the leader tells it.

use lote_model::export::{
    Export, ExportPhase, ExportPoint, ExportReport, ExportState, ExportStorage, NfsServer,
    SizeLimit, StorageUsage,
};
use lote_model::file_server::{FileServerRecord, FileServerStatus, MountSettings};
use lote_model::id::{NodeName, UnixId};
use lote_model::job::ErrorRecord;
use lote_model::key;
use lote_model::path::ChildPath;
use lote_model::state::ProvisioningState;
use lote_model::workspace::WorkspaceRecord;
use lote_store::Transaction;
use serde_json::{Value, json};

use crate::daemon::{Daemon, LAB, name, redacted, rm, wait_until, workspace_path};

fn path() -> ChildPath {
    workspace_path().child(name("nfs"))
}

fn url() -> String {
    rm("/workspaces/ws/fileServers/nfs")
}

fn body() -> Value {
    json!({"properties": {
        "vmSize": "Standard_NC6",
        "sshConfiguration": {
            "userAccountSettings": {"adminUserName": "ops", "adminUserPassword": "hush-hush"}},
        "dataDisks": {"diskSizeInGB": 10, "diskCount": 2, "storageAccountType": "Standard_LRS"},
    }})
}

/// Creates it; the URL of the operation.
fn create(daemon: &Daemon) -> String {
    let reply = daemon.put(&url(), &body());
    assert_eq!(
        (reply.status, reply.bytes.len()),
        (202, 0),
        "{}",
        reply.text()
    );
    assert_eq!(reply.header("retry-after"), "1");
    assert!(reply.header("location").contains("/operationstatuses/"));
    reply.header("azure-asyncoperation").to_owned()
}

/// What the leader writes.
fn conclude(daemon: &Daemon, state: ProvisioningState, errors: Vec<ErrorRecord>) {
    let record: FileServerRecord = daemon.read(&key::file_server(&path())).unwrap();
    let ready = state == ProvisioningState::Succeeded;
    let status = FileServerStatus {
        uid: record.uid,
        state,
        state_since: daemon.now(),
        node: ready.then(|| NodeName::new("nas")),
        errors,
        mount_settings: ready.then(|| MountSettings {
            mount_point: "/data".into(),
            file_server_public_ip: "192.0.2.7".into(),
            file_server_internal_ip: "10.0.0.7".into(),
        }),
    };
    daemon.write(&key::file_server_status(&path()), &status);
}

/// What its node writes.
fn report(daemon: &Daemon, state: ExportState) {
    let record: FileServerRecord = daemon.read(&key::file_server(&path())).unwrap();
    let report = ExportReport {
        uid: record.uid.clone(),
        state,
        usage: Some(StorageUsage {
            used_bytes: 5 << 20,
            free_bytes: 7 << 30,
        }),
        reported_at: daemon.now(),
    };
    daemon.write(&key::exported(&NodeName::new("nas"), &record.uid), &report);
}

/// That it is served, and how.
pub(crate) fn serving() -> ExportState {
    ExportState::Serving(ExportPoint {
        server: NfsServer::Ganesha,
        path: "/srv/nfs".into(),
        nfs_port: 2049,
        mount_port: Some(2050),
        versions: vec!["4.2".into(), "3".into()],
        size_limit: SizeLimit {
            in_force: false,
            note: "no project quota on this file system".into(),
        },
    })
}

fn not_supported() -> Vec<ErrorRecord> {
    vec![ErrorRecord::new("FileServerNodeNotFound", "no node can do that").with("vmSize", "x")]
}

#[test]
fn one_that_cannot_be_made_fails_its_operation_and_says_why() {
    let daemon = Daemon::start();
    daemon.furnish();
    let operation = create(&daemon);
    assert_eq!(daemon.get(&operation).expect(200)["status"], "InProgress");
    insta::assert_json_snapshot!(
        "file-server-creating",
        redacted(&daemon, &daemon.get(&url()).expect(200))
    );
    daemon.advance(2);
    conclude(&daemon, ProvisioningState::Failed, not_supported());
    let status = daemon.get(&operation).expect(200);
    assert_eq!(status["status"], "Failed");
    assert_eq!(status["endTime"], "2018-07-02T10:00:02Z");
    assert_eq!(
        status["error"],
        json!({"code": "FileServerNodeNotFound", "message": "no node can do that"})
    );
    insta::assert_json_snapshot!(
        "file-server-failed",
        redacted(&daemon, &daemon.get(&url()).expect(200))
    );
    insta::assert_json_snapshot!(
        "file-server-failed-v1",
        redacted(
            &daemon,
            &daemon.get(&format!("{LAB}/ws/FILESERVERS/NFS")).expect(200)
        )
    );
}

#[test]
fn one_that_is_ready_tells_where_it_is_mounted_from() {
    let mut daemon = Daemon::start();
    daemon.furnish();
    let reply = daemon.put(&url(), &body());
    let (operation, location) = (
        reply.header("azure-asyncoperation").to_owned(),
        reply.header("location").to_owned(),
    );
    let running = daemon.get(&location);
    assert_eq!((running.status, running.header("retry-after")), (202, "1"));
    conclude(&daemon, ProvisioningState::Succeeded, vec![]);
    report(&daemon, serving());
    daemon.restart();
    assert_eq!(daemon.get(&operation).expect(200)["status"], "Succeeded");
    daemon.get(&location).expect(200);
    insta::assert_json_snapshot!(
        "file-server-ready",
        redacted(&daemon, &daemon.get(&url()).expect(200))
    );
}

#[test]
fn the_same_request_again_is_answered_and_another_one_refused() {
    let daemon = Daemon::start();
    daemon.furnish();
    create(&daemon);
    let first = daemon.get(&url()).expect(200);
    daemon.advance(5);
    let revision = daemon.revision();
    let mut respelled = body();
    respelled["properties"]["vmSize"] = json!("STANDARD_nc6");
    respelled["properties"]["dataDisks"]["cachingType"] = json!("none");
    assert_eq!(
        daemon
            .put(&rm("/WORKSPACES/WS/FILESERVERS/NFS"), &respelled)
            .expect(200),
        first
    );
    assert_eq!(
        daemon.put(&url(), &first).expect(200),
        first,
        "an answer can be sent back"
    );
    let mut other = body();
    other["properties"]["dataDisks"]["diskCount"] = json!(3);
    daemon
        .put(&url(), &other)
        .expect_error(409, "FileServerAlreadyExists");
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn passwords_are_neither_told_nor_stored() {
    let daemon = Daemon::start();
    daemon.furnish();
    create(&daemon);
    let record: Value = daemon.read(&key::file_server(&path())).unwrap();
    assert!(!record.to_string().contains("hush-hush"), "{record}");
    assert!(!daemon.get(&url()).text().contains("hush-hush"));
}

#[test]
fn bad_requests_change_nothing() {
    let daemon = Daemon::start();
    daemon.furnish();
    let revision = daemon.revision();
    let mut bad = body();
    bad["properties"]["dataDisks"]["diskCount"] = json!(0);
    bad["properties"]["sshConfiguration"]["publicIPsToAllow"] = json!(["10.0.0.0/99"]);
    insta::assert_json_snapshot!(
        "file-server-two-findings",
        daemon.put(&url(), &bad).expect(400)
    );
    let error = daemon
        .put(&rm("/workspaces/ws/fileServers/a.b"), &body())
        .expect_error(400, "InvalidResourceName");
    assert_eq!(error["target"], "fileServerName");
    daemon
        .put(&rm("/workspaces/none/fileServers/nfs"), &body())
        .expect_error(404, "WorkspaceNotFound");
    daemon.get(&url()).expect_error(404, "FileServerNotFound");
    daemon
        .get(&rm("/workspaces/none/fileServers/nfs"))
        .expect_error(404, "WorkspaceNotFound");
    daemon
        .get(&rm("/workspaces/none/fileServers"))
        .expect_error(404, "WorkspaceNotFound");
    daemon
        .patch(&url(), &body())
        .expect_error(405, "MethodNotAllowed");
    daemon.delete(&url()).expect(204);
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn they_are_listed_page_by_page() {
    let daemon = Daemon::start();
    daemon.furnish();
    let list = rm("/workspaces/ws/fileServers");
    assert_eq!(daemon.get(&list).expect(200), json!({"value": []}));
    for server in ["a", "b", "c"] {
        daemon
            .put(
                &rm(&format!("/workspaces/ws/fileServers/{server}")),
                &body(),
            )
            .expect(202);
    }
    let first = daemon
        .get(&rm("/workspaces/ws/fileServers?maxresults=2"))
        .expect(200);
    assert_eq!(first["value"][1]["name"], "b");
    let second = daemon.get(first["nextLink"].as_str().unwrap()).expect(200);
    assert_eq!(
        second["value"][0],
        daemon.get(&rm("/workspaces/ws/fileservers/c")).expect(200)
    );
    assert!(second["nextLink"].is_null());
}

#[test]
fn a_deletion_waits_for_the_leader_and_ends_an_unfinished_creation() {
    let daemon = Daemon::start();
    daemon.furnish();
    let creation = create(&daemon);
    let reply = daemon.delete(&url());
    reply.expect(202);
    let deletion = reply.header("azure-asyncoperation").to_owned();
    assert_eq!(
        daemon.get(&url()).expect(200)["properties"]["provisioningState"],
        "deleting"
    );
    daemon
        .put(&url(), &body())
        .expect_error(409, "FileServerBeingDeleted");
    assert_eq!(daemon.get(&deletion).expect(200)["status"], "InProgress");
    daemon.commit(Transaction::new().delete(key::file_server(&path())));
    assert_eq!(daemon.get(&deletion).expect(200)["status"], "Succeeded");
    let status = daemon.get(&creation).expect(200);
    assert_eq!(
        (&status["status"], &status["error"]["code"]),
        (&json!("Failed"), &json!("FileServerDeleted"))
    );
    daemon.delete(&url()).expect(204);
}

#[test]
fn the_name_used_again_is_another_file_server() {
    let daemon = Daemon::start();
    daemon.furnish();
    create(&daemon);
    conclude(&daemon, ProvisioningState::Failed, not_supported());
    daemon.commit(Transaction::new().delete(key::file_server(&path())));
    let operation = create(&daemon);
    assert_eq!(daemon.get(&operation).expect(200)["status"], "InProgress");
    let properties = daemon.get(&url()).expect(200)["properties"].clone();
    assert_eq!(
        properties["provisioningState"], "creating",
        "the old status is void"
    );
    assert_eq!(properties["lote"]["errors"], json!([]));
}

#[test]
fn a_workspace_goes_after_its_file_servers() {
    let daemon = Daemon::start();
    daemon.furnish();
    create(&daemon);
    daemon.delete(&rm("/workspaces/ws")).expect(202);
    wait_until("the file server is marked", || {
        daemon.get(&url()).expect(200)["properties"]["provisioningState"] == "deleting"
    });
    daemon
        .put(&rm("/workspaces/ws/fileServers/late"), &body())
        .expect_error(409, "WorkspaceBeingDeleted");
    daemon.commit(Transaction::new().delete("clusters/lab/ws/c"));
    wait_until("the experiment is gone", || {
        daemon.get(&rm("/workspaces/ws/experiments/e")).status == 404
    });
    assert_eq!(
        daemon.get(&rm("/workspaces/ws")).expect(200)["properties"]["provisioningState"],
        "deleting"
    );
    daemon.commit(Transaction::new().delete(key::file_server(&path())));
    wait_until("the workspace is gone", || {
        daemon.get(&rm("/workspaces/ws")).status == 404
    });
}

#[test]
fn its_files_belong_to_the_user_of_its_workspace() {
    let daemon = Daemon::start();
    daemon.furnish();
    create(&daemon);
    let record: FileServerRecord = daemon.read(&key::file_server(&path())).unwrap();
    let workspace: WorkspaceRecord = daemon.read(&key::workspace(&workspace_path())).unwrap();
    assert_eq!(record.unix_id, Some(workspace.unix_id));
}

#[test]
fn an_answer_with_the_chosen_node_can_be_sent_back() {
    let daemon = Daemon::start();
    daemon.furnish();
    let mut body = body();
    body["properties"]["lote"] = json!({"directory": "/srv/nfs"});
    daemon.put(&url(), &body).expect(202);
    conclude(&daemon, ProvisioningState::Succeeded, vec![]);
    report(&daemon, serving());
    let told = daemon.get(&url()).expect(200);
    let lote = &told["properties"]["lote"];
    assert_eq!(
        (&lote["node"], &lote["directory"]),
        (&json!("nas"), &json!("/srv/nfs"))
    );
    let revision = daemon.revision();
    assert_eq!(daemon.put(&url(), &told).expect(200), told);
    let mut other = told;
    other["properties"]["lote"]["node"] = json!("other");
    daemon
        .put(&url(), &other)
        .expect_error(409, "FileServerAlreadyExists");
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn slips_in_the_members_of_our_own_have_targets() {
    let daemon = Daemon::start();
    daemon.furnish();
    for (lote, target) in [
        (json!({"directory": "../x"}), "directory"),
        (json!({"disks": ["sdb"]}), "disks/0"),
        (json!({"eraseDisks": true}), "eraseDisks"),
        (json!({"node": "a b"}), "node"),
    ] {
        let mut body = body();
        body["properties"]["lote"] = lote;
        let error = daemon
            .put(&url(), &body)
            .expect_error(400, "InvalidParameter");
        assert_eq!(error["target"], format!("/properties/lote/{target}"));
    }
}

#[test]
fn the_first_deletion_decides_about_the_files() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = || {
        daemon
            .read::<FileServerRecord>(&key::file_server(&path()))
            .unwrap()
    };
    create(&daemon);
    daemon
        .delete(&rm("/workspaces/ws/fileServers/nfs?eraseData=perhaps"))
        .expect_error(400, "InvalidParameter");
    assert!(record().delete_requested_at.is_none());
    let erase = rm("/workspaces/ws/fileServers/nfs?eraseData=true");
    daemon.delete(&erase).expect(202);
    assert!(record().erase_data);
    // Once more, in any way, changes nothing.
    daemon.delete(&erase).expect(202);
    daemon.delete(&url()).expect(202);
    assert!(record().erase_data);

    daemon.commit(Transaction::new().delete(key::file_server(&path())));
    create(&daemon);
    daemon.delete(&url()).expect(202);
    assert!(!record().erase_data);
    let error = daemon
        .delete(&erase)
        .expect_error(409, "FileServerBeingDeleted");
    assert!(
        error["message"].as_str().unwrap().contains("kept"),
        "{error}"
    );
    assert!(!record().erase_data);
}

#[test]
fn a_workspace_keeps_the_files_when_it_goes() {
    let daemon = Daemon::start();
    daemon.furnish();
    create(&daemon);
    daemon.delete(&rm("/workspaces/ws")).expect(202);
    let record = || {
        daemon
            .read::<FileServerRecord>(&key::file_server(&path()))
            .unwrap()
    };
    wait_until("the file server is marked", || {
        record().delete_requested_at.is_some()
    });
    assert!(!record().erase_data);
}

#[test]
fn a_living_node_with_files_is_not_removed() {
    let daemon = Daemon::start();
    daemon.furnish();
    let node = NodeName::new("nas");
    daemon.write(
        &key::node(&node),
        &crate::resources::node_record("nas", false),
    );
    daemon.write(&key::alive(&node), &true);
    create(&daemon);
    let record: FileServerRecord = daemon.read(&key::file_server(&path())).unwrap();
    let export = Export {
        file_server: path(),
        uid: record.uid.clone(),
        owner: UnixId::FIRST,
        storage: ExportStorage::Own,
        size_limit_bytes: 1,
        clients: vec![],
        phase: ExportPhase::Serve,
    };
    daemon.write(&key::export(&node, &record.uid), &export);
    daemon.post("/v1/nodes/nas/drain").expect(200);
    let error = daemon
        .delete("/v1/nodes/nas")
        .expect_error(409, "NodeInUse");
    assert!(
        error["message"].as_str().unwrap().contains("lab/ws/nfs"),
        "{error}"
    );
    daemon.commit(Transaction::new().delete(key::alive(&node)));
    daemon.delete("/v1/nodes/nas").expect(200);
}
