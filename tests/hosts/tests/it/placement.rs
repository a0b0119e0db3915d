//! Jobs of any daemon run on any host.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use lote_test_hosts::{HostDaemon, Lab, LabOptions};
use lote_tests::client::shell_job;
use serde_json::{Value, json};

use crate::load::{CLUSTER, assert_nothing_left, cluster, shared_folder};

#[test]
fn jobs_of_any_daemon_run_on_any_host_and_any_daemon_shows_them() {
    let lab = Lab::start(&LabOptions::hosts(4));
    let path = cluster(&lab.client(), CLUSTER, 4);
    let experiment = lab.client().experiment("e");
    let mut nodes = BTreeSet::new();
    let mut jobs = Vec::new();
    for (number, daemon) in lab.daemons.iter().enumerate() {
        let mut job = shell_job("echo from $AZ_BATCHAI_JOB_NAME; sleep 2");
        job["cluster"] = json!({"id": path});
        jobs.push(
            daemon
                .client()
                .submit(&experiment, &format!("j{number}"), &job),
        );
    }
    for job in &jobs {
        let name = job.rsplit('/').next().unwrap();
        let mut ran_on = Vec::new();
        for daemon in &lab.daemons {
            let ended = daemon.client().wait_for_end(job);
            assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
            ran_on = node_names(&ended);
        }
        for daemon in &lab.daemons {
            let written = format!("from {name}\n");
            assert_eq!(daemon.client().stdout(job), written, "{}", daemon.name());
            let logs = daemon.lote(&["job", "logs", "-e", "e", name]);
            assert_eq!(text(&logs.stdout), written, "{logs:?}");
        }
        nodes.extend(ran_on);
    }
    assert_eq!(nodes.len(), 4, "whole nodes, all at once: {nodes:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn output_is_followed_through_a_daemon_that_does_not_run_the_job() {
    let lab = Lab::start(&LabOptions::hosts(2));
    let client = lab.client();
    let path = cluster(&client, CLUSTER, 2);
    let experiment = client.experiment("e");
    let gate = shared_folder(&lab).join("gate");
    let line = format!(
        "echo first; until [ -e {gate} ]; do sleep 0.05; done; echo second",
        gate = gate.display()
    );
    let mut body = shell_job(&line);
    body["cluster"] = json!({"id": path});
    let job = client.submit(&experiment, "followed", &body);
    client.wait_for_state(&job, "running");
    let ran_on = node_names(&client.job(&job));
    let elsewhere = |daemon: &&HostDaemon| !ran_on.iter().any(|node| node == daemon.name());
    let daemon = lab.daemons.iter().find(elsewhere).expect("another host");

    let mut follower = daemon
        .lote_command(&["job", "logs", "-f", "-e", "e", "followed"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    // It comes while the job runs: nothing else opens the gate.
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "second");
    assert!(lines.next().is_none());
    assert!(follower.wait().unwrap().success());
}

fn node_names(properties: &Value) -> Vec<String> {
    let nodes = properties["lote"]["nodes"].as_array();
    let name = |node: &Value| node["name"].as_str().or(node.as_str()).map(str::to_owned);
    nodes.into_iter().flatten().filter_map(name).collect()
}

/// Two processes that add up what each has, over Gloo.
const TRAINING: &str = "
import sys, torch, torch.distributed as dist
dist.init_process_group('gloo')
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(rank)
weight = torch.zeros(4, requires_grad=True)
target = torch.tensor([1.0, -2.0, 3.0, 0.5])
for step in range(200):
    x = torch.randn(32, 4)
    loss = ((x @ (weight - target)) ** 2).mean()
    loss.backward()
    dist.all_reduce(weight.grad)
    with torch.no_grad():
        weight -= 0.05 * weight.grad / size
    weight.grad = None
error = (weight - target).abs().max().item()
with open(f'{sys.argv[1]}/rank-{rank}', 'w') as result:
    result.write(f'{size} processes, error below 0.01: {error < 0.01}')
dist.destroy_process_group()
";

#[test]
fn a_gang_of_two_hosts_trains_over_gloo() {
    let lab = Lab::start(&LabOptions::hosts(2));
    let path = cluster(&lab.client(), CLUSTER, 2);
    let client = lab.client();
    let experiment = client.experiment("e");
    let shared = shared_folder(&lab);
    let script = lab.folder().join("train.py");
    std::fs::write(&script, TRAINING).unwrap();
    let job = json!({
        "cluster": {"id": path},
        "nodeCount": 2,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
        "pyTorchSettings": {
            "pythonScriptFilePath": script,
            "commandLineArgs": shared,
            "pythonInterpreterPath": "/usr/bin/python3",
            "processCount": 2,
            "communicationBackend": "gloo",
        },
    });
    let job = client.submit(&experiment, "train", &job);
    let ended = client.wait_for_end(&job);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    for rank in 0..2 {
        let result = std::fs::read_to_string(shared.join(format!("rank-{rank}"))).unwrap();
        assert_eq!(result, "2 processes, error below 0.01: True");
    }
    assert_eq!(node_names(&ended).len(), 2, "{ended:#}");
}

#[test]
fn a_gang_gets_all_its_hosts_or_none() {
    let lab = Lab::start(&LabOptions::hosts(3));
    let client = lab.client();
    let path = cluster(&client, CLUSTER, 3);
    let experiment = client.experiment("e");
    let mut one = shell_job("sleep 5");
    one["cluster"] = json!({"id": path});
    let first = client.submit(&experiment, "one", &one);
    client.wait_for_state(&first, "running");
    let mut three = shell_job("sleep 0.1");
    three["cluster"] = json!({"id": path});
    three["nodeCount"] = json!(3);
    let gang = client.submit(&experiment, "three", &three);
    let ended = client.wait_for_end(&first);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    let ended_at = ended["executionInfo"]["endTime"]
        .as_str()
        .unwrap()
        .to_owned();
    let gang = client.wait_for_end(&gang);
    assert_eq!(gang["executionState"], "succeeded", "{gang:#}");
    let started_at = gang["executionInfo"]["startTime"].as_str().unwrap();
    assert!(started_at >= ended_at.as_str(), "{started_at} < {ended_at}");
    assert_nothing_left(&lab.daemons);
}
