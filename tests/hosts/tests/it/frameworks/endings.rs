//! How jobs end whose processes `mpirun` has started on other nodes.

use lote_tests::client::{DEFAULT_WORKSPACE, first_error};
use lote_tests::wait_for;
use serde_json::{Value, json};

use super::site::{Site, shown};
use crate::load::{CLUSTER, RECOVERY, assert_nothing_left};

/// The command line of a process that has left its parent's session.
const SLEEPER: &str = "sleep\u{0}2000\u{0}";

/// A job of two ranks, one on each host.
fn job(line: &str) -> Value {
    json!({
        "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/{CLUSTER}")},
        "nodeCount": 2,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
        "customMpiSettings": {"commandLine": line, "processCount": 2},
    })
}

/// Rank 1, which is on the second host, ends in some way; rank 0 would go on for ever.
fn second_rank_ends_by(site: &Site, name: &str, how: &str) -> (Value, String) {
    let client = site.client();
    let line = format!(
        "echo rank $OMPI_COMM_WORLD_RANK is there; \
         if [ $OMPI_COMM_WORLD_RANK = 1 ]; then {how}; fi; exec sleep 1000"
    );
    let job = client.submit(&client.experiment("endings"), name, &job(&line));
    let ended = site.wait_for_end(&job);
    let said = shown(&site.output(&job));
    assert_eq!(ended["executionState"], "failed", "{ended:#}\n{said}");
    assert_nothing_left(&site.lab.daemons);
    (ended, said)
}

#[test]
fn a_rank_that_fails_takes_the_job_down_with_its_exit_code() {
    let site = Site::start();
    let (ended, said) = second_rank_ends_by(&site, "fails", "exit 42");
    assert_eq!(ended["executionInfo"]["exitCode"], 42, "{ended:#}\n{said}");
    let error = first_error(&ended);
    assert_eq!(error["code"], "JobFailed", "{error:#}");
}

#[test]
fn a_rank_that_is_killed_takes_the_job_down_and_its_node_is_told() {
    let site = Site::start();
    let (ended, said) = second_rank_ends_by(&site, "killed", "kill -9 $$");
    assert_eq!(ended["executionInfo"]["exitCode"], 137, "{ended:#}\n{said}");
    let error = first_error(&ended).to_string();
    let second = &site.lab.daemons[1];
    let node = second.host.address();
    assert!(
        error.contains(node) || error.contains(second.name()),
        "{error}"
    );
}

#[test]
fn terminate_leaves_nothing_on_any_host() {
    let site = Site::start();
    let client = site.client();
    let line = "trap '' TERM; echo rank $OMPI_COMM_WORLD_RANK is there; \
                sleep 1000 & setsid sleep 2000 & wait; wait; sleep 3000";
    let mut body = job(line);
    body["lote"] = json!({"gracePeriod": "PT1S"});
    let job = client.submit(&client.experiment("endings"), "terminated", &body);
    wait_for("both ranks", RECOVERY, || {
        let stdout = client.stdout(&job);
        (stdout.contains("rank 0 is") && stdout.contains("rank 1 is")).then_some(())
    });
    for daemon in &site.lab.daemons {
        let sleepers = daemon.host.processes_mentioning(SLEEPER);
        assert_eq!(sleepers.len(), 1, "on {}", daemon.name());
    }
    let answer = client.post(&format!("{job}/terminate"));
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    let ended = site.wait_for_end(&job);
    assert_eq!(first_error(&ended)["code"], "JobTerminated", "{ended:#}");
    assert_nothing_left(&site.lab.daemons);
    for daemon in &site.lab.daemons {
        let left = daemon.host.processes_mentioning(SLEEPER);
        assert!(left.is_empty(), "{left:?} on {}", daemon.name());
    }
}
