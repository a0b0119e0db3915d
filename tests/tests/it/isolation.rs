//! Jobs are untrusted: what one may not do to the node and to others.

use lote_tests::client::{Client, detail, first_error, shell_job, shell_job_with};
use lote_tests::daemon::Daemon;
use lote_tests::{PATIENCE, processes, wait_for};
use serde_json::json;

/// A workspace of its own, with an experiment in it.
fn other_workspace(client: &Client, name: &str) -> String {
    let workspace = format!("/v1/groups/default/workspaces/{name}");
    assert_eq!(
        client.put(&workspace, &json!({"location": "local"})).status,
        200
    );
    let experiment = format!("{workspace}/experiments/e");
    assert_eq!(client.put(&experiment, &json!({})).status, 200);
    experiment
}

#[test]
fn a_job_that_forks_daemonises_and_ignores_sigterm_is_gone_after_terminate() {
    if !crate::is_root_or_skip(
        "a_job_that_forks_daemonises_and_ignores_sigterm_is_gone_after_terminate",
    ) {
        return;
    }
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let stubborn = "trap '' TERM HUP; for i in 1 2 3; do setsid sh -c \"trap '' TERM HUP; while true; do sleep 1000; done\" & done; \
                    echo up; while true; do sleep 1000; done";
    let path = client.submit(
        &experiment,
        "j",
        &shell_job_with(stubborn, json!({"gracePeriod": "PT1S"})),
    );
    wait_for("the job to be up", PATIENCE, || {
        (client.stdout(&path) == "up\n").then_some(())
    });
    let marker = format!("{}/work", daemon.data().display());
    assert!(
        processes::mentioning(&marker).len() >= 4,
        "the job and its daemons run"
    );
    client.post(&format!("{path}/terminate"));
    assert_eq!(
        first_error(&client.wait_for_end(&path))["code"],
        "JobTerminated"
    );
    assert_eq!(processes::mentioning(&marker), Vec::<i32>::new());
    let uid = client.job(&path)["jobOutputDirectoryPathSegment"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(
        processes::cgroups_mentioning(&uid),
        Vec::<std::path::PathBuf>::new()
    );
}

#[test]
fn what_a_job_leaves_running_ends_with_it() {
    if !crate::is_root_or_skip("what_a_job_leaves_running_ends_with_it") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(
        &experiment,
        "j",
        &shell_job("setsid sleep 1000 & echo done"),
    );
    assert_eq!(client.wait_for_end(&path)["executionState"], "succeeded");
    let marker = format!("{}/work", daemon.data().display());
    assert_eq!(processes::mentioning(&marker), Vec::<i32>::new());
}

#[test]
fn a_job_over_its_memory_limit_is_told_so() {
    if !crate::is_root_or_skip("a_job_over_its_memory_limit_is_told_so") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let job = shell_job_with(
        "python3 -c 'b = bytearray(256 << 20); print(len(b))'",
        json!({"resources": {"cpusPerNode": 1, "memory": "48m"}}),
    );
    let path = client.submit(&experiment, "j", &job);
    let error = first_error(&client.wait_for_end(&path));
    assert_eq!(error["code"], "JobOutOfMemory", "{error}");
    assert!(
        error["message"].as_str().unwrap().contains("48.0 MiB"),
        "{error}"
    );
}

#[test]
fn a_fork_bomb_stays_inside_its_limit() {
    if !crate::is_root_or_skip("a_fork_bomb_stays_inside_its_limit") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let bomb = "bomb() { bomb | bomb & }; bomb; sleep 1000";
    let job = shell_job_with(
        bomb,
        json!({"resources": {"cpusPerNode": 0.5, "processes": 40}, "gracePeriod": "PT0S"}),
    );
    let path = client.submit(&experiment, "j", &job);
    client.wait_for_state(&path, "running");
    wait_for("the bomb to hit the limit", PATIENCE, || {
        let text = client.output(&path, "stdouterr", "stderr.txt")?;
        text.contains("Resource temporarily unavailable")
            .then_some(())
    });
    let marker = format!("{}/work", daemon.data().display());
    for _ in 0..20 {
        let count = processes::mentioning(&marker).len();
        assert!(count <= 40, "{count} processes");
    }
    client.post(&format!("{path}/terminate"));
    client.wait_for_end(&path);
    assert_eq!(processes::mentioning(&marker), Vec::<i32>::new());
}

#[test]
fn a_job_cannot_read_what_is_not_its_workspaces() {
    if !crate::is_root_or_skip("a_job_cannot_read_what_is_not_its_workspaces") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut secretive =
        shell_job("umask 0; echo secret > $AZ_BATCHAI_OUTPUT_O/file; echo $AZ_BATCHAI_OUTPUT_O");
    secretive["outputDirectories"] = json!([{"id": "O", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT"}]);
    let first = client.submit(&experiment, "j", &secretive);
    assert_eq!(client.wait_for_end(&first)["executionState"], "succeeded");
    let file = format!("{}/file", client.stdout(&first).trim());

    let spy = other_workspace(&client, "spies");
    let data = daemon.data();
    let targets = [
        file.clone(),
        format!("{}/store", data.display()),
        format!("{}/run", data.display()),
    ];
    for (index, target) in targets.iter().enumerate() {
        let command = format!("cat {target} || ls {target}");
        let path = client.submit(&spy, &format!("spy{index}"), &shell_job(&command));
        assert_eq!(
            client.wait_for_end(&path)["executionState"],
            "failed",
            "{target}"
        );
        assert_eq!(client.stdout(&path), "", "{target}");
    }
    // A job of the same workspace may read it.
    let path = client.submit(&experiment, "friend", &shell_job(&format!("cat {file}")));
    client.wait_for_end(&path);
    assert_eq!(client.stdout(&path), "secret\n");
}

#[test]
fn a_job_has_no_privileges_and_its_own_temporary_directory() {
    if !crate::is_root_or_skip("a_job_has_no_privileges_and_its_own_temporary_directory") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let command = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Groups):' /proc/self/status; id -u -n; ls /tmp | wc -l; touch /tmp/mine; id -u";
    let path = client.submit(&experiment, "j", &shell_job(command));
    assert_eq!(client.wait_for_end(&path)["executionState"], "succeeded");
    let text = client.stdout(&path);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let zero = "0000000000000000";
    assert_eq!(lines[0], ["Groups:"], "{text}");
    assert_eq!(lines[1], ["CapEff:", zero], "{text}");
    assert_eq!(lines[2], ["CapBnd:", zero], "{text}");
    assert_eq!(lines[3], ["NoNewPrivs:", "1"], "{text}");
    assert_eq!(lines[4], ["lote"], "{text}");
    assert_eq!(lines[5], ["0"], "{text}");
    assert!(lines[6][0].parse::<u32>().unwrap() >= 2_000_000, "{text}");
    assert!(!std::path::Path::new("/tmp/mine").exists());
}

#[test]
fn an_output_link_does_not_follow_a_jobs_symbolic_links_out() {
    if !crate::is_root_or_skip("an_output_link_does_not_follow_a_jobs_symbolic_links_out") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut job = shell_job(
        "ln -s /etc/shadow $AZ_BATCHAI_OUTPUT_O/shadow; ln -s /etc $AZ_BATCHAI_OUTPUT_O/etc",
    );
    job["outputDirectories"] = json!([{"id": "O", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT"}]);
    let path = client.submit(&experiment, "j", &job);
    client.wait_for_end(&path);
    let listing = client.post(&format!("{path}/listOutputFiles?outputdirectoryid=O"));
    for entry in listing.json["value"].as_array().unwrap() {
        if let Some(link) = entry["downloadUrl"].as_str() {
            assert!(client.get(link).status >= 400, "{entry}");
        }
    }
    let below = client.post(&format!(
        "{path}/listOutputFiles?outputdirectoryid=O&directory=etc"
    ));
    assert!(!below.text.contains("passwd"), "{below:?}");
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &shell_job("no-such-program --flag"));
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionInfo"]["exitCode"], 127);
    assert!(
        detail(&first_error(&ended), "stderr").contains("no-such-program"),
        "{ended}"
    );
}

#[test]
fn an_output_path_that_the_job_may_not_write_is_named() {
    if !crate::is_root_or_skip("an_output_path_that_the_job_may_not_write_is_named") {
        return;
    }
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut job = shell_job("true");
    job["stdOutErrPathPrefix"] = json!("/root/out");
    let path = client.submit(&experiment, "j", &job);
    let error = first_error(&client.wait_for_end(&path));
    assert_eq!(error["code"], "OutputDirectoryFailed", "{error}");
    assert!(
        error["message"].as_str().unwrap().contains("/root/out"),
        "{error}"
    );
}
