use serde_json::json;

use super::*;

fn members() -> Vec<String> {
    vec!["customToolkitSettings".into(), "pyTorchSettings".into()]
}

fn body() -> Value {
    json!({"$schema": "ignored", "properties": {
        "cluster": {"id": "/v1/groups/g/workspaces/w/clusters/c"},
        "nodeCount": 1,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
        "customToolkitSettings": {"commandLine": "true"}}})
}

fn parse_value(value: &Value) -> Result<JobRequest, Problem> {
    parse(value.to_string().as_bytes(), &members())
}

fn with(pointer: &str, name: &str, value: Value) -> Value {
    let mut body = body();
    body.pointer_mut(pointer)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .insert(name.into(), value);
    body
}

#[test]
fn fills_in_defaults() {
    let job = parse_value(&body()).unwrap().properties;
    assert_eq!(job.constraints.max_wall_clock_time, Seconds::days(7));
    assert_eq!(job.scheduling_priority, crate::state::Priority::Normal);
}

#[test]
fn nulls_and_read_only_members_mean_nothing() {
    let mut value = with("/properties", "jobPreparation", Value::Null);
    value["properties"]["executionState"] = json!("queued");
    value["properties"]["lote"] = json!({"uid": "u", "attempt": 1, "nodes": []});
    value["properties"]["constraints"] = json!({"maxWallClockTime": null});
    assert_eq!(parse_value(&value), parse_value(&body()));
}

/// Each member with a bad value, and where below `/properties` the error points.
fn assert_pointed_at(cases: &[(&str, Value, &str)]) {
    for (name, value, target) in cases {
        let problem = parse_value(&with("/properties", name, value.clone())).unwrap_err();
        let target = format!("/properties/{target}");
        assert_eq!(
            problem.target,
            Some(target),
            "{name}: {value}: {}",
            problem.message
        );
    }
}

#[test]
fn every_slip_is_pointed_at() {
    assert_pointed_at(&[
        ("nodeCount", json!(0), "nodeCount"),
        ("nodeCount", json!("1"), "nodeCount"),
        ("nodeCount", json!(-1), "nodeCount"),
        ("cluster", json!({"id": "c"}), "cluster/id"),
        ("nodeCuont", json!(1), "nodeCuont"),
        ("pyTorchSettings", json!({}), "pyTorchSettings"),
        ("stdOutErrPathPrefix", json!(" "), "stdOutErrPathPrefix"),
        ("mountVolumes", json!({"nfs": []}), "mountVolumes/nfs"),
        (
            "mountVolumes",
            json!({"unmanagedFileSystems": [{"mountCommand": "m", "relativeMountPath": "/x"}]}),
            "mountVolumes/unmanagedFileSystems/0/relativeMountPath",
        ),
        ("containerSettings", json!({}), "containerSettings"),
    ]);
}

#[test]
fn every_slip_further_down_is_pointed_at() {
    assert_pointed_at(&[
        ("secrets", json!([{"name": "A"}]), "secrets/0"),
        (
            "secrets",
            json!([{"name": "A", "value": "v"}, {"name": "A", "value": "v"}]),
            "secrets/1/name",
        ),
        (
            "secrets",
            json!([{"name": "A", "value": "v", "typo": 1}]),
            "secrets/0/typo",
        ),
        (
            "constraints",
            json!({"maxWallClockTime": "PT0S"}),
            "constraints/maxWallClockTime",
        ),
        (
            "environmentVariables",
            json!([{"name": "1", "value": ""}]),
            "environmentVariables/0/name",
        ),
        (
            "environmentVariables",
            json!([{"name": "LOTE_X", "value": ""}]),
            "environmentVariables/0/name",
        ),
        (
            "inputDirectories",
            json!([{"id": "a-b", "path": "/"}]),
            "inputDirectories/0/id",
        ),
        (
            "outputDirectories",
            json!([{"id": "A", "pathPrefix": "/", "pathSuffix": "../x"}]),
            "outputDirectories/0/pathSuffix",
        ),
        (
            "lote",
            json!({"resources": {"memory": "lots"}}),
            "lote/resources/memory",
        ),
        (
            "lote",
            json!({"resources": {"cpusPerNode": 0}}),
            "lote/resources/cpusPerNode",
        ),
    ]);
}

#[test]
fn a_missing_member_is_named() {
    let mut value = body();
    value["properties"]
        .as_object_mut()
        .unwrap()
        .remove("nodeCount");
    assert!(
        parse_value(&value)
            .unwrap_err()
            .message
            .contains("nodeCount")
    );
}

#[test]
fn no_framework_and_an_unknown_one_name_the_choice() {
    let mut value = body();
    value["properties"]
        .as_object_mut()
        .unwrap()
        .remove("customToolkitSettings");
    let problem = parse_value(&value).unwrap_err();
    assert!(problem.message.contains("pyTorchSettings"), "{problem}");
    value["properties"]["rayClusterSettings"] = json!({});
    assert_eq!(
        parse_value(&value).unwrap_err().code,
        "FrameworkNotAvailable"
    );
}

#[test]
fn what_becomes_of_a_job_that_loses_a_node_is_one_of_two() {
    let asked = |policy: &str| {
        let lote = json!({"onNodeLoss": policy});
        parse_value(&with("/properties", "lote", lote))
    };
    assert_eq!(asked("requeue"), parse_value(&body()));
    let failing = asked("fail").unwrap().properties.lote.on_node_loss;
    assert_eq!(failing, crate::job::OnNodeLoss::Fail);
    let problem = asked("ignore").unwrap_err();
    assert!(problem.message.contains("requeue"), "{problem}");
}

