use serde_json::json;

use super::*;

fn body() -> Value {
    json!({"properties": {"vmSize": "cpu", "userAccountSettings": {"adminUserName": "ops"}}})
}

fn parse(value: &Value) -> Result<ClusterRequest, Problem> {
    ClusterRequest::parse(value.to_string().as_bytes())
}

fn with(member: &str, value: Value) -> Value {
    let mut body = body();
    body["properties"][member] = value;
    body
}

fn set_up() -> Value {
    let mut body = with(
        "nodeSetup",
        json!({
            "setupTask": {
                "commandLine": "apt-get install -y x", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
                "environmentVariables": [{"name": "A", "value": "1"}],
                "secrets": [{"name": "B", "value": "hunter2"}]},
            "mountVolumes": {"azureFileShares": [{
                "accountName": "a", "azureFileUrl": "https://a.file.example/s",
                "credentials": {"accountKey": "hunter2"}, "relativeMountPath": "afs"}]},
            "performanceCountersSettings": {"appInsightsReference": {
                "component": {"id": "/c"}, "instrumentationKey": "hunter2"}}}),
    );
    body["properties"]["userAccountSettings"]["adminUserPassword"] = json!("hunter2");
    body
}

#[test]
fn what_is_stored_has_every_default_and_no_secret() {
    let request = parse(&set_up()).unwrap();
    insta::assert_json_snapshot!(request.properties);
    assert!(!format!("{request:?}").contains("hunter2"));
}

#[test]
fn an_answer_with_its_keys_written_back_is_the_same_cluster() {
    let first = parse(&set_up()).unwrap();
    let mut answer = json!({"properties": first.properties});
    let sent = set_up();
    answer["properties"]["nodeSetup"] = sent["properties"]["nodeSetup"].clone();
    answer["properties"]["nodeSetup"]["setupTask"]["stdOutErrPathSuffix"] = json!("made/by/lote");
    answer["properties"]["userAccountSettings"] = sent["properties"]["userAccountSettings"].clone();
    assert_eq!(parse(&answer).unwrap(), first);
}

#[test]
fn nulls_and_what_asks_for_nothing_mean_nothing() {
    let mut value = with("nodeSetup", json!({"mountVolumes": {}, "setupTask": null}));
    value["properties"]["scaleSettings"] =
        json!({"manual": {"targetNodeCount": 0}, "autoScale": null});
    value["properties"]["virtualMachineConfiguration"] = json!({"imageReference": null});
    value["properties"]["vmPriority"] = json!(null);
    assert_eq!(parse(&value), parse(&body()));
}

