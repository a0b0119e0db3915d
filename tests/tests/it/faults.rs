//! What the daemon loses when it is killed: nothing that it acknowledged.

use std::time::Duration;

use lote_tests::client::{shell_job, shell_job_with};
use lote_tests::daemon::Daemon;
use lote_tests::{PATIENCE, processes, wait_for};

/// The moments between a submission and the end at which the daemon is killed:
/// denser at the start, where most of the work of the daemon is.
const KILLS: u64 = 24;

#[test]
fn a_running_job_goes_on_while_the_daemon_is_dead() {
    let mut daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let command = "echo $$; for i in $(seq 1 40); do echo $i; sleep 0.05; done; exit 7";
    let path = client.submit(&experiment, "j", &shell_job(command));
    let first_line = wait_for("the first line", PATIENCE, || {
        client.stdout(&path).lines().next().map(str::to_owned)
    });
    daemon.kill();
    assert!(
        std::path::Path::new(&format!("/proc/{first_line}")).exists(),
        "the job survives"
    );
    std::thread::sleep(Duration::from_millis(300));
    daemon.restart();
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionInfo"]["exitCode"], 7, "{ended}");
    assert_eq!(ended["lote"]["attempt"], 1, "{ended}");
    let numbers: Vec<String> = (1..=40).map(|i| i.to_string()).collect();
    assert_eq!(
        client.stdout(&path),
        format!("{first_line}\n{}\n", numbers.join("\n"))
    );
}

#[test]
fn a_job_that_ends_while_the_daemon_is_dead_is_concluded_once() {
    let mut daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &shell_job("echo one; sleep 0.3; exit 5"));
    wait_for("the job to run", PATIENCE, || {
        (client.stdout(&path) == "one\n").then_some(())
    });
    daemon.kill();
    let marker = format!("{}/work", daemon.data().display());
    wait_for("the job to end by itself", PATIENCE, || {
        processes::mentioning(&marker).is_empty().then_some(())
    });
    daemon.restart();
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionInfo"]["exitCode"], 5);
    daemon.kill();
    daemon.restart();
    assert_eq!(
        client.wait_for_end(&path),
        ended,
        "the end is reported once, and stays"
    );
}

#[test]
fn a_kill_at_any_moment_loses_nothing_and_doubles_nothing() {
    let mut daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    for round in 0..KILLS {
        let name = format!("j{round}");
        // A line for each start, in a file that all attempts would share.
        let command =
            format!("echo started >> $AZ_BATCHAI_MOUNT_ROOT/starts-{name}; sleep 0.02; echo end");
        let path = client.submit(&experiment, &name, &shell_job(&command));
        std::thread::sleep(Duration::from_micros(round * round * 120));
        daemon.kill();
        daemon.restart();
        let ended = client.wait_for_end(&path);
        assert_eq!(
            ended["executionState"], "succeeded",
            "round {round}: {ended}"
        );
        assert_eq!(client.stdout(&path), "end\n", "round {round}");
        let show = format!("cat $AZ_BATCHAI_MOUNT_ROOT/starts-{name}");
        let check = client.submit(&experiment, &format!("check{round}"), &shell_job(&show));
        client.wait_for_end(&check);
        assert_eq!(
            client.stdout(&check),
            "started\n",
            "round {round}: started exactly once"
        );
    }
    assert_nothing_left(&daemon);
}

#[test]
fn a_kill_at_any_moment_of_a_termination_still_ends_the_job() {
    let mut daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    for round in 0..8_u64 {
        let stubborn = "trap '' TERM; echo up; while true; do sleep 0.1; done";
        let job = shell_job_with(stubborn, serde_json::json!({"gracePeriod": "PT1S"}));
        let path = client.submit(&experiment, &format!("j{round}"), &job);
        let mut body = client.job(&path);
        if round % 2 == 0 {
            wait_for("the job to be up", PATIENCE, || {
                (client.stdout(&path) == "up\n").then_some(())
            });
            body = client.job(&path);
        }
        assert_ne!(body["executionState"], "failed");
        assert_eq!(client.delete(&path).status, 202);
        std::thread::sleep(Duration::from_millis(round * 3));
        daemon.kill();
        daemon.restart();
        wait_for("the job to be gone", PATIENCE, || {
            (client.try_send("GET", &path, None)?.status == 404).then_some(())
        });
    }
    assert_nothing_left(&daemon);
}

#[test]
fn many_jobs_survive_a_kill_in_the_middle_of_their_submission() {
    let mut daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut job = shell_job("echo $AZ_BATCHAI_JOB_NAME");
    job["lote"] = serde_json::json!({"resources": {"cpusPerNode": 0.25, "memory": "32m"}});
    let body = serde_json::json!({"properties": job}).to_string();
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let submitters: Vec<_> = (0..4)
            .map(|thread| {
                let (client, experiment, body) = (client.clone(), &experiment, &body);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for number in 0..200 {
                        let path = format!("{experiment}/jobs/t{thread}-{number}");
                        match client.try_send("PUT", &path, Some(body)) {
                            Some(answer) if answer.status == 200 => acknowledged.push(path),
                            _ => break,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(150));
        daemon.kill();
        submitters
            .into_iter()
            .flat_map(|submitter| submitter.join().unwrap())
            .collect()
    });
    assert!(!acknowledged.is_empty());
    daemon.restart();
    for path in &acknowledged {
        let ended = client.wait_for_end(path);
        assert_eq!(ended["executionState"], "succeeded", "{path}: {ended}");
        assert_eq!(
            client.stdout(path),
            format!("{}\n", path.rsplit('/').next().unwrap())
        );
    }
    wait_for("all jobs to end", PATIENCE, || {
        processes::mentioning(&format!("{}/work", daemon.data().display()))
            .is_empty()
            .then_some(())
    });
    assert_nothing_left(&daemon);
}

/// No process, no control group, no run record, no scratch directory.
fn assert_nothing_left(daemon: &Daemon) {
    let data = daemon.data();
    let work = format!("{}/work", data.display());
    wait_for("the last clean-up", PATIENCE, || {
        let processes = processes::mentioning(&work);
        let records = std::fs::read_dir(data.join("run")).map_or(0, Iterator::count);
        let scratch: usize = std::fs::read_dir(data.join("work/users"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|user| std::fs::read_dir(user.path().join("jobs")).map_or(0, Iterator::count))
            .sum();
        (processes.is_empty() && records == 0 && scratch == 0).then_some(())
    });
    let jobs = daemon.client().get(&format!(
        "{}/experiments/e/jobs",
        lote_tests::client::DEFAULT_WORKSPACE
    ));
    for job in jobs.json["value"].as_array().unwrap() {
        let segment = job["properties"]["jobOutputDirectoryPathSegment"]
            .as_str()
            .unwrap();
        let uid = segment.rsplit('/').next().unwrap();
        assert!(
            processes::cgroups_mentioning(uid).is_empty(),
            "a control group of {uid} is left"
        );
    }
}
