//! Lines 11 to 13: variables, supporting processes, the neighbours of the API.

use std::collections::BTreeMap;

use lote_tests::daemon::Daemon;
use lote_tests::processes;
use serde_json::{Value, json};

use crate::plugins::{hostile_job, test_plugins};

use super::{Lab, SUBSCRIPTION, job, job_with, workspace};

/// Variables of every job (capabilities §7.1), of one on a single node.
const OF_EVERY_JOB: [&str; 21] = [
    "AZ_BATCHAI_MOUNT_ROOT",
    "AZ_BATCHAI_JOB_MOUNT_ROOT",
    "AZ_BATCHAI_JOB_TEMP_DIR",
    "AZ_BATCHAI_JOB_TEMP",
    "AZ_BATCHAI_SHARED_JOB_TEMP",
    "AZ_BATCHAI_STDOUTERR_DIR",
    "AZ_BATCHAI_INPUT_DATA",
    "AZ_BATCHAI_OUTPUT_MODEL",
    "AZ_BATCHAI_MPI_HOST_FILE",
    "AZ_BATCHAI_NUM_GPUS",
    "AZ_BATCHAI_NUM_GPUS_PER_NODE",
    "AZ_BATCH_HOST_LIST",
    "AZ_BATCH_NODE_LIST",
    "AZ_BATCH_MASTER_NODE",
    "AZ_BATCH_IS_CURRENT_NODE_MASTER",
    "AZ_BATCH_NODE_ID",
    "AZ_BATCH_TASK_SHARED_DIR",
    "CCP_NODES",
    "OWN",
    "DERIVED",
    "TOKEN",
];

