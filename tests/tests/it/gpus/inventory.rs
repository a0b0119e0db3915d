//! The node's resource, and a machine without GPUs.

use lote_tests::daemon::Daemon;
use lote_tests::gpus::machine::GpuMachine;
use lote_tests::gpus::node::array;
use serde_json::json;

use crate::gpus::ask;

#[test]
fn the_node_tells_its_gpus_and_how_near_they_are() {
    if !crate::is_root_or_skip("the_node_tells_its_gpus_and_how_near_they_are") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (_, node, _) = ask(&daemon);
    let node = node.properties();
    assert_eq!(node["vmSize"], "gpu8-h100", "{node:#}");
    let driver = json!({"version": "580.159.04", "cudaVersion": "13.0"});
    assert_eq!(node["gpuDriver"], driver);
    let gpus = array(&node["gpus"]);
    assert_eq!(gpus.len(), 8);
    for (number, gpu) in gpus.iter().enumerate() {
        assert!(gpu["uuid"].as_str().unwrap().starts_with("GPU-"), "{gpu}");
        assert_eq!(gpu["model"], "NVIDIA H100 80GB HBM3");
        assert_eq!(gpu["minor"], number);
        assert_eq!(gpu["memoryMib"], 81_559);
        let bus_id = gpu["busId"].as_str().unwrap();
        let expected = format!("00000000:{:02x}:00.0", 0x1b + 0x10 * number);
        assert!(bus_id.eq_ignore_ascii_case(&expected), "{bus_id}");
        assert_eq!(gpu["numaNode"], number / 4);
    }
    for (from, row) in array(&node["gpuDistances"]).iter().enumerate() {
        for (to, distance) in array(row).iter().enumerate() {
            let expected = match (from, to) {
                _ if from == to => "X",
                _ if from / 4 == to / 4 => "NV6",
                _ => "SYS",
            };
            assert_eq!(distance, expected, "from {from} to {to}");
        }
    }
    assert_eq!(array(&node["numaNodes"]).len(), 2, "{node:#}");
}

#[test]
fn switches_and_bridges_are_told_where_there_is_no_nvlink() {
    if !crate::is_root_or_skip("switches_and_bridges_are_told_where_there_is_no_nvlink") {
        return;
    }
    let gpus = ["a/s", "a/s", "a/s/t", "a", "b"]
        .map(|way| format!("[[gpu]]\nmodel = \"L4\"\npcie = \"{way}\"\n"));
    let machine = GpuMachine::new(5, &gpus.concat());
    let daemon = machine.start(&[]);
    let (_, node, _) = ask(&daemon);
    let first = node.properties()["gpuDistances"][0].clone();
    assert_eq!(first, json!(["X", "PIX", "PXB", "PHB", "NODE"]));
}

#[test]
fn changes_appear_without_a_restart() {
    if !crate::is_root_or_skip("changes_appear_without_a_restart") {
        return;
    }
    let one = "[[gpu]]\nmodel = \"H100\"\n";
    let machine = GpuMachine::new(2, one);
    let daemon = machine.start(&[]);
    let (_, node, _) = ask(&daemon);
    assert_eq!(node.gpus().len(), 1);
    machine.write(&format!("{one}mig = [\"3g.40gb\", \"1g.10gb\"]\n{one}"));
    let gpus = node.wait_until("two instances and another GPU", |node| {
        let gpus = array(&node["gpus"]);
        (gpus.len() == 3).then_some(gpus)
    });
    let profiles: Vec<_> = gpus
        .iter()
        .map(|gpu| gpu["mig"]["profile"].clone())
        .collect();
    assert_eq!(profiles, [json!("3g.40gb"), json!("1g.10gb"), json!(null)]);
    let parent = gpus[0]["mig"]["parent"].as_str().unwrap();
    assert!(
        parent.starts_with("GPU-") && gpus[0]["mig"]["gpuInstance"] == 1,
        "{gpus:?}"
    );
    assert!(
        gpus[1]["uuid"].as_str().unwrap().starts_with("MIG-"),
        "{gpus:?}"
    );
    assert_eq!(gpus[1]["memoryMib"], 9984);
}

#[test]
fn the_command_line_shows_what_is_wrong_with_a_gpu() {
    if !crate::is_root_or_skip("the_command_line_shows_what_is_wrong_with_a_gpu") {
        return;
    }
    let text = "[[gpu]]\nmodel = \"H100\"\n";
    let machine = GpuMachine::new(1, &format!("{text}ecc_uncorrected = 1\n"));
    let daemon = machine.start(&[]);
    let (_, node, _) = ask(&daemon);
    node.wait_for_condition(0, "GpuEccUncorrected");
    let shown = daemon.lote(&["node", "status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in ["580.159.04", "H100", "GpuEccUncorrected"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

/// What the node says of NVML: whether it is in force, and why not.
fn nvml(daemon: &Daemon) -> (bool, String) {
    let (_, node, _) = ask(daemon);
    let node = node.properties();
    assert_eq!(node["vmSize"], "cpu", "{node:#}");
    assert!(array(&node["gpus"]).is_empty(), "{node:#}");
    let isolation = array(&node["isolation"]);
    let found = isolation.iter().find(|it| it["name"] == "NVML").unwrap();
    let note = found["note"].as_str().unwrap().to_owned();
    (found["inForce"] == true, note)
}

#[test]
fn nvidias_own_library_without_a_gpu_makes_a_cpu_node() {
    let name = "nvidias_own_library_without_a_gpu_makes_a_cpu_node";
    let Ok(library) = std::env::var("LOTE_NVIDIA_ML") else {
        return crate::skip(
            name,
            "LOTE_NVIDIA_ML names no library; `cargo xtask test gpus` does",
        );
    };
    let daemon = Daemon::start(&["--nvml-library", &library]);
    let (in_force, note) = nvml(&daemon);
    assert!(!in_force && note.contains("driver is not loaded"), "{note}");
    let (client, _, experiment) = ask(&daemon);
    let job = lote_tests::client::shell_job("echo cpu");
    let path = client.submit(&experiment, "j", &job);
    assert_eq!(client.wait_for_end(&path)["executionState"], "succeeded");
}

#[test]
fn a_library_that_is_none_makes_a_cpu_node() {
    let daemon = Daemon::start(&["--nvml-library", "/nowhere/libnvidia-ml.so.1"]);
    let (in_force, note) = nvml(&daemon);
    assert!(
        !in_force && note.contains("/nowhere/libnvidia-ml.so.1"),
        "{note}"
    );
}
