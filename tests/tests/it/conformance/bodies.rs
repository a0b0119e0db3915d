//! Lines 5 to 7: times, counts, secrets, defaults.

use serde_json::{Value, json};

use super::{Lab, cluster, job, job_path, job_with, workspace};

fn limited(limit: &str) -> Value {
    job_with(
        "sleep 1000",
        json!({"constraints": {"maxWallClockTime": limit}}),
    )
}

#[test]
fn line_05_durations_are_iso_8601_and_the_older_form_is_read() {
    let lab = Lab::open();
    for (name, sent, shown) in [
        ("days", "P7D", "P7D"),
        ("hours", "PT2H", "PT2H"),
        ("dotted", "7.00:00:00", "P7D"),
        ("clock", "02:30:00", "PT2H30M"),
    ] {
        lab.submit(name, &limited(sent));
        let constraints = &lab.get(&job_path(name)).json["properties"]["constraints"];
        assert_eq!(constraints["maxWallClockTime"], shown, "{sent}");
    }
    let wrong = lab.put(&job_path("wrong"), &limited("a week"));
    let target = "/properties/constraints/maxWallClockTime";
    assert_eq!(
        (wrong.status, &wrong.json["error"]["target"]),
        (400, &json!(target)),
        "{wrong:?}"
    );
}

#[test]
fn line_05_every_time_is_universal() {
    let lab = Lab::open();
    lab.submit("j", &job("true"));
    lab.wait_for_end("j");
    let mut seen = Vec::new();
    for rest in ["", "/clusters/box", "/experiments/exp", &job_path("j")] {
        collect_times(&lab.get(rest).json, &mut seen);
    }
    collect_times(&json!(lab.files("j", "stdouterr")), &mut seen);
    let named = |name: &str| seen.iter().filter(|(seen, _)| seen == name).count();
    assert_eq!(named("creationTime"), 4, "{seen:?}");
    assert_eq!(named("provisioningStateTransitionTime"), 4, "{seen:?}");
    assert_eq!((named("startTime"), named("endTime")), (1, 1), "{seen:?}");
    assert!(named("lastModified") >= 3, "{seen:?}");
    for (name, text) in seen {
        assert!(is_universal(&text), "{name}: {text}");
    }
}

fn collect_times(value: &Value, seen: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let is_time = (name.ends_with("Time") && name != "maxWallClockTime")
                    || name == "lastModified";
                match member {
                    Value::String(text) if is_time => seen.push((name.clone(), text.clone())),
                    other => collect_times(other, seen),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_times(value, seen)),
        _ => {}
    }
}

/// `2018-07-02T10:00:00Z`, with at most nine digits after the seconds.
fn is_universal(text: &str) -> bool {
    let shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape.bytes())
                .all(|(c, wanted)| match wanted {
                    b'0' => c.is_ascii_digit(),
                    other => c == other,
                })
    };
    let Some(text) = text.strip_suffix('Z') else {
        return false;
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    shape(seconds, "0000-00-00T00:00:00")
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|c| c.is_ascii_digit())
}

#[test]
fn line_06_node_counts_are_complete_and_scale_settings_are_echoed() {
    let lab = Lab::open();
    let empty = json!({"manual": {"targetNodeCount": 0, "nodeDeallocationOption": "terminate"}});
    let elastic = json!({"autoScale":
        {"minimumNodeCount": 0, "maximumNodeCount": 4, "initialNodeCount": 2}});
    for (name, scale) in [("none", empty), ("elastic", elastic)] {
        let mut body = cluster();
        body["properties"]["scaleSettings"] = scale.clone();
        let path = format!("/clusters/{name}");
        for answer in [lab.put(&path, &body), lab.get(&path)] {
            assert_eq!(answer.status, 200, "{answer:?}");
            let properties = &answer.json["properties"];
            assert_eq!(properties["scaleSettings"], scale);
            assert_counts(properties);
        }
    }
    let other = json!({"properties": {"scaleSettings":
        {"manual": {"targetNodeCount": 3, "nodeDeallocationOption": "requeue"}}}});
    let patched = lab
        .client
        .send("PATCH", &super::url("/clusters/elastic"), Some(&other));
    assert_eq!(patched.status, 200, "{patched:?}");
    let wanted = &other["properties"]["scaleSettings"];
    assert_eq!(&patched.json["properties"]["scaleSettings"], wanted);
    for listed in lab.get("/clusters").json["value"]
        .as_array()
        .expect("a list")
    {
        assert_counts(&listed["properties"]);
    }
}

#[track_caller]
fn assert_counts(properties: &Value) {
    assert!(properties["currentNodeCount"].is_u64(), "{properties}");
    let counts = properties["nodeStateCounts"].as_object().expect("counts");
    for name in [
        "idleNodeCount",
        "runningNodeCount",
        "preparingNodeCount",
        "unusableNodeCount",
        "leavingNodeCount",
    ] {
        assert!(counts[name].is_u64(), "{name}: {counts:?}");
    }
}