#[test]
fn every_slip_is_pointed_at() {
    for (member, value, target) in [
        ("vmSize", json!(" "), "vmSize"),
        ("vmSize", json!("a\n"), "vmSize"),
        ("vmSize", json!("x".repeat(200)), "vmSize"),
        ("vmPriority", json!("cheap"), "vmPriority"),
        ("scaleSettings", json!({}), "scaleSettings"),
        (
            "scaleSettings",
            json!({"manual": {"targetNodeCount": 1}, "autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 1}}),
            "scaleSettings",
        ),
        (
            "scaleSettings",
            json!({"manual": {"targetNodeCount": 99_999}}),
            "scaleSettings/manual/targetNodeCount",
        ),
        (
            "scaleSettings",
            json!({"autoScale": {"minimumNodeCount": 2, "maximumNodeCount": 1}}),
            "scaleSettings/autoScale/minimumNodeCount",
        ),
        (
            "virtualMachineConfiguration",
            json!({"imageReference": {"publisher": "", "offer": "o", "sku": "s"}}),
            "virtualMachineConfiguration/imageReference/publisher",
        ),
        (
            "virtualMachineConfiguration",
            json!({"imageReference": {"publisher": "p"}}),
            "virtualMachineConfiguration/imageReference",
        ),
        ("subnet", json!({"id": ""}), "subnet/id"),
        (
            "userAccountSettings",
            json!({"adminUserName": ""}),
            "userAccountSettings/adminUserName",
        ),
        (
            "userAccountSettings",
            json!({"adminUserName": "ops", "adminUserPassword": 1}),
            "userAccountSettings/adminUserPassword",
        ),
        (
            "nodeSetup",
            json!({"setupTask": {"commandLine": "", "stdOutErrPathPrefix": "/o"}}),
            "nodeSetup/setupTask/commandLine",
        ),
        (
            "nodeSetup",
            json!({"setupTask": {"commandLine": "true"}}),
            "nodeSetup/setupTask",
        ),
        (
            "nodeSetup",
            json!({"performanceCountersSettings": {"appInsightsReference": {"component": {"id": "c"}}}}),
            "nodeSetup/performanceCountersSettings/appInsightsReference",
        ),
    ] {
        let problem = parse(&with(member, value.clone())).unwrap_err();
        let target = format!("/properties/{target}");
        assert_eq!(problem.target, Some(target), "{member}: {value}: {problem}");
    }
}

#[test]
fn a_login_needs_a_key_or_a_password() {
    let error = parse(&body()).unwrap().check_login().unwrap_err();
    assert_eq!(
        error.target.as_deref(),
        Some("/properties/userAccountSettings")
    );
    for member in ["adminUserSshPublicKey", "adminUserPassword"] {
        let account = json!({"adminUserName": "ops", member: "x"});
        parse(&with("userAccountSettings", account))
            .unwrap()
            .check_login()
            .unwrap();
    }
}

fn update(properties: &Value) -> Result<ClusterUpdate, Problem> {
    ClusterUpdate::parse(json!({ "properties": properties }).to_string().as_bytes())
}

#[test]
fn what_batch_ai_has_no_word_for_is_checked_and_answers_may_be_sent_back() {
    let lote = json!({"idleDelay": "PT5M", "pricePerNodeHour": 2.5,
        "budget": {"amount": "100", "period": "month"}});
    let first = parse(&with("lote", lote.clone())).unwrap();
    assert_eq!(first.properties.lote.idle_delay, Some(Seconds(300)));
    let mut answered = lote;
    answered["nodes"] = json!(["n1"]);
    answered["leaving"] = json!([]);
    answered["spending"] = json!({"spent": 3});
    assert_eq!(parse(&with("lote", answered)).unwrap(), first);
    for (lote, target) in [
        (json!({"idelDelay": "PT5M"}), ""),
        (json!({"idleDelay": "soon"}), "/idleDelay"),
        (json!({"idleDelay": "P400D"}), "/idleDelay"),
        (json!({"pricePerNodeHour": -1}), "/pricePerNodeHour"),
        (
            json!({"pricePerNodeHour": 0.000_000_1}),
            "/pricePerNodeHour",
        ),
        (json!({"budget": {"amount": 1, "period": "day"}}), "/budget"),
        (
            json!({"pricePerNodeHour": 1, "budget": {"amount": 1, "period": "week"}}),
            "/budget/period",
        ),
        (
            json!({"pricePerNodeHour": 1, "budget": {"amount": 1}}),
            "/budget",
        ),
        (json!(3), ""),
    ] {
        let problem = parse(&with("lote", lote.clone())).unwrap_err();
        let found = problem.target.unwrap_or_default();
        // An unknown member is pointed at itself, or at what it stands in.
        assert!(
            found.starts_with(&format!("/properties/lote{target}")),
            "{lote}: {found}"
        );
    }
}

#[test]
fn an_update_changes_what_it_names() {
    let lote = json!({"idleDelay": "PT5M", "pricePerNodeHour": 2,
        "budget": {"amount": 100, "period": "day"}});
    let old = parse(&with("lote", lote)).unwrap().properties;
    let changed = |properties: Value| update(&properties).and_then(|update| update.apply(&old));
    let larger = changed(json!({"scaleSettings": {"manual": {"targetNodeCount": 2}}})).unwrap();
    assert_eq!(larger.lote, old.lote);
    assert_ne!(larger.scale_settings, old.scale_settings);
    let lote = changed(json!({"lote": {"idleDelay": null, "nodes": []}})).unwrap();
    assert_eq!(lote.lote.idle_delay, None);
    assert_eq!(
        (lote.lote.budget, lote.scale_settings),
        (old.lote.budget, old.scale_settings.clone())
    );
    for (bad, target) in [
        (json!({}), "/properties"),
        (json!({"vmSize": "x"}), "/properties"),
        (
            json!({"lote": {"pricePerNodeHour": null}}),
            "/properties/lote/budget",
        ),
        (json!({"lote": {"budgte": null}}), "/properties/lote"),
    ] {
        let problem = changed(bad.clone()).unwrap_err();
        assert!(
            problem.target.unwrap_or_default().starts_with(target),
            "{bad}"
        );
    }
}

#[test]
fn an_update_has_one_mode() {
    let update = |scale: Value| update(&json!({"scaleSettings": scale}));
    update(json!({"manual": {"targetNodeCount": 2}, "autoScale": null})).unwrap();
    let error = update(json!({"manual": null})).unwrap_err();
    assert_eq!(error.target.as_deref(), Some("/properties/scaleSettings"));
}

proptest::proptest! {
    #[test]
    fn no_body_panics(body in ".{0,200}") {
        let _ = ClusterRequest::parse(body.as_bytes());
    }
}
