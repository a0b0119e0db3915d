//! The services beside Batch AI that unmodified clients call.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Reply, redacted};

fn daemon() -> Daemon {
    Daemon::start_configured(|config| {
        config.storage_accounts = [("Data", "t0p-secret")].into_iter().collect();
    })
}

fn ask(daemon: &Daemon, path: &str, form: &str) -> Reply {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    daemon.request("POST", path, &headers, form.as_bytes())
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_service_principal_logs_in_with_its_token() {
    let daemon = daemon();
    let form = "grant_type=client_credentials&client_id=app&client_secret=lote_abc&resource=https%3A%2F%2Fhost%2F";
    let reply = ask(&daemon, "/adfs/oauth2/token?api-version=1.0", form);
    let body = reply.expect(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    let mut shown = body.clone();
    shown["access_token"] = json!("…");
    insta::assert_json_snapshot!("token-v1", shown);
    let token = body["access_token"].as_str().unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!((parts.len(), parts[2]), (3, "lote_abc"));
    assert_eq!(decoded(parts[0])["typ"], "JWT");
    insta::assert_json_snapshot!("token-payload", redacted(&daemon, &decoded(parts[1])));
}

#[test]
fn the_second_form_of_the_token_endpoint_has_numbers() {
    let daemon = daemon();
    let form = "grant_type=client_credentials&client_id=a&client_secret=s&scope=https%3A%2F%2Fh%2F.default";
    let mut body = ask(&daemon, "/some-tenant/oauth2/v2.0/token", form).expect(200);
    let signature = body["access_token"].as_str().unwrap().rsplit('.').next();
    assert_eq!(signature, Some("open"), "{body}");
    body["access_token"] = json!("…");
    insta::assert_json_snapshot!("token-v2", body);
}

#[test]
fn a_bad_grant_is_refused_in_the_words_of_oauth() {
    let daemon = daemon();
    for (form, error) in [
        ("", "invalid_request"),
        ("grant_type=client_credentials", "invalid_request"),
        ("grant_type=implicit", "unsupported_grant_type"),
    ] {
        let body = ask(&daemon, "/adfs/oauth2/token", form).expect(400);
        assert_eq!(body["error"], error);
        assert!(body["error_description"].is_string());
    }
    daemon
        .get("/adfs/oauth2/token")
        .expect_error(405, "MethodNotAllowed");
}

#[test]
fn the_directory_and_the_cloud_describe_themselves() {
    let daemon = daemon();
    for (name, path) in [
        ("openid-v1", "/adfs/.well-known/openid-configuration"),
        ("openid-v2", "/t/v2.0/.well-known/openid-configuration"),
        (
            "metadata-2015",
            "/metadata/endpoints?api-version=2015-01-01",
        ),
        (
            "metadata-2022",
            "/metadata/endpoints?api-version=2022-09-01",
        ),
        ("subscriptions", "/subscriptions?api-version=2016-06-01"),
        ("subscription", "/subscriptions/AbC?api-version=2022-12-01"),
        ("tenants", "/tenants?api-version=2020-01-01"),
    ] {
        insta::assert_json_snapshot!(name, redacted(&daemon, &daemon.get(path).expect(200)));
    }
}

#[test]
fn resource_groups_answer_every_api_version() {
    let daemon = daemon();
    let group =
        |version: &str| format!("/subscriptions/s/resourcegroups/Lab?api-version={version}");
    let head = |version: &str| daemon.request("HEAD", &group(version), &[], b"").status;
    assert_eq!(head("2018-05-01"), 404);
    daemon
        .put(
            &group("2024-11-01"),
            &json!({"location": "eastus", "tags": {}}),
        )
        .expect(200);
    assert_eq!(head("2099-01-01"), 204);
    let shown = daemon.get(&group("2016-02-01")).expect(200);
    assert_eq!(
        (&shown["name"], &shown["location"]),
        (&json!("Lab"), &json!("local"))
    );
    let list = daemon
        .get("/subscriptions/s/resourceGroups?api-version=2021-04-01")
        .expect(200);
    assert_eq!(list["value"], json!([shown]));
    daemon.delete(&group("2021-04-01")).expect(200);
    daemon
        .get(&group("2021-04-01"))
        .expect_error(404, "ResourceGroupNotFound");
}

#[test]
fn providers_are_registered_already() {
    let daemon = daemon();
    let provider = "/subscriptions/s/providers/microsoft.batchai";
    let shown = daemon
        .get(&format!("{provider}?api-version=2016-02-01"))
        .expect(200);
    insta::assert_json_snapshot!("provider", shown);
    let registered = daemon.post(&format!("{provider}/register?api-version=2016-02-01"));
    assert_eq!(registered.expect(200), shown);
    let all = daemon
        .get("/subscriptions/s/providers?api-version=2021-04-01")
        .expect(200);
    assert_eq!(all["value"][0], shown);
    daemon
        .post("/subscriptions/s/providers/Microsoft.Other/register?api-version=1")
        .expect_error(404, "InvalidResourceNamespace");
}

#[test]
fn keys_of_storage_accounts_are_told_to_those_who_ask_for_them_alone() {
    let daemon = daemon();
    let all = "/subscriptions/s/providers/Microsoft.Storage/storageAccounts?api-version=2017-10-01";
    let listed = daemon.get(all);
    insta::assert_json_snapshot!("storage-accounts", listed.expect(200));
    let account = listed.json()["value"][0]["id"].as_str().unwrap().to_owned();
    let shown = daemon.get(&format!("{account}?api-version=2017-10-01"));
    assert_eq!(shown.expect(200), listed.json()["value"][0]);
    for reply in [&listed, &shown] {
        assert!(!reply.text().contains("t0p-secret"));
    }
    let keys = |account: &str| daemon.post(&format!("{account}/listKeys?api-version=2017-10-01"));
    assert_eq!(
        keys(&account.to_lowercase()).expect(200)["keys"][0]["value"],
        "t0p-secret"
    );
    daemon
        .get(&format!("{account}/listKeys?api-version=2017-10-01"))
        .expect_error(405, "MethodNotAllowed");
    for other in [
        account.replace("Data", "other"),
        account.replace("default", "lab"),
        account.replace("Microsoft.Storage", "Microsoft.Other"),
    ] {
        keys(&other).expect_error(404, "ResourceNotFound");
    }
    let group = |group: &str| {
        let path = format!(
            "/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts"
        );
        daemon.get(&format!("{path}?api-version=1")).expect(200)["value"].clone()
    };
    assert_eq!(group("Default"), listed.json()["value"]);
    assert_eq!(group("lab"), json!([]));
}

#[test]
fn without_a_table_there_are_no_storage_accounts() {
    let daemon = Daemon::start();
    let all = "/subscriptions/s/providers/Microsoft.Storage/storageAccounts?api-version=1";
    assert_eq!(daemon.get(all).expect(200), json!({"value": []}));
}

#[test]
fn switched_off_there_is_nothing_but_batch_ai() {
    let daemon = Daemon::start_configured(|config| config.neighbours = false);
    for path in [
        "/subscriptions",
        "/tenants",
        "/metadata/endpoints",
        "/adfs/.well-known/openid-configuration",
        "/subscriptions/s/providers/Microsoft.BatchAI?api-version=1",
        "/subscriptions/s/providers/Microsoft.Storage/storageAccounts?api-version=1",
    ] {
        daemon.get(path).expect_error(404, "ResourceNotFound");
    }
    ask(&daemon, "/adfs/oauth2/token", "grant_type=password").expect_error(404, "ResourceNotFound");
    daemon
        .get("/subscriptions/s/resourceGroups?api-version=1")
        .expect(200);
}