#[test]
fn line_06_a_failed_job_always_has_a_list_of_errors() {
    let lab = Lab::open();
    lab.submit("status", &job("exit 3"));
    lab.submit(
        "preparation",
        &job_with("true", json!({"jobPreparation": {"commandLine": "exit 4"}})),
    );
    lab.submit("killed", &job("kill -9 $$"));
    lab.submit(
        "late",
        &job_with(
            "sleep 1000",
            json!({"constraints": {"maxWallClockTime": "PT1S"}}),
        ),
    );
    lab.submit(
        "unstarted",
        &job_with("true", json!({"stdOutErrPathPrefix": "relative"})),
    );
    lab.submit("blocker", &job("sleep 1000"));
    lab.submit("terminated", &job("true"));
    lab.post(&format!("{}/terminate", job_path("terminated")));
    for (name, code) in [
        ("status", Some(3)),
        ("preparation", Some(4)),
        ("killed", None),
        ("late", None),
        ("unstarted", None),
        ("terminated", None),
    ] {
        let properties = lab.wait_for_end(name);
        assert_eq!(properties["executionState"], "failed", "{name}");
        let info = &properties["executionInfo"];
        let errors = info["errors"].as_array().expect("a list of errors");
        assert!(!errors.is_empty(), "{name}: {info}");
        for error in errors {
            assert!(
                error["code"].is_string() && error["message"].is_string(),
                "{error}"
            );
        }
        assert!(
            info["startTime"].is_string() && info["endTime"].is_string(),
            "{info}"
        );
        if let Some(code) = code {
            assert_eq!(info["exitCode"], code, "{name}");
        }
    }
}

#[test]
fn line_07_defaults_are_filled_in_the_answers() {
    let lab = Lab::open();
    let shown = lab.get("/clusters/box").json["properties"].clone();
    assert_eq!(shown["vmPriority"], "dedicated");
    assert_eq!(
        shown["scaleSettings"]["manual"]["nodeDeallocationOption"],
        "requeue"
    );
    let image = json!({"publisher": "Canonical", "offer": "UbuntuServer",
        "sku": "16.04-LTS", "version": "latest"});
    assert_eq!(
        shown["virtualMachineConfiguration"]["imageReference"],
        image
    );
    let mut elastic = cluster();
    elastic["properties"]["scaleSettings"] =
        json!({"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 1}});
    let elastic = lab.put("/clusters/elastic", &elastic).json;
    let scale = &elastic["properties"]["scaleSettings"]["autoScale"];
    assert_eq!(scale["initialNodeCount"], 0);

    let shown = lab.submit("plain", &job("true"))["properties"].clone();
    assert_eq!(shown["schedulingPriority"], "normal");
    assert_eq!(shown["constraints"]["maxWallClockTime"], "P7D");
    assert_eq!(shown["toolType"], "custom");
    let mut ranks = json!({"properties": {
        "cluster": {"id": workspace("/clusters/box")},
        "nodeCount": 2,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/logs",
        "pyTorchSettings": {"pythonScriptFilePath": "x.py", "communicationBackend": "gloo"},
    }});
    let shown = lab.submit("ranks", &ranks)["properties"].clone();
    assert_eq!(shown["pyTorchSettings"]["processCount"], 2);
    assert_eq!(shown["toolType"], "pytorch");
    // What the defaults make of it is the same job again.
    ranks["properties"]["pyTorchSettings"]["processCount"] = json!(2);
    assert_eq!(lab.put(&job_path("ranks"), &ranks).status, 200);
}

const PASSWORD: &str = "not-to-be-shown-again";

/// Mounts of both kinds that have a key.
fn mounts() -> Value {
    json!({
        "azureFileShares": [{"accountName": "acct", "relativeMountPath": "afs",
            "azureFileUrl": "https://acct.file.core.windows.net/logs",
            "credentials": {"accountKey": PASSWORD}}],
        "azureBlobFileSystems": [{"accountName": "acct", "relativeMountPath": "bfs",
            "containerName": "data", "credentials": {"accountKey": PASSWORD}}],
    })
}

#[test]
fn line_06_credentials_are_empty_objects_and_secrets_are_names() {
    let lab = Lab::open();
    lab.submit("blocker", &job("sleep 1000"));
    let secret = json!([{"name": "TOKEN", "value": PASSWORD}]);
    let body = job_with("true", json!({"secrets": secret, "mountVolumes": mounts()}));
    lab.submit("j", &body);
    let mut setup = cluster();
    setup["properties"]["userAccountSettings"]["adminUserPassword"] = json!(PASSWORD);
    setup["properties"]["nodeSetup"] = json!({"mountVolumes": mounts(), "setupTask": {
        "commandLine": "true", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/logs",
        "secrets": secret}});
    let made = lab.put("/clusters/setup", &setup);
    assert_eq!(made.status, 200, "{made:?}");
    let job = lab.get(&job_path("j"));
    let setup = lab.get("/clusters/setup");
    for answer in [
        &job,
        &setup,
        &lab.get("/experiments/exp/jobs"),
        &lab.get("/clusters"),
    ] {
        assert!(!answer.text.contains(PASSWORD), "{}", answer.text);
    }
    let (job, setup) = (
        &job.json["properties"],
        &setup.json["properties"]["nodeSetup"],
    );
    for (secrets, volumes) in [
        (&job["secrets"], &job["mountVolumes"]),
        (&setup["setupTask"]["secrets"], &setup["mountVolumes"]),
    ] {
        assert_eq!(secrets, &json!([{"name": "TOKEN"}]));
        for kind in ["azureFileShares", "azureBlobFileSystems"] {
            assert_eq!(volumes[kind][0]["credentials"], json!({}), "{volumes}");
        }
        // Line 7 once more: the modes that nobody sent.
        let share = &volumes["azureFileShares"][0];
        assert_eq!(
            (&share["fileMode"], &share["directoryMode"]),
            (&json!("0777"), &json!("0777"))
        );
    }
}
