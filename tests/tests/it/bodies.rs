//! What a job body can hold, end to end: secrets, and what cannot run yet.

use std::path::Path;
use std::process::Command;

use lote_tests::client::{Client, DEFAULT_WORKSPACE, detail, first_error, shell_job};
use lote_tests::daemon::Daemon;
use lote_tests::{PATIENCE, processes, wait_for};
use serde_json::{Value, json};

/// Nobody would write this by chance.
const SECRET: &str = "Tr0ub4dor-and-3-hunters";

/// What the job prints of its secret: enough to know it is right.
const PROVE: &str =
    "printf %s \"$TOKEN\" | wc -c; printf %s \"$TOKEN\" | sha256sum | cut -d' ' -f1";

fn secret_job(command_line: &str) -> Value {
    let mut job = shell_job(command_line);
    job["secrets"] = json!([{"name": "TOKEN", "value": SECRET}]);
    job
}

/// What [`PROVE`] prints for the secret.
fn proof() -> String {
    let output = Command::new("bash")
        .args(["-c", PROVE])
        .env("TOKEN", SECRET)
        .output()
        .expect("bash runs");
    String::from_utf8(output.stdout).expect("digits")
}

/// The files below a folder that hold the secret.
fn files_with_secret(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            files_with_secret(&path, found);
        } else if std::fs::read(&path).is_ok_and(|bytes| has_secret(&bytes)) {
            found.push(path.display().to_string());
        }
    }
}

fn has_secret(bytes: &[u8]) -> bool {
    bytes
        .windows(SECRET.len())
        .any(|window| window == SECRET.as_bytes())
}

/// The processes whose command line has the secret.
fn command_lines_with_secret() -> Vec<String> {
    let lines = processes::command_lines().into_iter();
    lines
        .filter(|(_, line)| has_secret(line.as_bytes()))
        .map(|(_, line)| line)
        .collect()
}

/// Nothing but the environment of the job's own processes has the secret.
fn assert_hidden(daemon: &Daemon, answers: &[String]) {
    let mut files = Vec::new();
    files_with_secret(&daemon.data(), &mut files);
    assert_eq!(files, [""; 0]);
    assert_eq!(command_lines_with_secret(), [""; 0]);
    assert!(!has_secret(daemon.log().as_bytes()), "the log has it");
    for answer in answers {
        assert!(!has_secret(answer.as_bytes()), "{answer}");
    }
}

fn answers(client: &Client, experiment: &str, job: &str) -> Vec<String> {
    let body = json!({"properties": secret_job("true")});
    let dry = client.send("POST", &format!("{experiment}/jobs/dry/plan"), Some(&body));
    [
        client.get(job),
        client.get(&format!("{job}/plan")),
        client.get(&format!("{experiment}/jobs")),
        dry,
    ]
    .map(|answer| answer.text)
    .into()
}

#[test]
fn a_secret_reaches_preparation_and_process_and_nothing_else() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let gate = "until [ -e $AZ_BATCHAI_JOB_TEMP/go ]; do sleep 0.02; done";
    let mut job = secret_job(&format!("{PROVE}; echo up; {gate}; exit 3"));
    job["jobPreparation"] = json!({"commandLine": PROVE});
    let path = client.submit(&experiment, "j", &job);
    let expected = format!("{}up\n", proof());
    wait_for("the job to prove its secret", PATIENCE, || {
        (client.stdout(&path) == expected).then_some(())
    });
    let prepared = client.output(&path, "stdouterr", "stdout-job_prep.txt");
    assert_eq!(prepared, Some(proof()));
    // While it runs: records, the store, the plan, every process.
    assert_hidden(&daemon, &answers(&client, &experiment, &path));
    let plan = client.get(&format!("{path}/plan"));
    assert_eq!(plan.json["secretVariables"], json!(["TOKEN"]));
    open_gate(&daemon, &client, &path);
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["secrets"], json!([{"name": "TOKEN"}]));
    assert_eq!(ended["executionInfo"]["exitCode"], 3);
    assert_hidden(&daemon, &answers(&client, &experiment, &path));
}

