//! What jobs used, and what is told while they run.

use std::time::{Duration, Instant};

use lote_tests::gpus::machine::GpuMachine;
use lote_tests::gpus::node::array;
use lote_tests::{PATIENCE, wait_for};
use serde_json::Value;

use crate::gpus::{ask, gpu_job, start_using, using_job};

/// A machine whose numbers are easy to recognise.
const PLAIN: &str = "\
    [[gpu]]\n\
    model = \"H100\"\n\
    count = 2\n\
    power_idle_watts = 100\n\
    power_busy_watts = 500\n\
    utilization = 80\n\
    process_memory = \"3 GiB\"\n";

fn number(value: &Value) -> f64 {
    let number = value.as_f64();
    number.unwrap_or_else(|| panic!("a number is missing: {value}"))
}

/// That a number is what it should be, but for a share of it.
fn assert_near(what: &str, found: f64, expected: f64, share: f64) {
    let off = (found - expected).abs() / expected;
    assert!(off <= share, "{what}: {found}, and it should be {expected}");
}

#[test]
fn a_job_is_told_what_it_did_with_its_gpu() {
    if !crate::is_root_or_skip("a_job_is_told_what_it_did_with_its_gpu") {
        return;
    }
    let machine = GpuMachine::new(2, PLAIN);
    let daemon = machine.start(&[]);
    let (client, _, experiment) = ask(&daemon);
    let path = client.submit(&experiment, "j", &using_job(1, 12.0));
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    let account = &ended["lote"]["account"];
    let gpu = &account["gpus"][0];
    assert_eq!(gpu["uuid"], client.stdout(&path).trim(), "{account:#}");
    assert_eq!(gpu["model"], "NVIDIA H100 80GB HBM3");
    assert_near("seconds", number(&gpu["seconds"]), 12.0, 0.2);
    assert_near("GPU seconds", number(&account["gpuSeconds"]), 12.0, 0.2);
    assert_eq!(number(&gpu["utilizationPeak"]), 80.0, "{account:#}");
    assert_near("utilisation", number(&gpu["utilizationMean"]), 80.0, 0.2);
    assert_eq!(gpu["memoryPeakBytes"], 3_u64 << 30, "{account:#}");
    // It works for all but the moments of start and end, and for up to a second before somebody
    // has seen that it does.
    assert_near("energy", number(&gpu["energyJoules"]), 500.0 * 12.0, 0.25);
    assert_eq!(number(&gpu["throttledSeconds"]), 0.0, "{account:#}");
}

#[test]
fn time_in_heat_is_in_the_account() {
    if !crate::is_root_or_skip("time_in_heat_is_in_the_account") {
        return;
    }
    let machine = GpuMachine::new(2, &format!("{PLAIN}throttle = [\"sw_thermal\"]\n"));
    let daemon = machine.start(&[]);
    let (client, _, experiment) = ask(&daemon);
    let path = client.submit(&experiment, "j", &using_job(1, 6.0));
    let ended = client.wait_for_end(&path);
    let gpu = &ended["lote"]["account"]["gpus"][0];
    assert_near("throttled", number(&gpu["throttledSeconds"]), 6.0, 0.35);
}

#[test]
fn the_days_of_a_workspace_add_up_its_jobs() {
    if !crate::is_root_or_skip("the_days_of_a_workspace_add_up_its_jobs") {
        return;
    }
    let machine = GpuMachine::new(2, PLAIN);
    let daemon = machine.start(&[]);
    let (client, _, experiment) = ask(&daemon);
    let mut used = 0.0;
    for (name, gpus) in [("one", 1), ("two", 2)] {
        let path = client.submit(&experiment, name, &using_job(gpus, 1.0));
        used += number(&client.wait_for_end(&path)["lote"]["account"]["gpuSeconds"]);
    }
    let told = wait_for("the usage", PATIENCE, || {
        let answer = client.try_send("GET", "/v1/usage", None)?;
        let rows = array(&answer.json["value"]);
        let seconds = rows.iter().filter_map(|row| row["gpuSeconds"].as_f64());
        let seconds: f64 = seconds.sum();
        (seconds > used - 0.5).then_some(seconds)
    });
    assert_near("GPU seconds of the days", told, used, 0.01);
    let shown = daemon.lote(&["usage"]);
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("default"), "{shown}");
}

/// The value of a line of `/metrics` whose labels contain `label`.
fn metric(page: &str, name: &str, label: &str) -> Option<f64> {
    let line = page.lines().find(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('{')) && line.contains(label)
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn figures_have_the_names_that_dcgm_gives_them() {
    if !crate::is_root_or_skip("figures_have_the_names_that_dcgm_gives_them") {
        return;
    }
    let machine = GpuMachine::new(2, PLAIN);
    let daemon = machine.start(&[]);
    let (client, node, experiment) = ask(&daemon);
    let (_, given) = start_using(&client, &experiment, "j", 1);
    let label = format!("UUID=\"{}\"", given[0]);
    let page = wait_for("a busy GPU", PATIENCE, || {
        let page = client.get("/metrics").text;
        (metric(&page, "DCGM_FI_DEV_GPU_UTIL", &label) == Some(80.0)).then_some(page)
    });
    assert_eq!(
        metric(&page, "DCGM_FI_DEV_POWER_USAGE", &label),
        Some(500.0)
    );
    assert_eq!(metric(&page, "DCGM_FI_DEV_FB_USED", &label), Some(3072.0));
    let gpus = node.gpus();
    let idle = gpus
        .iter()
        .find(|gpu| gpu["uuid"] != given[0].as_str())
        .unwrap();
    let label = format!("UUID=\"{}\"", idle["uuid"].as_str().unwrap());
    assert_eq!(metric(&page, "DCGM_FI_DEV_GPU_UTIL", &label), Some(0.0));
}

#[test]
fn a_running_job_tells_its_course() {
    if !crate::is_root_or_skip("a_running_job_tells_its_course") {
        return;
    }
    let machine = GpuMachine::new(2, PLAIN);
    let daemon = machine.start(&[]);
    let (client, _, experiment) = ask(&daemon);
    let (path, given) = start_using(&client, &experiment, "j", 1);
    let start = Instant::now();
    wait_for("some samples", PATIENCE, || {
        let answer = client.try_send("GET", &format!("{path}/samples"), None)?;
        let text = answer.text;
        let busy = text.matches("\"utilization\":80").count();
        (text.contains(&given[0]) && busy >= 3).then_some(())
    });
    // One a second.
    assert!(
        start.elapsed() >= Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    let shown = daemon.lote(&["job", "top", "--once", "--experiment", "e", "j"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("80"), "{shown}");
}

#[test]
fn a_job_without_gpus_has_no_account_of_any() {
    if !crate::is_root_or_skip("a_job_without_gpus_has_no_account_of_any") {
        return;
    }
    let machine = GpuMachine::new(1, "[[gpu]]\nmodel = \"H100\"\n");
    let daemon = machine.start(&[]);
    let (client, _, experiment) = ask(&daemon);
    let path = client.submit(&experiment, "j", &gpu_job(0, "true"));
    let account = client.wait_for_end(&path)["lote"]["account"].clone();
    assert!(array(&account["gpus"]).is_empty(), "{account:#}");
    assert_eq!(number(&account["gpuSeconds"]), 0.0);
}
