//! Secret members of jobs and clusters: taken, sealed, compared, never told.

use lote_model::key;
use lote_store::{ListRequest, Store};
use serde_json::{Value, json};

use crate::daemon::{Daemon, LAB, cluster_body, job_body, job_url, redacted, rm, rm_job};

/// What must appear nowhere.
const SECRET: &str = "s3cr3t-hunter2";

fn vault() -> Value {
    json!({"sourceVault": {"id": "/vaults/v"}, "secretUrl": "https://vault.example/secrets/token"})
}

fn secret_job(secret: &str) -> Value {
    let mut body = job_body();
    let more = json!({
        "secrets": [{"name": "TOKEN", "value": secret}, {"name": "OTHER", "valueSecretReference": vault()}],
        "constraints": {"maxWallClockTime": "1.00:00:00"},
        "mountVolumes": {
            "azureFileShares": [{
                "accountName": "acct", "azureFileUrl": "https://acct.file.example/logs",
                "credentials": {"accountKey": secret}, "relativeMountPath": "logs"}],
            "azureBlobFileSystems": [{
                "accountName": "acct", "containerName": "data", "mountOptions": "-o ro",
                "credentials": {"accountKeySecretReference": vault()}, "relativeMountPath": "data"}],
            "fileServers": [{
                "fileServer": {"id": format!("{LAB}/ws/fileServers/nfs")}, "relativeMountPath": "nfs"}],
            "unmanagedFileSystems": [{"mountCommand": "mount -t glusterfs g:/v", "relativeMountPath": "g"}]},
        "containerSettings": {"shmSize": "8g", "imageSourceRegistry": {
            "image": "registry.example/train:1", "serverUrl": "registry.example",
            "credentials": {"username": "reader", "password": secret}}}});
    merge(&mut body, more);
    body
}

fn secret_cluster(secret: &str) -> Value {
    let mut body = cluster_body();
    let more = json!({
        "nodeSetup": {
            "setupTask": {
                "commandLine": "apt-get install -y tool", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/logs",
                "environmentVariables": [{"name": "MODE", "value": "fast"}],
                "secrets": [{"name": "TOKEN", "value": secret}]},
            "mountVolumes": {"azureFileShares": [{
                "accountName": "acct", "azureFileUrl": "https://acct.file.example/logs",
                "credentials": {"accountKey": secret}, "relativeMountPath": "logs", "fileMode": "0700"}]},
            "performanceCountersSettings": {"appInsightsReference": {
                "component": {"id": "/components/c"}, "instrumentationKey": secret}}},
        "userAccountSettings": {
            "adminUserName": "ops", "adminUserSshPublicKey": "ssh-ed25519 AAAA", "adminUserPassword": secret},
        "subnet": {"id": "/subnets/s"}});
    merge(&mut body, more);
    body
}

fn merge(body: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!() };
    body["properties"].as_object_mut().unwrap().extend(more);
}

/// Everything in the store as text.
fn store(daemon: &Daemon) -> Vec<(String, String)> {
    let listing = daemon
        .runtime
        .block_on(daemon.store.list(ListRequest::prefix("")))
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    listing
        .items
        .iter()
        .map(|item| (item.key.clone(), text(&item.value)))
        .collect()
}

/// Where jobs have secrets; every cluster of these tests has a password.
fn sealed_keys(daemon: &Daemon) -> Vec<String> {
    let keys = store(daemon).into_iter().map(|(key, _)| key);
    keys.filter(|key| key.starts_with(key::JOB_SECRETS))
        .collect()
}

#[test]
fn answers_have_names_and_empty_credentials_under_both_prefixes() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon
        .put(&rm_job("j", ""), &secret_job(SECRET))
        .expect(200);
    daemon
        .put(&rm("/workspaces/ws/clusters/s"), &secret_cluster(SECRET))
        .expect(200);
    let body = |path: &str| redacted(&daemon, &daemon.get(path).expect(200));
    insta::assert_json_snapshot!("job-v1", body(&job_url("j")));
    insta::assert_json_snapshot!("job-rm", body(&rm_job("j", "")));
    insta::assert_json_snapshot!("cluster-v1", body(&format!("{LAB}/ws/clusters/s")));
    insta::assert_json_snapshot!("cluster-rm", body(&rm("/workspaces/ws/clusters/s")));
}