/// Lets a waiting job go on. Its scratch directory is made by its user; the tests
/// run as root or as that user.
fn open_gate(daemon: &Daemon, client: &Client, job: &str) {
    let uid = client.job(job)["lote"]["uid"].as_str().unwrap().to_owned();
    let users = daemon.data().join("work/users");
    for user in std::fs::read_dir(users).expect("users").flatten() {
        let scratch = user.path().join("jobs").join(&uid).join("scratch");
        if scratch.is_dir() {
            std::fs::write(scratch.join("go"), "").expect("the gate opens");
        }
    }
}

#[test]
fn a_secret_survives_the_death_of_the_daemon() {
    let mut daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let gate = "echo up; until [ -e $AZ_BATCHAI_JOB_TEMP/go ]; do sleep 0.02; done";
    let running = client.submit(
        &experiment,
        "running",
        &secret_job(&format!("{gate}; {PROVE}")),
    );
    let waiting = client.submit(&experiment, "waiting", &secret_job(PROVE));
    wait_for("the job to run", PATIENCE, || {
        (client.stdout(&running) == "up\n").then_some(())
    });
    daemon.kill();
    assert_hidden(&daemon, &[]);
    daemon.restart();
    open_gate(&daemon, &client, &running);
    assert_eq!(client.wait_for_end(&running)["executionState"], "succeeded");
    assert_eq!(client.stdout(&running), format!("up\n{}", proof()));
    assert_eq!(client.wait_for_end(&waiting)["executionState"], "succeeded");
    assert_eq!(client.stdout(&waiting), proof());
    assert_hidden(&daemon, &answers(&client, &experiment, &running));
}

#[test]
fn what_a_job_tells_of_its_secret_is_not_repeated_in_its_error() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let job = secret_job("echo \"cannot log in with $TOKEN\" >&2; exit 4");
    let path = client.submit(&experiment, "j", &job);
    let ended = client.wait_for_end(&path);
    let error = first_error(&ended);
    assert_eq!(detail(&error, "stderr"), "cannot log in with ***");
    assert!(!client.get(&path).text.contains(SECRET));
}

#[test]
fn the_secrets_of_a_deleted_job_are_gone() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &secret_job(PROVE));
    client.wait_for_end(&path);
    client.delete(&path);
    wait_for("the deletion", PATIENCE, || {
        (client.get(&path).status == 404).then_some(())
    });
    let mut other = secret_job(PROVE);
    other["secrets"][0]["value"] = json!("another");
    let path = client.submit(&experiment, "j", &other);
    client.wait_for_end(&path);
    assert!(client.stdout(&path).starts_with("7\n"), "its own secret");
}

fn referring_job() -> Value {
    let mut job = shell_job(PROVE);
    let reference = json!({"sourceVault": {"id": "/vaults/v"},
        "secretUrl": "https://v.vault.example/secrets/token/0a1b"});
    job["secrets"] = json!([{"name": "TOKEN", "valueSecretReference": reference}]);
    job
}

#[test]
fn a_reference_to_a_key_vault_needs_the_operator_s_table() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &referring_job());
    let ended = client.wait_for_end(&path);
    let error = first_error(&ended);
    assert_eq!(error["code"], "SecretNotAvailable", "{error}");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("--secrets-file")
    );
    assert_eq!(detail(&error, "variable"), "TOKEN");
    assert_eq!(client.stdout(&path), "", "nothing of it ran");
    assert!(!ended.to_string().contains("vault.example"), "{ended}");

    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("secrets.toml");
    let line = format!("\"https://v.vault.example/secrets/token\" = \"{SECRET}\"");
    std::fs::write(&table, line).unwrap();
    std::fs::set_permissions(&table, std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(&["--secrets-file", &table.to_string_lossy()]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &referring_job());
    assert_eq!(client.wait_for_end(&path)["executionState"], "succeeded");
    assert_eq!(client.stdout(&path), proof());
    assert_hidden(&daemon, &answers(&client, &experiment, &path));
}