fn surroundings() -> Value {
    json!({
        "jobPreparation": {"commandLine": "env -0 > $AZ_BATCHAI_OUTPUT_MODEL/prepared"},
        "inputDirectories": [{"id": "DATA", "path": "$AZ_BATCHAI_MOUNT_ROOT/data"}],
        "outputDirectories": [{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/logs"}],
        "environmentVariables": [
            {"name": "OWN", "value": "with spaces and 'quotes'"},
            {"name": "DERIVED", "value": "$AZ_BATCHAI_INPUT_DATA/x"}],
        "secrets": [{"name": "TOKEN", "value": "a secret"}],
    })
}

/// What `env -0` wrote into a file of the job's directory `MODEL`.
fn environment(lab: &Lab, job: &str, file: &str) -> BTreeMap<String, String> {
    let text = lab.read(job, "MODEL", file);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[track_caller]
fn assert_named(variables: &BTreeMap<String, String>, place: &str) {
    for name in OF_EVERY_JOB {
        assert!(
            variables.contains_key(name),
            "{place} lacks {name}: {variables:?}"
        );
    }
    assert_eq!(variables["OWN"], "with spaces and 'quotes'", "{place}");
    assert_eq!(variables["TOKEN"], "a secret", "{place}");
    let input = &variables["AZ_BATCHAI_INPUT_DATA"];
    assert_eq!(variables["DERIVED"], format!("{input}/x"), "{place}");
}

#[test]
fn line_11_preparation_job_and_every_rank_see_the_variables() {
    let lab = Lab::open();
    lab.submit(
        "one",
        &job_with("env -0 > $AZ_BATCHAI_OUTPUT_MODEL/job", surroundings()),
    );
    let script = "env -0 > $AZ_BATCHAI_OUTPUT_MODEL/rank-$AZ_BATCHAI_TASK_INDEX";
    let mut ranks = job_with("", surroundings());
    let properties = ranks["properties"].as_object_mut().expect("an object");
    properties.remove("customToolkitSettings");
    properties["jobPreparation"]["commandLine"] = json!(format!(
        "env -0 > $AZ_BATCHAI_OUTPUT_MODEL/prepared; echo '{script}' > $AZ_BATCHAI_JOB_TEMP/run"
    ));
    properties.insert(
        "pyTorchSettings".into(),
        json!({
        "pythonScriptFilePath": "$AZ_BATCHAI_JOB_TEMP/run", "pythonInterpreterPath": "/bin/bash",
        "communicationBackend": "gloo", "processCount": 2}),
    );
    lab.submit("ranks", &ranks);
    for (job, places) in [
        ("one", vec!["prepared", "job"]),
        ("ranks", vec!["prepared", "rank-0", "rank-1"]),
    ] {
        let ended = lab.wait_for_end(job);
        assert_eq!(ended["executionState"], "succeeded", "{ended}");
        for place in places {
            assert_named(&environment(&lab, job, place), place);
        }
    }
    let [first, second] = ["rank-0", "rank-1"].map(|place| environment(&lab, "ranks", place));
    for name in [
        "AZ_BATCHAI_PYTORCH_INIT_METHOD",
        "AZ_BATCHAI_PYTORCH_BACKEND",
        "MASTER_ADDR",
        "WORLD_SIZE",
    ] {
        assert_eq!(first[name], second[name], "{name}");
    }
    assert_eq!((&*first["RANK"], &*second["RANK"]), ("0", "1"));
}

#[test]
fn line_12_what_serves_is_ended_with_the_workers() {
    let folder = test_plugins();
    let daemon = Daemon::start(&["--plugin-dir", folder.to_str().expect("a path")]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    for (act, state, exit_code) in [("serve", "succeeded", 0), ("serve-failure", "failed", 5)] {
        let path = client.submit(&experiment, act, &hostile_job(act));
        let ended = client.wait_for_end(&path);
        assert_eq!(ended["executionState"], state, "{ended}");
        assert_eq!(ended["executionInfo"]["exitCode"], exit_code, "{ended}");
        let said = client.output(&path, "stdouterr", "stdout-ps-0.txt");
        assert_eq!(said.as_deref(), Some("serving\n"));
        let left = processes::mentioning(&daemon.data().to_string_lossy());
        assert!(left.len() <= 1, "only the daemon is left: {left:?}");
    }
}

/// What a task of the next test runs: it writes down what it finds; a parameter server
/// then serves for ever, and a worker ends when it has seen the server.
const TASK: &str = r"
here=$AZ_BATCHAI_OUTPUT_MODEL; name=$1-$AZ_BATCHAI_TASK_INDEX
env -0 > $here/.$name && mv $here/.$name $here/$name
[ $1 = ps ] && exec sleep 600
until [ -e $here/ps-0 ]; do sleep 0.1; done
";

#[test]
fn line_12_tensorflow_has_a_consistent_cluster_and_ends_with_its_workers() {
    let lab = Lab::open();
    let mut body = job_with("", surroundings());
    let properties = body["properties"].as_object_mut().expect("an object");
    properties.remove("customToolkitSettings");
    properties.insert(
        "jobPreparation".into(),
        json!({"commandLine": format!("cat > $AZ_BATCHAI_JOB_TEMP/run <<'END'{TASK}END")}),
    );
    properties.insert(
        "tensorFlowSettings".into(),
        json!({
            "pythonScriptFilePath": "$AZ_BATCHAI_JOB_TEMP/run", "pythonInterpreterPath": "/bin/bash",
            "masterCommandLineArgs": "wk", "workerCommandLineArgs": "wk",
            "parameterServerCommandLineArgs": "ps", "workerCount": 2,
        }),
    );
    let stored = lab.submit("tf", &body);
    assert_eq!(stored["properties"]["toolType"], "tensorflow");
    let settings = &stored["properties"]["tensorFlowSettings"];
    assert_eq!(settings["parameterServerCount"], 1, "{settings}");
    let ended = lab.wait_for_end("tf");
    assert_eq!(ended["executionState"], "succeeded", "{ended}");

    let tasks = ["ps-0", "wk-0", "wk-1"].map(|task| environment(&lab, "tf", task));
    for (task, (kind, index)) in tasks.iter().zip([("ps", 0), ("chief", 0), ("worker", 0)]) {
        let config: Value = serde_json::from_str(&task["TF_CONFIG"]).expect("JSON");
        assert_eq!(config["task"], json!({"type": kind, "index": index}));
        let cluster = &config["cluster"];
        assert_eq!(cluster["ps"][0], task["AZ_BATCHAI_PS_HOSTS"]);
        let workers = [&cluster["chief"][0], &cluster["worker"][0]];
        let workers = workers.map(|endpoint| endpoint.as_str().expect("an endpoint"));
        assert_eq!(workers.join(","), task["AZ_BATCHAI_WORKER_HOSTS"]);
        assert_named(task, kind);
    }
    for file in ["stdout-ps-0.txt", "stdout-wk-0.txt", "stderr-wk-1.txt"] {
        assert!(lab.link("tf", "stdouterr", file).is_some(), "{file}");
    }
    let left = processes::mentioning(&lab.daemon.data().to_string_lossy());
    assert!(left.len() <= 1, "only the daemon is left: {left:?}");
}

#[test]
fn line_13_the_neighbours_that_clients_call_answer() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let group = format!("{SUBSCRIPTION}/resourcegroups/auto");
    let providers = format!("{SUBSCRIPTION}/providers");
    let metadata = "/metadata/endpoints?api-version=2022-09-01";
    for (method, path, status) in [
        ("GET", metadata, 200),
        ("GET", "/adfs/.well-known/openid-configuration", 200),
        (
            "GET",
            "/some-tenant/v2.0/.well-known/openid-configuration",
            200,
        ),
        ("GET", "/subscriptions?api-version=2016-06-01", 200),
        ("HEAD", &format!("{group}?api-version=2017-05-10"), 404),
        ("PUT", &format!("{group}?api-version=2017-05-10"), 200),
        ("HEAD", &format!("{group}?api-version=2017-05-10"), 204),
        ("GET", &format!("{group}?api-version=2024-11-01"), 200),
        (
            "POST",
            &format!("{providers}/Microsoft.BatchAI/register?api-version=2016-02-01"),
            200,
        ),
        (
            "GET",
            &format!("{providers}/Microsoft.BatchAI?api-version=2016-02-01"),
            200,
        ),
        (
            "GET",
            &format!("{providers}/Microsoft.Storage/storageAccounts?api-version=2018-02-01"),
            200,
        ),
        ("DELETE", &format!("{group}?api-version=2017-05-10"), 200),
    ] {
        let body = (method == "PUT").then(|| json!({"location": "local"}));
        let answer = client.send(method, path, body.as_ref());
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let grant = "grant_type=client_credentials&client_id=a&client_secret=b&resource=r";
    let token = client.try_send("POST", "/adfs/oauth2/token?api-version=1.0", Some(grant));
    let token = token.expect("an answer").json;
    for member in [
        "access_token",
        "token_type",
        "expires_in",
        "expires_on",
        "resource",
    ] {
        assert!(!token[member].is_null(), "{member}: {token}");
    }
    assert_eq!(
        token["access_token"]
            .as_str()
            .map(|token| token.split('.').count()),
        Some(3)
    );
}

/// The commands of the old clients name a cluster by its whole id; this one is
/// in another workspace of the same group.
#[test]
fn line_03_a_job_may_run_on_a_cluster_of_another_workspace() {
    let lab = Lab::open();
    let other = workspace("").replace("/Ws", "/Other");
    let version = super::VERSION;
    let made = lab
        .client
        .put(&format!("{other}?{version}"), &json!({"location": "local"}));
    assert_eq!(made.status, 200, "{made:?}");
    let path = format!("{other}/experiments/exp");
    lab.client.put(&format!("{path}?{version}"), &json!({}));
    let made = lab
        .client
        .put(&format!("{path}/jobs/j?{version}"), &job("true"));
    assert_eq!(made.status, 200, "{made:?}");
    let shown = &made.json["properties"]["cluster"]["id"];
    assert_eq!(shown, &json!(workspace("/clusters/box")));
    lote_tests::wait_for("the job to end", lote_tests::PATIENCE, || {
        let found = lab.client.get(&format!("{path}/jobs/j?{version}"));
        (found.json["properties"]["executionState"] == "succeeded").then_some(())
    });
}
