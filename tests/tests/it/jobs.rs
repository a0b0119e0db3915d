//! A job's way through: submission, output, ends of every kind.

use lote_tests::client::{DEFAULT_WORKSPACE, detail, first_error, shell_job, shell_job_with};
use lote_tests::daemon::Daemon;
use lote_tests::{PATIENCE, processes, wait_for};
use serde_json::json;

#[test]
fn a_job_runs_and_its_output_is_read_by_link() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut job = shell_job("echo out; echo err >&2; echo 1 > $AZ_BATCHAI_OUTPUT_MODEL/weights");
    job["outputDirectories"] = json!([
        {"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT", "pathSuffix": "models"}]);
    let path = client.submit(&experiment, "j", &job);
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "succeeded", "{ended}");
    assert_eq!(ended["executionInfo"]["exitCode"], 0);
    assert_eq!(ended["toolType"], "custom");
    assert_eq!(client.stdout(&path), "out\n");
    assert_eq!(
        client.output(&path, "stdouterr", "stderr.txt").unwrap(),
        "err\n"
    );
    assert_eq!(client.output(&path, "MODEL", "weights").unwrap(), "1\n");
    let log = client.output(&path, "stdouterr", "execution.log").unwrap();
    assert!(log.contains("process main: echo out"), "{log}");
}

#[test]
fn a_failure_says_node_step_command_status_and_last_lines() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &shell_job("echo the reason >&2; exit 3"));
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "failed");
    assert_eq!(ended["executionInfo"]["exitCode"], 3);
    let error = first_error(&ended);
    assert_eq!(error["code"], "JobFailed");
    assert!(detail(&error, "node").starts_with("node-"));
    assert!(detail(&error, "step").contains("process"));
    assert!(detail(&error, "command").contains("exit 3"));
    assert_eq!(detail(&error, "status"), "exit code 3");
    assert_eq!(detail(&error, "stderr"), "the reason");
}

#[test]
fn a_failed_preparation_keeps_the_job_from_starting() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut job = shell_job("echo never");
    job["jobPreparation"] = json!({"commandLine": "echo preparing; exit 4"});
    let path = client.submit(&experiment, "j", &job);
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionInfo"]["exitCode"], 4);
    assert_eq!(first_error(&ended)["code"], "JobPreparationFailed");
    assert_eq!(
        client
            .output(&path, "stdouterr", "stdout-job_prep.txt")
            .unwrap(),
        "preparing\n"
    );
    assert_eq!(client.output(&path, "stdouterr", "stdout.txt"), None);
}

#[test]
fn a_preparation_runs_before_the_job_and_shares_its_directories() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut job = shell_job("cat $AZ_BATCHAI_JOB_TEMP/prepared");
    job["jobPreparation"] = json!({"commandLine": "echo ready > $AZ_BATCHAI_JOB_TEMP/prepared"});
    let path = client.submit(&experiment, "j", &job);
    assert_eq!(client.wait_for_end(&path)["executionState"], "succeeded");
    assert_eq!(client.stdout(&path), "ready\n");
}

#[test]
fn a_preparation_that_takes_long_is_told_and_its_output_can_be_read_meanwhile() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut job = shell_job("echo never");
    job["jobPreparation"] = json!({"commandLine": "echo preparing; sleep 1000"});
    let path = client.submit(&experiment, "j", &job);
    let told = wait_for("the job to say what takes long", PATIENCE, || {
        let told = client.job(&path)["lote"]["preparing"][0].clone();
        told.is_object().then_some(told)
    });
    assert_eq!(told["doing"], "running the preparation command", "{told}");
    let output = wait_for("a line of the preparation", PATIENCE, || {
        let output = client.output(&path, "stdouterr", "stdout-job_prep.txt");
        output.filter(|output| output.ends_with('\n'))
    });
    assert_eq!(output, "preparing\n");
    let shown = daemon.lote(&["job", "show", "j", "-e", "e"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("running the preparation command on node-"),
        "{shown}"
    );
    client.post(&format!("{path}/terminate"));
    let ended = client.wait_for_end(&path);
    assert_eq!(first_error(&ended)["code"], "JobTerminated", "{ended}");
    assert_eq!(ended["lote"]["preparing"], json!(null));
}

#[test]
fn a_job_over_its_time_limit_is_ended() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut job = shell_job("sleep 1000");
    job["constraints"] = json!({"maxWallClockTime": "PT1S"});
    let path = client.submit(&experiment, "j", &job);
    let ended = client.wait_for_end(&path);
    assert_eq!(first_error(&ended)["code"], "JobExceededMaxWallClockTime");
    assert!(ended["executionInfo"].get("exitCode").is_none(), "{ended}");
}

#[test]
fn a_terminated_job_gets_its_grace_and_is_gone() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let job =
        shell_job("trap 'echo saved; exit 0' TERM; echo started; while true; do sleep 0.05; done");
    let path = client.submit(&experiment, "j", &job);
    lote_tests::wait_for("the first output", lote_tests::PATIENCE, || {
        (client.stdout(&path) == "started\n").then_some(())
    });
    let answer = client.post(&format!("{path}/terminate"));
    assert_eq!(answer.status, 202, "{answer:?}");
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "failed");
    assert_eq!(first_error(&ended)["code"], "JobTerminated");
    assert!(ended["executionInfo"].get("exitCode").is_none(), "{ended}");
    assert_eq!(client.stdout(&path), "started\nsaved\n");
    // Once more is no error and changes nothing.
    assert_eq!(client.post(&format!("{path}/terminate")).status, 200);
}

