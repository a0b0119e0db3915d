//! Each fault with its condition, what becomes of the job, and nothing else.

use std::time::{Duration, Instant};

use lote_tests::client::{Client, detail, first_error};
use lote_tests::gpus::machine::{GpuMachine, TWO_SOCKETS};
use lote_tests::gpus::node::{array, condition};
use lote_tests::processes::processor_seconds;
use serde_json::{Value, json};

use crate::gpus::{ask, gpu_job, numbers, start_using, using_job, wait_for_given};

/// The machine with something different.
fn with(change: &str) -> String {
    format!("{TWO_SOCKETS}\n{change}\n")
}

/// That a condition keeps jobs from its GPU or node, and says since when and what to do.
fn assert_blocks(condition: &Value) {
    assert_eq!(condition["blocksJobs"], true, "{condition}");
    assert!(
        condition["since"].as_str().unwrap().starts_with("20"),
        "{condition}"
    );
    assert!(
        condition["message"].as_str().unwrap().len() > 20,
        "{condition}"
    );
}

/// That jobs get every GPU but one of eight.
fn assert_others_are_given_out(client: &Client, experiment: &str, uuid: &str) {
    let path = client.submit(experiment, "others", &using_job(7, 0.0));
    let given = wait_for_given(client, &path, 7);
    assert!(
        !given.iter().any(|given| given == uuid),
        "{uuid} in {given:?}"
    );
    assert_eq!(client.wait_for_end(&path)["executionState"], "succeeded");
}

/// Starts a job that says what is to become of it when its GPU fails. Its path, and the ids of its
/// GPUs.
fn start_victim(
    client: &Client,
    experiment: &str,
    gpus: usize,
    on_node_loss: &str,
) -> (String, Vec<String>) {
    let mut job = using_job(gpus, 1000.0);
    job["lote"]["onNodeLoss"] = json!(on_node_loss);
    let path = client.submit(experiment, "victim", &job);
    let given = wait_for_given(client, &path, gpus);
    (path, given)
}

#[test]
fn a_gpu_that_falls_off_the_bus_fails_its_job_and_no_other() {
    if !crate::is_root_or_skip("a_gpu_that_falls_off_the_bus_fails_its_job_and_no_other") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let (path, given) = start_victim(&client, &experiment, 2, "fail");
    let (other, _) = start_using(&client, &experiment, "other", 1);
    let victim = numbers(&node, &given)[0];
    machine.write(&with(&format!(
        "[change.{victim}]\nstate = \"lost\"\n[[event]]\nid = 1\ngpu = {victim}\nxid = 79"
    )));

    let found = node.wait_for_condition(victim, "GpuFellOffBus");
    assert_blocks(&found);
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "failed", "{ended:#}");
    let error = first_error(&ended);
    assert_eq!(error["code"], "GpuFailed", "{error:#}");
    let gpu = &node.gpus()[victim];
    assert_eq!(detail(&error, "gpu"), gpu["uuid"], "{error:#}");
    assert_eq!(detail(&error, "busId"), gpu["busId"], "{error:#}");
    assert!(detail(&error, "node").starts_with("node-"), "{error:#}");
    node.assert_nothing_else(&[victim]);
    assert_eq!(client.job(&other)["executionState"], "running");
    client.post(&format!("{other}/terminate"));
    client.wait_for_end(&other);
    let uuid = gpu["uuid"].as_str().unwrap();
    assert_others_are_given_out(&client, &experiment, uuid);
}

#[test]
fn a_job_may_go_on_elsewhere_when_its_gpu_fails() {
    if !crate::is_root_or_skip("a_job_may_go_on_elsewhere_when_its_gpu_fails") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let (path, given) = start_victim(&client, &experiment, 1, "requeue");
    let first = numbers(&node, &given)[0];
    machine.write(&with(&format!(
        "[[event]]\nid = 1\ngpu = {first}\nxid = 48"
    )));
    assert_blocks(&node.wait_for_condition(first, "GpuXid"));
    let job = lote_tests::wait_for("the second attempt", lote_tests::PATIENCE, || {
        let job = client.job(&path);
        let again = job["lote"]["attempt"] == 2 && job["executionState"] == "running";
        again.then_some(job)
    });
    assert!(
        job["lote"]["requeued"].to_string().contains("XID 48"),
        "{job:#}"
    );
    let second = lote_tests::wait_for("its new GPU", lote_tests::PATIENCE, || {
        let given = client.stdout(&path);
        let given: Vec<String> = given.lines().map(str::to_owned).collect();
        let last = given.last()?.clone();
        let number = numbers(&node, &[last])[0];
        (number != first).then_some(number)
    });
    assert_ne!(first, second);
    node.assert_nothing_else(&[first]);
}

