use proptest::prelude::*;
use serde_json::json;

use super::*;

fn taken(mut properties: Value, members: &[SecretMember]) -> (Value, Taken) {
    let Value::Object(object) = &mut properties else {
        panic!("properties are an object")
    };
    let taken = take(object, members);
    (properties, taken)
}

#[test]
fn what_remains_is_what_a_get_shows() {
    let credentials = || json!({"accountKey": "hunter2"});
    let (rest, taken) = taken(
        json!({
            "secrets": [{"name": "A", "value": "hunter2"}, {"name": "B", "value": ""}],
            "mountVolumes": {
                "azureFileShares": [{"accountName": "a", "credentials": credentials()}],
                "azureBlobFileSystems": [{"credentials": credentials()}]},
            "containerSettings": {"imageSourceRegistry": {
                "image": "i", "credentials": {"username": "u", "password": "hunter2"}}}}),
        &OF_JOBS,
    );
    assert_eq!(taken.findings, []);
    insta::assert_json_snapshot!(rest);
    insta::assert_snapshot!(format!("{:#?}", taken.secrets));
}

#[test]
fn the_secrets_of_a_cluster() {
    let (rest, taken) = taken(
        json!({
            "nodeSetup": {
                "setupTask": {"commandLine": "true", "secrets": [{"name": "A", "value": "hunter2"}]},
                "mountVolumes": {"azureFileShares": [{"credentials": {"accountKey": "hunter2"}}]},
                "performanceCountersSettings": {"appInsightsReference": {
                    "component": {"id": "c"}, "instrumentationKey": "hunter2"}}},
            "userAccountSettings": {"adminUserName": "ops", "adminUserPassword": "hunter2"}}),
        &OF_CLUSTERS,
    );
    assert_eq!(taken.findings, []);
    assert!(!rest.to_string().contains("hunter2"), "{rest}");
    insta::assert_snapshot!(format!("{:#?}", taken.secrets));
}

fn vault(url: &str) -> Value {
    json!({"sourceVault": {"id": "/vaults/v"}, "secretUrl": url})
}

#[test]
fn a_reference_is_kept_and_not_shown() {
    let url = "https://v.vault.example/secrets/token/0123";
    let secrets = json!([{"name": "A", "valueSecretReference": vault(url)}]);
    let (rest, taken) = taken(json!({"secrets": secrets}), &OF_JOBS);
    assert_eq!(rest, json!({"secrets": [{"name": "A"}]}));
    let value = taken.secrets.get(&variable_pointer(0));
    assert!(matches!(value, Some(SecretValue::KeyVault(found)) if found.secret_url == url));
}

#[test]
fn every_slip_is_pointed_at_and_never_quoted() {
    let secret = "hunter2";
    let cases = [
        (json!({"secrets": secret}), "/properties/secrets"),
        (json!({"secrets": {"A": secret}}), "/properties/secrets"),
        (json!({"secrets": [secret]}), "/properties/secrets/0"),
        (json!({"secrets": [{"name": "A"}]}), "/properties/secrets/0"),
        (
            json!({"secrets": [{"name": "A", "value": [secret]}]}),
            "/properties/secrets/0/value",
        ),
        (
            json!({"secrets": [{"name": "A", "value": "hunter2\0"}]}),
            "/properties/secrets/0/value",
        ),
        (
            json!({"secrets": [{"name": "A", "value": secret,
                "valueSecretReference": vault("https://v/secrets/s")}]}),
            "/properties/secrets/0",
        ),
        (
            json!({"secrets": [{"name": "A", "valueSecretReference": vault("http://v/secrets/s")}]}),
            "/properties/secrets/0/valueSecretReference/secretUrl",
        ),
        (
            json!({"secrets": [{"name": "A", "valueSecretReference": {"secretUrl": "https://v/secrets/s"}}]}),
            "/properties/secrets/0/valueSecretReference/sourceVault",
        ),
        (
            json!({"mountVolumes": {"azureFileShares": [{"credentials": {}}]}}),
            "/properties/mountVolumes/azureFileShares/0/credentials",
        ),
        (
            json!({"mountVolumes": {"azureFileShares": [{"credentials": secret}]}}),
            "/properties/mountVolumes/azureFileShares/0/credentials",
        ),
        (
            json!({"containerSettings": {"imageSourceRegistry": {"credentials": {"password": ""}}}}),
            "/properties/containerSettings/imageSourceRegistry/credentials/password",
        ),
    ];
    for (properties, target) in cases {
        let (rest, taken) = taken(properties.clone(), &OF_JOBS);
        let targets: Vec<_> = taken.findings.iter().map(|found| &found.target).collect();
        assert_eq!(targets, [&Some(target.to_owned())], "{properties}");
        let shown = format!("{rest} {:?}", taken.findings);
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn only_a_password_may_be_left_out() {
    let account =
        json!({"userAccountSettings": {"adminUserName": "ops", "adminUserPassword": null}});
    let (rest, taken) = taken(account, &OF_CLUSTERS);
    assert_eq!(
        rest,
        json!({"userAccountSettings": {"adminUserName": "ops"}})
    );
    assert!(taken.secrets.is_empty() && taken.findings.is_empty());
}

#[test]
fn urls_of_secrets() {
    for good in [
        "https://v.vault.azure.net/secrets/name",
        "https://v:8443/secrets/n/0a1b/",
    ] {
        assert!(is_secret_url(good), "{good}");
    }
    for bad in [
        "",
        "https://",
        "https://v/keys/n",
        "https://v/secrets/",
        "https://v/secrets/n/1/2",
        "https://v/secrets/a b",
        "ftp://v/secrets/n",
    ] {
        assert!(!is_secret_url(bad), "{bad}");
    }
}

/// Any JSON, with the names of secret members and of what leads to them in it.
fn bodies() -> impl Strategy<Value = Value> {
    let names = || {
        prop::sample::select(vec![
            "secrets",
            "value",
            "valueSecretReference",
            "mountVolumes",
            "azureFileShares",
            "credentials",
            "accountKey",
            "nodeSetup",
            "setupTask",
            "userAccountSettings",
            "adminUserPassword",
            "containerSettings",
            "imageSourceRegistry",
            "password",
            "name",
        ])
    };
    let leaf = prop_oneof![
        Just(json!("s3cr3t-hunter2")),
        Just(Value::Null),
        any::<i32>().prop_map(Value::from)
    ];
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names(), inner), 0..5).prop_map(|pairs| Value::Object(
                pairs
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            )),
        ]
    })
}

proptest! {
    /// Wherever a secret stands in a body, nothing at a secret's place is left in it.
    #[test]
    fn nothing_is_left_at_a_secret_s_place(body in bodies()) {
        let Value::Object(mut properties) = body else { return Ok(()) };
        let all: Vec<SecretMember> = OF_JOBS.into_iter().chain(OF_CLUSTERS).collect();
        let first = take(&mut properties, &all);
        let second = take(&mut properties, &all);
        prop_assert!(second.secrets.is_empty());
        let told = format!("{:?} {:?}", first.findings, first.secrets);
        prop_assert!(!told.contains("hunter2"), "{}", told);
    }
}
