//! A secret of a job whose ranks are started remotely is in their environment and on no command line.

use lote_test_hosts::HostDaemon;
use lote_tests::client::DEFAULT_WORKSPACE;
use lote_tests::processes::command_lines;
use lote_tests::wait_for;
use serde_json::{Value, json};

use super::site::{Site, is_installed, shown};
use crate::load::{CLUSTER, RECOVERY, assert_nothing_left};

/// Found nowhere else on the machine.
const SECRET: &str = "hunter2-of-the-ranks";

/// Where `mpirun` is MPICH's.
const MPICH: &str = "/opt/lote-frameworks/mpich/bin:/usr/bin:/bin";

#[test]
fn open_mpi_shows_no_secret() {
    no_command_line_has_the_secret("/usr/bin:/bin", "orted");
}

#[test]
fn mpich_shows_no_secret() {
    if is_installed("mpich") {
        no_command_line_has_the_secret(MPICH, "hydra_pmi_proxy");
    }
}

/// `daemon` is what `mpirun` starts on other hosts.
fn no_command_line_has_the_secret(path: &str, daemon: &str) {
    let site = Site::start();
    let client = site.client();
    let job = client.submit(&client.experiment("secrets"), "ranks", &job(path));
    let ranks = wait_for("both ranks", RECOVERY, || {
        let said = client.stdout(&job);
        let ranks: Vec<String> = said.lines().map(str::to_owned).collect();
        (ranks.len() == 2).then_some(ranks)
    });
    let knows = ranks.iter().all(|rank| rank.ends_with(" knows it"));
    assert!(knows, "{}", shown(&site.output(&job)));

    // What the second host has was started from the first.
    let second = &site.lab.daemons[1];
    let started = command_lines_on(second);
    let has = |words: &str| started.iter().any(|line| line.contains(words));
    assert!(has(daemon) && has("sleep 1000"), "{started:#?}");
    assert!(!second.host.processes_mentioning(SECRET).is_empty());
    // All of the machine is looked at: daemons, shims, `lote-rsh`, those of other hosts.
    let shows: Vec<String> = command_lines()
        .into_iter()
        .map(|(_, line)| line)
        .filter(|line| line.contains(SECRET))
        .collect();
    assert!(shows.is_empty(), "{shows:#?}");

    let answer = client.post(&format!("{job}/terminate"));
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    site.wait_for_end(&job);
    for daemon in &site.lab.daemons {
        assert!(!daemon.log().contains(SECRET), "{}", daemon.log());
    }
    for (name, text) in site.output(&job) {
        assert!(!text.contains(SECRET), "{name}: {text}");
    }
    assert_nothing_left(&site.lab.daemons);
}

/// Two ranks, one on each host, which tell whether they have the secret without showing it.
fn job(path: &str) -> Value {
    let line = format!(
        "if [ ${{#TOKEN}} = {} ]; then echo $AZ_BATCH_NODE_ID knows it; fi; exec sleep 1000",
        SECRET.len()
    );
    json!({
        "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/{CLUSTER}")},
        "nodeCount": 2,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
        "customMpiSettings": {"commandLine": line, "processCount": 2},
        "environmentVariables": [{"name": "PATH", "value": path}],
        "secrets": [{"name": "TOKEN", "value": SECRET}],
        "lote": {"gracePeriod": "PT1S"},
    })
}

fn command_lines_on(daemon: &HostDaemon) -> Vec<String> {
    let own = daemon.host.processes();
    let lines = command_lines().into_iter();
    lines
        .filter(|(pid, _)| own.contains(pid))
        .map(|(_, line)| line)
        .collect()
}