#[test]
fn an_error_of_the_program_is_a_note() {
    if !crate::is_root_or_skip("an_error_of_the_program_is_a_note") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let (path, given) = start_using(&client, &experiment, "j", 1);
    let own = numbers(&node, &given)[0];
    machine.write(&with(&format!("[[event]]\nid = 1\ngpu = {own}\nxid = 31")));
    let found = node.wait_for_condition(own, "GpuXid");
    assert_eq!(found["blocksJobs"], false, "{found}");
    assert!(found["message"].as_str().unwrap().contains("31"), "{found}");
    node.assert_nothing_else(&[own]);
    assert_eq!(client.job(&path)["executionState"], "running");
}

#[test]
fn an_uncorrected_error_of_the_memory_keeps_jobs_from_the_gpu() {
    if !crate::is_root_or_skip("an_uncorrected_error_of_the_memory_keeps_jobs_from_the_gpu") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    machine.write(&with("[change.5]\necc_uncorrected = 1"));
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    assert_blocks(&node.wait_for_condition(5, "GpuEccUncorrected"));
    let uuid = node.gpus()[5]["uuid"].as_str().unwrap().to_owned();
    assert_others_are_given_out(&client, &experiment, &uuid);
    let all = client.submit(&experiment, "all", &gpu_job(8, "true"));
    client.wait_for_state(&all, "queued");
    node.assert_nothing_else(&[5]);
    assert_eq!(client.job(&all)["executionState"], "queued");
    // The driver counts anew after a reset.
    machine.write(TWO_SOCKETS);
    assert_eq!(client.wait_for_end(&all)["executionState"], "succeeded");
    node.wait_until_well(5);
}

#[test]
fn an_error_of_the_memory_during_a_job_fails_it() {
    if !crate::is_root_or_skip("an_error_of_the_memory_during_a_job_fails_it") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let (path, given) = start_victim(&client, &experiment, 1, "fail");
    let own = numbers(&node, &given)[0];
    machine.write(&with(&format!(
        "[[event]]\nid = 1\ngpu = {own}\nkind = \"double_bit_ecc\""
    )));
    let error = first_error(&client.wait_for_end(&path));
    assert_eq!(error["code"], "GpuFailed", "{error:#}");
    assert_blocks(&node.wait_for_condition(own, "GpuEccUncorrected"));
    node.assert_nothing_else(&[own]);
}

#[test]
fn rows_that_wait_for_a_reset_keep_jobs_away() {
    if !crate::is_root_or_skip("rows_that_wait_for_a_reset_keep_jobs_away") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    machine.write(&with(
        "[change.1]\nremap_pending = true\n[change.2]\nremap_failed = true",
    ));
    let daemon = machine.start(&[]);
    let (_, node, _) = ask(&daemon);
    assert_blocks(&node.wait_for_condition(1, "GpuPagesPending"));
    assert_blocks(&node.wait_for_condition(2, "GpuRowRemapFailed"));
    node.assert_nothing_else(&[1, 2]);
}

#[test]
fn a_driver_that_hangs_blocks_the_node_and_harms_no_job() {
    if !crate::is_root_or_skip("a_driver_that_hangs_blocks_the_node_and_harms_no_job") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let (path, _) = start_using(&client, &experiment, "running", 1);
    machine.write(&with("[change.2]\nhangs = [\"*\"]"));
    let found = node.wait_until("GpuDriverHangs", |node| condition(node, "GpuDriverHangs"));
    assert_blocks(&found);
    // The daemon answers as ever, and starts nothing there.
    let start = Instant::now();
    let waiting = client.submit(&experiment, "waiting", &gpu_job(1, "true"));
    client.wait_for_state(&waiting, "queued");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(client.job(&path)["executionState"], "running");
    client.post(&format!("{path}/terminate"));
    let ended = client.wait_for_end(&path);
    assert_eq!(first_error(&ended)["code"], "JobTerminated", "{ended:#}");
    assert_eq!(client.job(&waiting)["executionState"], "queued");
    machine.write(TWO_SOCKETS);
    assert_eq!(client.wait_for_end(&waiting)["executionState"], "succeeded");
    node.assert_nothing_else(&[]);
}

#[test]
fn a_daemon_comes_up_although_the_driver_hangs() {
    if !crate::is_root_or_skip("a_daemon_comes_up_although_the_driver_hangs") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    machine.write(&format!("hangs = [\"nvmlInit_v2\"]\n{TWO_SOCKETS}"));
    let daemon = machine.start(&[]);
    let (_, node, _) = ask(&daemon);
    assert_blocks(&node.wait_until("GpuDriverHangs", |node| condition(node, "GpuDriverHangs")));
    machine.write(TWO_SOCKETS);
    node.wait_until("eight GPUs", |node| {
        (array(&node["gpus"]).len() == 8).then_some(())
    });
    node.wait_until("the node to be well", |node| {
        array(&node["conditions"]).is_empty().then_some(())
    });
}

