//! Jobs side by side, each with GPUs of its own, near each other.

use std::collections::BTreeSet;

use lote_tests::client::Client;
use lote_tests::gpus::machine::GpuMachine;
use lote_tests::gpus::node::GpuNode;

use crate::gpus::{ask, gpu_job, numbers, start_using, wait_for_given};

/// Starts jobs of these sizes and gives the numbers of the GPUs that each uses.
fn start(client: &Client, node: &GpuNode, experiment: &str, sizes: &[usize]) -> Vec<Vec<usize>> {
    let jobs = sizes.iter().enumerate().map(|(index, &size)| {
        let name = format!("j{index}-of-{size}");
        let (path, given) = start_using(client, experiment, &name, size);
        let plan = client.get(&format!("{path}/plan")).json;
        assert_eq!(plan["processes"][0]["gpus"], "all", "{plan:#}");
        numbers(node, &given)
    });
    let sets: Vec<Vec<usize>> = jobs.collect();
    let all: BTreeSet<usize> = sets.iter().flatten().copied().collect();
    let count: usize = sizes.iter().sum();
    assert_eq!(all.len(), count, "two jobs have the same GPU: {sets:?}");
    sets
}

/// Whether all are of one socket, which is one NVLink island.
fn is_one_island(set: &[usize]) -> bool {
    set.iter().all(|number| number / 4 == set[0] / 4)
}

#[test]
fn jobs_of_all_sizes_share_a_node_without_overlap() {
    if !crate::is_root_or_skip("jobs_of_all_sizes_share_a_node_without_overlap") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let sets = start(&client, &node, &experiment, &[1, 2, 4, 1]);
    for set in &sets {
        assert!(is_one_island(set), "{sets:?}");
    }
    // One who needs all of them waits until they are free.
    let all = client.submit(
        &experiment,
        "all",
        &gpu_job(8, "echo $CUDA_VISIBLE_DEVICES"),
    );
    client.wait_for_state(&all, "queued");
    for (index, size) in [1, 2, 4, 1].iter().enumerate() {
        client.post(&format!("{experiment}/jobs/j{index}-of-{size}/terminate"));
    }
    assert_eq!(wait_for_given(&client, &all, 8).len(), 8);
    assert_eq!(client.wait_for_end(&all)["executionState"], "succeeded");
}

#[test]
fn two_jobs_of_four_have_a_socket_each() {
    if !crate::is_root_or_skip("two_jobs_of_four_have_a_socket_each") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let sets = start(&client, &node, &experiment, &[4, 4]);
    assert!(
        is_one_island(&sets[0]) && is_one_island(&sets[1]),
        "{sets:?}"
    );
}

#[test]
fn small_jobs_leave_a_whole_island_to_a_large_one() {
    if !crate::is_root_or_skip("small_jobs_leave_a_whole_island_to_a_large_one") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let sets = start(&client, &node, &experiment, &[1, 1, 2, 4]);
    for set in &sets {
        assert!(is_one_island(set), "{sets:?}");
    }
}

#[test]
fn pairs_share_a_switch_where_there_is_no_nvlink() {
    if !crate::is_root_or_skip("pairs_share_a_switch_where_there_is_no_nvlink") {
        return;
    }
    let text = "layout = { gpus_per_switch = 2 }\n[[gpu]]\nmodel = \"L4\"\ncount = 4\n";
    let machine = GpuMachine::new(4, text);
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let sets = start(&client, &node, &experiment, &[2, 2]);
    for set in &sets {
        assert_eq!(set[0] / 2, set[1] / 2, "{sets:?}");
    }
}

#[test]
fn instances_are_given_one_by_one() {
    if !crate::is_root_or_skip("instances_are_given_one_by_one") {
        return;
    }
    let text = "[[gpu]]\nmodel = \"H100\"\nmig = [\"3g.40gb\", \"1g.10gb\"]\n";
    let mut machine = GpuMachine::new(1, text);
    for gpu_instance in [1, 7] {
        machine.add_instance(0, gpu_instance);
    }
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let sets = start(&client, &node, &experiment, &[1, 1]);
    assert_ne!(sets[0], sets[1]);
}