#[test]
fn no_answer_and_no_stored_byte_tells_a_secret() {
    let daemon = Daemon::start();
    daemon.furnish();
    let plan = format!("{}/plan", job_url("j"));
    let body = secret_job(SECRET).to_string();
    let header = [("content-type", "application/json")];
    let dry = daemon.request("POST", &plan, &header, body.as_bytes());
    let answers = [
        daemon.put(&rm_job("j", ""), &secret_job(SECRET)),
        daemon.put(&rm("/workspaces/ws/clusters/s"), &secret_cluster(SECRET)),
        daemon.get(&rm("/workspaces/ws/experiments/e/jobs")),
        daemon.get(&rm("/workspaces/ws/clusters")),
    ];
    for answer in answers.iter().chain([&dry]) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!answer.text().contains(SECRET), "{}", answer.text());
    }
    assert_eq!(dry.json()["secretVariables"], json!(["TOKEN", "OTHER"]));
    let store = store(&daemon);
    assert_eq!(sealed_keys(&daemon).len(), 1);
    for (key, value) in &store {
        assert!(!value.contains(SECRET), "{key}: {value}");
        assert!(!value.contains("vault.example"), "{key}: {value}");
    }
    for entry in std::fs::read_dir(daemon.folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        let found = bytes
            .windows(SECRET.len())
            .any(|window| window == SECRET.as_bytes());
        assert!(!found, "the database file has the secret");
    }
}