#[test]
fn several_slips_are_all_told() {
    let mut value = with("/properties", "nodeCount", json!(0));
    value["properties"]["stdOutErrPathPrefix"] = json!("");
    assert_eq!(parse_value(&value).unwrap_err().details.len(), 2);
}

proptest::proptest! {
    #[test]
    fn no_body_panics(body in ".{0,200}") {
        let _ = parse(body.as_bytes(), &members());
    }
}

/// A body with everything that clients leave to the service.
fn complete() -> Value {
    let vault = json!({"sourceVault": {"id": "/v"}, "secretUrl": "https://v/secrets/s"});
    let mut body = body();
    let more = json!({
        "secrets": [{"name": "A", "value": "hunter2"}, {"name": "B", "valueSecretReference": vault}],
        "constraints": {"maxWallClockTime": "7.00:00:00"},
        "mountVolumes": {"azureFileShares": [{
            "accountName": "a", "azureFileUrl": "https://a.file.example/s",
            "credentials": {"accountKey": "hunter2"}, "relativeMountPath": "afs"}]},
        "containerSettings": {"shmSize": "8g", "imageSourceRegistry": {
            "image": "i", "credentials": {"username": "u", "passwordSecretReference": vault}}}});
    let Value::Object(more) = more else {
        unreachable!()
    };
    body["properties"].as_object_mut().unwrap().extend(more);
    body
}

#[test]
fn what_is_stored_has_every_default_and_no_secret() {
    let request = parse_value(&complete()).unwrap();
    insta::assert_json_snapshot!(request.properties);
    insta::assert_snapshot!(format!("{:#?}", request.secrets));
    assert!(!format!("{request:?}").contains("hunter2"));
}

#[test]
fn an_answer_with_its_keys_written_back_is_the_same_job() {
    let first = parse_value(&complete()).unwrap();
    let mut answer = json!({"properties": first.properties});
    let properties = &mut answer["properties"];
    properties["customToolkitSettings"] = first.settings.clone();
    let sent = complete()["properties"].clone();
    properties["secrets"] = sent["secrets"].clone();
    let key = "/mountVolumes/azureFileShares/0/credentials";
    *properties.pointer_mut(key).unwrap() = sent.pointer(key).unwrap().clone();
    let registry = "/containerSettings/imageSourceRegistry/credentials";
    *properties.pointer_mut(registry).unwrap() = sent.pointer(registry).unwrap().clone();
    assert_eq!(parse_value(&answer).unwrap(), first);
}

#[test]
fn nothing_asked_for_is_nothing() {
    let mut value = with("/properties", "mountVolumes", json!({"fileServers": []}));
    value["properties"]["secrets"] = json!([]);
    value["properties"]["inputDirectories"] = json!([]);
    assert_eq!(parse_value(&value), parse_value(&body()));
}

proptest::proptest! {
    #[test]
    fn no_secret_is_left_in_what_is_shown(
        names in proptest::collection::btree_set("[A-K][a-z]{0,3}", 0..5),
        secret in "[a-z]{3}-s3cr3t-[a-z]{3}",
    ) {
        let secrets: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "value": secret}))
            .collect();
        let value = with("/properties", "secrets", json!(secrets));
        let request = parse_value(&value).unwrap();
        let shown = format!("{} {request:?}", json!(request.properties));
        proptest::prop_assert!(!shown.contains(&secret));
        proptest::prop_assert_eq!(request.properties.secrets.len(), names.len());
    }
}

fn by_name(settings: Value) -> Value {
    let mut value = body();
    let properties = value["properties"].as_object_mut().unwrap();
    properties.remove("customToolkitSettings");
    properties.insert("pluginSettings".into(), settings);
    value
}

#[test]
fn any_plugin_can_be_named() {
    let given = json!({"name": "ray@0.2.0", "settings": {"driver": "d"}});
    let request = parse_value(&by_name(given)).unwrap();
    assert_eq!(request.plugin.member, "pluginSettings");
    assert_eq!(request.plugin.plugin, Some("ray@0.2.0".parse().unwrap()));
    assert_eq!(request.settings, json!({"driver": "d"}));
    assert_eq!(
        request.plugin.settings_pointer(),
        "/properties/pluginSettings/settings"
    );
    let bare = parse_value(&by_name(json!({"name": "ray"}))).unwrap();
    assert_eq!(bare.settings, json!({}));

    for (settings, target) in [
        (json!("ray"), ""),
        (json!({"settings": {}}), "/name"),
        (json!({"name": "Ray/2"}), "/name"),
        (json!({"name": "ray", "settings": []}), "/settings"),
        (json!({"name": "ray", "setings": {}}), "/setings"),
    ] {
        let problem = parse_value(&by_name(settings)).unwrap_err();
        let expected = format!("/properties/pluginSettings{target}");
        assert_eq!(problem.target, Some(expected), "{}", problem.message);
    }
    let mut two = by_name(json!({"name": "ray"}));
    two["properties"]["pyTorchSettings"] = json!({});
    assert!(parse_value(&two).is_err());
}

#[test]
fn a_version_of_a_built_in_plugin_is_asked_for_beside_its_settings() {
    let mut value = body();
    value["properties"]["lote"] = json!({"plugin": "custom@0.1.0"});
    let request = parse_value(&value).unwrap();
    assert_eq!(request.plugin.member, "customToolkitSettings");
    assert_eq!(request.plugin.plugin, Some("custom@0.1.0".parse().unwrap()));
    assert_eq!(request.plugin.name_pointer(), "/properties/lote/plugin");

    let mut twice = by_name(json!({"name": "ray"}));
    twice["properties"]["lote"] = json!({"plugin": "ray@1.0.0"});
    let problem = parse_value(&twice).unwrap_err();
    assert_eq!(problem.target.as_deref(), Some("/properties/lote/plugin"));
}