#[test]
fn a_gpu_that_vanishes_fails_its_job_and_stays_in_the_list() {
    if !crate::is_root_or_skip("a_gpu_that_vanishes_fails_its_job_and_stays_in_the_list") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let (path, given) = start_victim(&client, &experiment, 1, "fail");
    let victim = numbers(&node, &given)[0];
    let (other, others) = start_using(&client, &experiment, "other", 4);
    machine.write(&with(&format!("[change.{victim}]\nstate = \"gone\"")));
    assert_blocks(&node.wait_for_condition(victim, "GpuFellOffBus"));
    let error = first_error(&client.wait_for_end(&path));
    assert_eq!(error["code"], "GpuFailed", "{error:#}");
    assert_eq!(detail(&error, "gpu"), given[0], "{error:#}");
    node.assert_nothing_else(&[victim]);
    // Those after it have other indexes at the driver now, and are the same.
    assert_eq!(client.job(&other)["executionState"], "running");
    assert_eq!(numbers(&node, &others).len(), 4);
    assert_eq!(node.gpus().len(), 8);
}

#[test]
fn a_foreign_process_keeps_its_gpu_and_is_named() {
    if !crate::is_root_or_skip("a_foreign_process_keeps_its_gpu_and_is_named") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let foreign = machine.foreign_process(6);
    let found = node.wait_for_condition(6, "GpuForeignProcess");
    assert_blocks(&found);
    let message = found["message"].as_str().unwrap();
    let pid = foreign.pid().to_string();
    assert!(
        message.contains(&pid) && message.contains("sleep"),
        "{message}"
    );
    let uuid = node.gpus()[6]["uuid"].as_str().unwrap().to_owned();
    assert_others_are_given_out(&client, &experiment, &uuid);
    node.assert_nothing_else(&[6]);
    drop(foreign);
    node.wait_until_well(6);
}

#[test]
fn memory_that_nobody_holds_keeps_jobs_away() {
    if !crate::is_root_or_skip("memory_that_nobody_holds_keeps_jobs_away") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    machine.write(&with("[change.0]\nmemory_held = \"20 GiB\""));
    assert_blocks(&node.wait_for_condition(0, "GpuMemoryHeld"));
    let uuid = node.gpus()[0]["uuid"].as_str().unwrap().to_owned();
    assert_others_are_given_out(&client, &experiment, &uuid);
    node.assert_nothing_else(&[0]);
    machine.write(TWO_SOCKETS);
    node.wait_until_well(0);
}

#[test]
fn what_a_job_leaves_on_its_gpu_is_gone_before_the_next() {
    if !crate::is_root_or_skip("what_a_job_leaves_on_its_gpu_is_gone_before_the_next") {
        return;
    }
    let machine = GpuMachine::new(1, "[[gpu]]\nmodel = \"H100\"\n");
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let mut leaving = using_job(1, 1000.0);
    let line = leaving["customToolkitSettings"]["commandLine"]
        .as_str()
        .unwrap();
    let line = line.replace("exec ", "setsid ");
    leaving["customToolkitSettings"]["commandLine"] = json!(format!("{line} & sleep 1"));
    let first = client.submit(&experiment, "leaving", &leaving);
    assert_eq!(client.wait_for_end(&first)["executionState"], "succeeded");
    let second = client.submit(&experiment, "next", &using_job(1, 0.0));
    assert_eq!(client.wait_for_end(&second)["executionState"], "succeeded");
    node.assert_nothing_else(&[]);
}

#[test]
fn heat_and_links_are_notes() {
    if !crate::is_root_or_skip("heat_and_links_are_notes") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    machine.write(&with("[change.4]\nthrottle = [\"hw_thermal\"]"));
    let found = node.wait_for_condition(4, "GpuThrottled");
    assert_eq!(found["blocksJobs"], false, "{found}");
    let path = client.submit(&experiment, "all", &using_job(8, 0.0));
    assert_eq!(client.wait_for_end(&path)["executionState"], "succeeded");
    node.assert_nothing_else(&[4]);
}

#[test]
fn a_lost_gpu_costs_the_daemon_nothing() {
    if !crate::is_root_or_skip("a_lost_gpu_costs_the_daemon_nothing") {
        return;
    }
    let machine = GpuMachine::two_sockets();
    let daemon = machine.start(&[]);
    let (_, node, _) = ask(&daemon);
    machine.write(&with("[change.3]\nstate = \"lost\""));
    node.wait_for_condition(3, "GpuFellOffBus");
    let (start, before) = (Instant::now(), processor_seconds(daemon.pid()));
    std::thread::sleep(Duration::from_secs(4));
    let share = (processor_seconds(daemon.pid()) - before) / start.elapsed().as_secs_f64();
    assert!(share < 0.2, "{share} of a core");
}