#[test]
fn a_queued_job_can_be_terminated_and_deleted() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let running = client.submit(&experiment, "running", &shell_job("sleep 1000"));
    client.wait_for_state(&running, "running");
    let queued = client.submit(&experiment, "queued", &shell_job("true"));
    assert_eq!(client.job(&queued)["executionState"], "queued");
    client.post(&format!("{queued}/terminate"));
    assert_eq!(
        first_error(&client.wait_for_end(&queued))["code"],
        "JobTerminated"
    );
    for job in [&queued, &running] {
        let answer = client.delete(job);
        assert!([200, 202, 204].contains(&answer.status), "{answer:?}");
        lote_tests::wait_for("the deletion", lote_tests::PATIENCE, || {
            (client.get(job).status == 404).then_some(())
        });
    }
    assert!(
        processes::mentioning(&daemon.data().to_string_lossy()).len() <= 1,
        "only the daemon is left"
    );
}

#[test]
fn jobs_with_a_share_of_the_node_run_side_by_side() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let share = json!({"resources": {"cpusPerNode": 0.5, "memory": "64m"}});
    // Each waits for the other: they end only if they run at the same time.
    let rendezvous = "touch $AZ_BATCHAI_MOUNT_ROOT/$ME; until [ -e $AZ_BATCHAI_MOUNT_ROOT/$OTHER ]; do sleep 0.02; done";
    let jobs: Vec<String> = [("a", "b"), ("b", "a")]
        .map(|(me, other)| {
            let mut job = shell_job_with(rendezvous, share.clone());
            job["environmentVariables"] =
                json!([{"name": "ME", "value": me}, {"name": "OTHER", "value": other}]);
            client.submit(&experiment, me, &job)
        })
        .into();
    for job in &jobs {
        assert_eq!(client.wait_for_end(job)["executionState"], "succeeded");
    }
}

#[test]
fn a_job_that_no_node_can_hold_says_why_it_waits() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let job = shell_job_with("true", json!({"resources": {"gpusPerNode": 64}}));
    let path = client.submit(&experiment, "j", &job);
    let waiting = lote_tests::wait_for("the reason", lote_tests::PATIENCE, || {
        client.job(&path)["lote"]["waiting"]
            .as_str()
            .map(str::to_owned)
    });
    assert!(waiting.contains("GPU"), "{waiting}");
    assert_eq!(client.job(&path)["executionState"], "queued");
}

#[test]
fn the_plan_is_shown_before_and_after_submission() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let body = json!({"properties": shell_job("echo planned")});
    let dry = client.send("POST", &format!("{experiment}/jobs/j/plan"), Some(&body));
    assert_eq!(dry.status, 200, "{dry:?}");
    assert!(dry.text.contains("echo planned"), "{}", dry.text);
    assert_eq!(
        client.get(&format!("{experiment}/jobs/j")).status,
        404,
        "a dry run stores nothing"
    );
    let path = client.submit(&experiment, "j", &shell_job("echo planned"));
    client.wait_for_end(&path);
    let stored = client.get(&format!("{path}/plan"));
    assert_eq!(stored.status, 200, "{stored:?}");
    assert!(stored.text.contains("echo planned"), "{}", stored.text);
}

#[test]
fn the_account_counts_processor_time_and_memory() {
    if !crate::is_root_or_skip("the_account_counts_processor_time_and_memory") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let work = "python3 -c \"b = bytearray(100 << 20); import time; t = time.process_time()\nwhile time.process_time() - t < 0.5: pass\"";
    let path = client.submit(&experiment, "j", &shell_job(work));
    let account = client.wait_for_end(&path)["lote"]["account"].clone();
    let cpu_seconds = account["cpuSeconds"].as_f64().unwrap();
    assert!((0.5..5.0).contains(&cpu_seconds), "{account}");
    assert!(
        account["memoryPeakBytes"].as_u64().unwrap() > 100 << 20,
        "{account}"
    );
}

#[test]
fn a_cluster_of_ones_own_takes_the_node_and_gives_it_back() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let cluster = format!("{DEFAULT_WORKSPACE}/clusters/mine");
    let body = json!({"properties": {
        "vmSize": "CPU",
        "scaleSettings": {"manual": {"targetNodeCount": 1}},
        "userAccountSettings": {"adminUserName": "a", "adminUserPassword": "p"}}});
    assert_eq!(client.put(&cluster, &body).status, 200);
    let nodes = |count: u64| {
        lote_tests::wait_for("the cluster's nodes", lote_tests::PATIENCE, || {
            (client.job(&cluster)["currentNodeCount"] == count).then_some(())
        });
    };
    nodes(1);
    let mut job = shell_job("true");
    job["cluster"] = json!({"id": cluster});
    let path = client.submit(&experiment, "j", &job);
    assert_eq!(client.wait_for_end(&path)["executionState"], "succeeded");
    let smaller = json!({"properties": {"scaleSettings": {"manual": {"targetNodeCount": 0}}}});
    assert_eq!(client.send("PATCH", &cluster, Some(&smaller)).status, 200);
    nodes(0);
    let local = client.submit(&experiment, "local", &shell_job("true"));
    assert_eq!(client.wait_for_end(&local)["executionState"], "succeeded");
}
