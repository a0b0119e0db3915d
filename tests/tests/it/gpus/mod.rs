//! GPUs that there are not: what a node tells of them, who gets which, what happens when one fails.
//! All of it needs root, for device files and mount namespaces of their own.
//!
//! * `inventory` — the node's resource, and a machine without GPUs.
//! * `packing` — jobs side by side, each with GPUs of its own, near each other.
//! * `devices` — what a job can open.
//! * `faults` — each fault with its condition, what becomes of the job, and nothing else.
//! * `account` — what jobs used, and what is told while they run.

mod account;
mod devices;
mod faults;
mod inventory;
mod packing;

use std::collections::BTreeSet;

use lote_tests::client::{Client, shell_job_with};
use lote_tests::daemon::Daemon;
use lote_tests::gpus::node::GpuNode;
use lote_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};

/// Opens the GPUs that the job was given, as CUDA would, and keeps them.
const USE_GPUS: &str = "import glob, os, time\n\
    for path in sorted(glob.glob('/dev/nvidia[0-9]*') + glob.glob('/dev/nvidia-caps/*')):\n    \
        os.open(path, os.O_RDWR | os.O_NOCTTY)\n\
    print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n\
    time.sleep(float(os.environ['SECONDS_HELD']))\n";

/// A job that has so many GPUs and little else of the node.
fn gpu_job(gpus: usize, command_line: &str) -> Value {
    let resources = json!({"gpusPerNode": gpus, "cpusPerNode": 0.1, "memory": "64m"});
    shell_job_with(
        command_line,
        json!({"resources": resources, "gracePeriod": "PT1S"}),
    )
}

/// A job that uses its GPUs for so long.
fn using_job(gpus: usize, seconds: f64) -> Value {
    gpu_job(
        gpus,
        &format!("SECONDS_HELD={seconds} exec python3 -c \"{USE_GPUS}\""),
    )
}

/// Submits a job that uses GPUs until the test ends, and waits until it does; gives its path and
/// what it was given.
fn start_using(
    client: &Client,
    experiment: &str,
    name: &str,
    gpus: usize,
) -> (String, Vec<String>) {
    let path = client.submit(experiment, name, &using_job(gpus, 1000.0));
    let given = wait_for_given(client, &path, gpus);
    (path, given)
}

/// Waits until a job says which GPUs it sees, and that they are as many as it asked for.
fn wait_for_given(client: &Client, path: &str, gpus: usize) -> Vec<String> {
    let text = wait_for(&format!("{path} to use its GPUs"), PATIENCE, || {
        let text = client.stdout(path);
        if text.ends_with('\n') {
            return Some(text);
        }
        let job = client.job(path);
        assert_ne!(job["executionState"], "failed", "{job:#}");
        None
    });
    let given: Vec<String> = text.trim().split(',').map(str::to_owned).collect();
    let distinct: BTreeSet<&String> = given.iter().collect();
    assert_eq!(distinct.len(), gpus, "{text}");
    given
}

/// A daemon's client, its node, and an experiment.
fn ask(daemon: &Daemon) -> (Client, GpuNode, String) {
    let client = daemon.client();
    let experiment = client.experiment("e");
    (client.clone(), GpuNode::new(client), experiment)
}

/// The numbers of GPUs by their UUIDs.
fn numbers(node: &GpuNode, uuids: &[String]) -> Vec<usize> {
    let gpus = node.gpus();
    let number = |uuid: &String| gpus.iter().position(|gpu| gpu["uuid"] == uuid.as_str());
    let mut numbers: Vec<usize> = uuids.iter().filter_map(number).collect();
    assert_eq!(numbers.len(), uuids.len(), "{uuids:?} in {gpus:?}");
    numbers.sort_unstable();
    numbers
}