#[test]
fn a_cluster_with_a_set_up_task_says_that_it_gets_no_nodes() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let cluster = format!("{DEFAULT_WORKSPACE}/clusters/set-up");
    let body = json!({"properties": {
        "vmSize": "cpu",
        "scaleSettings": {"manual": {"targetNodeCount": 1}},
        "nodeSetup": {"setupTask": {"commandLine": "true", "stdOutErrPathPrefix": "/tmp"}},
        "userAccountSettings": {"adminUserName": "a", "adminUserPassword": SECRET}}});
    assert_eq!(client.put(&cluster, &body).status, 200);
    let error = wait_for("the cluster's error", PATIENCE, || {
        let errors = client.job(&cluster)["errors"].clone();
        errors.get(0).cloned()
    });
    assert_eq!(error["code"], "NodeSetupNotSupported", "{error}");
    assert!(error["message"].as_str().unwrap().contains("node set-up"));
    let mut job = shell_job("true");
    job["cluster"] = json!({"id": cluster});
    let path = client.submit(&experiment, "j", &job);
    let waiting = wait_for("the reason", PATIENCE, || {
        let properties = client.job(&path);
        properties["lote"]["waiting"].as_str().map(str::to_owned)
    });
    assert!(waiting.contains("node set-up"), "{waiting}");
    assert_eq!(client.job(&path)["executionState"], "queued");
    let shown = client.job(&cluster);
    assert_eq!(
        (&shown["currentNodeCount"], &shown["allocationState"]),
        (&json!(0), &json!("steady"))
    );
    assert_hidden(&daemon, &[shown.to_string()]);
}

/// Every variable of capabilities §7.1 that a custom job on one node has, in its
/// preparation and in its process.
const VARIABLES: [&str; 20] = [
    "AZ_BATCHAI_CLUSTER_NAME",
    "AZ_BATCHAI_INPUT_DATA",
    "AZ_BATCHAI_JOB_MOUNT_ROOT",
    "AZ_BATCHAI_JOB_NAME",
    "AZ_BATCHAI_JOB_TEMP",
    "AZ_BATCHAI_JOB_TEMP_DIR",
    "AZ_BATCHAI_JOB_WORK_DIR",
    "AZ_BATCHAI_MOUNT_ROOT",
    "AZ_BATCHAI_MPI_HOST_FILE",
    "AZ_BATCHAI_NUM_GPUS",
    "AZ_BATCHAI_NUM_GPUS_PER_NODE",
    "AZ_BATCHAI_OUTPUT_MODEL",
    "AZ_BATCHAI_SHARED_JOB_TEMP",
    "AZ_BATCHAI_STDOUTERR_DIR",
    "AZ_BATCH_HOST_LIST",
    "AZ_BATCH_MASTER_NODE",
    "AZ_BATCH_NODE_ID",
    "AZ_BATCH_NODE_LIST",
    "AZ_BATCH_TASK_SHARED_DIR",
    "CCP_NODES",
];

#[test]
fn every_variable_is_there_in_preparation_and_process() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut job =
        shell_job("env; cat $AZ_BATCHAI_MPI_HOST_FILE; pwd; touch $AZ_BATCHAI_SHARED_JOB_TEMP/x");
    job["jobPreparation"] = json!({"commandLine": "env"});
    job["inputDirectories"] = json!([{"id": "DATA", "path": "/usr/share"}]);
    job["outputDirectories"] =
        json!([{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT", "pathSuffix": "m"}]);
    job["environmentVariables"] = json!([{"name": "MINE", "value": "$AZ_BATCHAI_INPUT_DATA/x"}]);
    let path = client.submit(&experiment, "j", &job);
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "succeeded", "{ended}");
    let process = client.stdout(&path);
    let prepared = client
        .output(&path, "stdouterr", "stdout-job_prep.txt")
        .unwrap();
    for text in [&prepared, &process] {
        for name in VARIABLES {
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            assert!(
                found.is_some_and(|value| !value.is_empty()),
                "{name}: {text}"
            );
        }
        assert!(
            text.contains("AZ_BATCH_IS_CURRENT_NODE_MASTER=true"),
            "{text}"
        );
        assert!(text.contains("MINE=/usr/share/x"), "{text}");
    }
    assert!(process.contains("127.0.0.1 slots=1\n"), "{process}");
    // The layout of §7.3: prefix, segment, then what it is.
    let segment = ended["jobOutputDirectoryPathSegment"].as_str().unwrap();
    for directory in ended["lote"]["directories"].as_array().unwrap() {
        let (id, found) = (&directory["id"], directory["path"].as_str().unwrap());
        let tail = if *id == "stdouterr" {
            "stdouterr"
        } else {
            "outputs/m"
        };
        assert!(
            found.ends_with(&format!("{segment}/{tail}")),
            "{id}: {found}"
        );
    }
}