#[test]
fn the_same_secret_is_the_same_job_and_another_one_is_not() {
    let daemon = Daemon::start();
    daemon.furnish();
    let created = daemon.put(&job_url("j"), &secret_job(SECRET)).expect(200);
    let revision = daemon.revision();
    assert_eq!(
        daemon
            .put(&rm_job("j", ""), &secret_job(SECRET))
            .expect(200)["name"],
        created["name"]
    );
    daemon
        .put(&job_url("j"), &secret_job("another"))
        .expect_error(409, "JobAlreadyExists");
    let mut referred = secret_job(SECRET);
    referred["properties"]["secrets"][0] =
        json!({"name": "TOKEN", "valueSecretReference": vault()});
    daemon
        .put(&job_url("j"), &referred)
        .expect_error(409, "JobAlreadyExists");
    let mut explicit = secret_job(SECRET);
    let properties = &mut explicit["properties"];
    properties["schedulingPriority"] = json!("normal");
    properties["constraints"] = json!({"maxWallClockTime": "P1D"});
    properties["mountVolumes"]["azureFileShares"][0]["fileMode"] = json!("0777");
    assert_eq!(daemon.put(&job_url("j"), &explicit).expect(200), created);
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn an_answer_with_its_keys_written_back_can_be_sent_again() {
    let daemon = Daemon::start();
    daemon.furnish();
    let mut answer = daemon.put(&job_url("j"), &secret_job(SECRET)).expect(200);
    daemon
        .put(&job_url("k"), &answer)
        .expect_error(400, "InvalidParameter");
    let sent = secret_job(SECRET);
    for pointer in [
        "/properties/secrets",
        "/properties/mountVolumes/azureFileShares/0/credentials",
        "/properties/mountVolumes/azureBlobFileSystems/0/credentials",
        "/properties/containerSettings/imageSourceRegistry/credentials",
    ] {
        *answer.pointer_mut(pointer).unwrap() = sent.pointer(pointer).unwrap().clone();
    }
    daemon.put(&job_url("k"), &answer).expect(200);
    let revision = daemon.revision();
    daemon.put(&job_url("j"), &answer).expect(200);
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn clusters_compare_their_secrets_too() {
    let daemon = Daemon::start();
    daemon.furnish();
    let url = rm("/workspaces/ws/clusters/s");
    let created = daemon.put(&url, &secret_cluster(SECRET)).expect(200);
    let suffix = &created["properties"]["nodeSetup"]["setupTask"]["stdOutErrPathSuffix"];
    let expected = "sub/lab/workspaces/ws/clusters/s/";
    assert!(suffix.as_str().unwrap().starts_with(expected), "{suffix}");
    let revision = daemon.revision();
    let mut again = secret_cluster(SECRET);
    again["properties"]["nodeSetup"]["setupTask"]["stdOutErrPathSuffix"] = suffix.clone();
    assert_eq!(daemon.put(&url, &again).expect(200), created);
    daemon
        .put(&url, &secret_cluster("another"))
        .expect_error(409, "ClusterAlreadyExists");
    let mut without = secret_cluster(SECRET);
    let account = without["properties"]["userAccountSettings"].as_object_mut();
    account.unwrap().remove("adminUserPassword");
    assert_eq!(
        daemon.put(&url, &without).expect(200),
        created,
        "a password that is left out is no other one"
    );
    assert_eq!(daemon.revision(), revision);
    // Scaling is no reason to lose anything.
    let scale = json!({"properties": {"scaleSettings": {"manual": {"targetNodeCount": 3}}}});
    let scaled = daemon.patch(&url, &scale).expect(200);
    assert_eq!(
        scaled["properties"]["nodeSetup"],
        created["properties"]["nodeSetup"]
    );
}

#[test]
fn the_original_prefix_wants_a_login_for_a_new_cluster() {
    let daemon = Daemon::start();
    daemon.furnish();
    let mut body = cluster_body();
    body["properties"]["userAccountSettings"] = json!({"adminUserName": "ops"});
    let error = daemon
        .put(&rm("/workspaces/ws/clusters/n"), &body)
        .expect_error(400, "InvalidParameter");
    assert_eq!(error["target"], "/properties/userAccountSettings");
    daemon
        .put(&format!("{LAB}/ws/clusters/n"), &body)
        .expect(200);
    daemon
        .put(&rm("/workspaces/ws/clusters/n"), &body)
        .expect(200);
}

#[test]
fn a_bad_secret_changes_nothing_and_is_not_quoted() {
    let daemon = Daemon::start();
    daemon.furnish();
    let revision = daemon.revision();
    for secrets in [
        json!(SECRET),
        json!({"TOKEN": SECRET}),
        json!([SECRET]),
        json!([{"name": "TOKEN", "value": {"x": SECRET}}]),
        json!([{"name": "AZ_BATCHAI_X", "value": SECRET}]),
        json!([{"name": "TOKEN", "value": SECRET, "valueSecretReference": vault()}]),
    ] {
        let mut body = job_body();
        body["properties"]["secrets"] = secrets;
        let reply = daemon.put(&job_url("j"), &body);
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(!reply.text().contains(SECRET), "{}", reply.text());
    }
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn a_job_of_the_same_name_has_its_own_secrets() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.put(&job_url("j"), &secret_job(SECRET)).expect(200);
    let first = daemon.job("j").uid;
    daemon.erase("j");
    daemon
        .put(&job_url("j"), &secret_job("another"))
        .expect(200);
    let second = daemon.job("j").uid;
    assert_eq!(
        sealed_keys(&daemon).len(),
        2,
        "the leader erases the first: here nobody leads"
    );
    assert!(sealed_keys(&daemon).contains(&key::job_secrets(&first)));
    // A bundle that was moved does not open.
    let moved: Value = daemon.read(&key::job_secrets(&first)).unwrap();
    daemon.write(&key::job_secrets(&second), &moved);
    let reply = daemon.put(&job_url("j"), &secret_job(SECRET));
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert!(!reply.text().contains(SECRET));
}
