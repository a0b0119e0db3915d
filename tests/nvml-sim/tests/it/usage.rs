//! What follows from who uses the GPUs.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{PerformancePolicy, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;

use crate::sim::Sim;

/// A process that has a device file open, until it is dropped.
struct Holder(Child);

impl Holder {
    fn of(device: &str) -> Self {
        let child = Command::new("sleep")
            .arg("60")
            .stdin(File::open(device).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Waits for what a look at the processes will show.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_busy(device: &Device<'_>) -> bool {
    device.utilization_rates().unwrap().gpu > 0
}

/// One GPU whose file is a device that hardly anybody has open.
const ONE: &str = "[[gpu]]\nmodel = \"H100\"\ndevice = \"/dev/full\"\n";

#[test]
fn a_process_with_the_device_open_uses_the_gpu() {
    let sim = Sim::new(&format!(
        "{ONE}process_memory = \"3 GiB\"\nutilization = 80"
    ));
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    assert!(device.running_compute_processes().unwrap().is_empty());
    assert_eq!(device.memory_info().unwrap().used, 0);
    assert_eq!(
        device.current_throttle_reasons().unwrap(),
        ThrottleReasons::GPU_IDLE
    );
    let idle = device.power_usage().unwrap();

    let holder = Holder::of("/dev/full");
    wait_until("the GPU is busy", || is_busy(&device));
    let processes = device.running_compute_processes().unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!(processes[0].pid, holder.0.id());
    assert_eq!(processes[0].used_gpu_memory, UsedGpuMemory::Used(3 << 30));
    assert_eq!(device.memory_info().unwrap().used, 3 << 30);
    assert_eq!(device.utilization_rates().unwrap().gpu, 80);
    assert!(device.power_usage().unwrap() > idle * 5);
    assert_eq!(device.temperature(TemperatureSensor::Gpu).unwrap(), 64);
    assert_eq!(device.process_utilization_stats(0).unwrap()[0].sm_util, 80);
    assert!(device.current_throttle_reasons().unwrap().is_empty());
    assert_eq!(nvml.sys_process_name(holder.0.id(), 64).unwrap(), "sleep");

    drop(holder);
    wait_until("the GPU is idle", || !is_busy(&device));
    assert_eq!(device.memory_info().unwrap().used, 0);
}

#[test]
fn energy_grows_with_time_and_faster_with_use() {
    let text = "[[gpu]]\nmodel = \"H100\"\npower_idle_watts = 100\npower_busy_watts = 900\n";
    let own = std::process::id();
    let sim = Sim::new(text);
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    let grown = |milliseconds| {
        let (start, before) = (Instant::now(), device.total_energy_consumption().unwrap());
        std::thread::sleep(Duration::from_millis(milliseconds));
        let after = device.total_energy_consumption().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let joules = (after - before) as f64 / 1000.0;
        joules / start.elapsed().as_secs_f64()
    };
    let idle = grown(300);
    assert!((80.0..=120.0).contains(&idle), "{idle} W");
    sim.write(&format!("{text}process = [{{ pid = {own} }}]"));
    device.power_usage().unwrap();
    let busy = grown(300);
    assert!((720.0..=1080.0).contains(&busy), "{busy} W");
}

#[test]
fn counters_go_on_when_the_library_is_loaded_again() {
    let sim = Sim::new(ONE);
    let energy = |nvml: &nvml_wrapper::Nvml| {
        let device = nvml.device_by_index(0).unwrap();
        device.total_energy_consumption().unwrap()
    };
    let first = sim.nvml();
    let before = energy(&first);
    first.shutdown().unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let after = energy(&sim.nvml());
    assert!(
        after > before && after < before + 60_000,
        "{before} {after}"
    );
}

#[test]
fn time_that_heat_holds_it_back_is_counted() {
    let sim = Sim::new(&format!("{ONE}throttle = [\"hw_thermal\"]"));
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    let reasons = device.current_throttle_reasons().unwrap();
    assert!(reasons.contains(ThrottleReasons::HW_THERMAL_SLOWDOWN));
    let violation = |policy| device.violation_status(policy).unwrap().violation_time;
    let before = violation(PerformancePolicy::Thermal);
    std::thread::sleep(Duration::from_millis(120));
    assert!(violation(PerformancePolicy::Thermal) >= before + 100_000_000);
    assert_eq!(violation(PerformancePolicy::Power), 0);
}

#[test]
fn memory_can_be_held_by_nobody() {
    let sim = Sim::new(&format!("{ONE}memory_held = \"2 GiB\""));
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    assert_eq!(device.memory_info().unwrap().used, 2 << 30);
    assert!(device.running_compute_processes().unwrap().is_empty());
}

#[test]
fn processes_are_remembered_where_accounting_is_on() {
    let own = std::process::id();
    let sim = Sim::new(&format!(
        "{ONE}accounting = true\nprocess = [{{ pid = {own}, memory = 5 }}]"
    ));
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    assert!(device.is_accounting_enabled().unwrap());
    assert_eq!(device.accounting_pids().unwrap(), [own]);
    assert!(device.accounting_stats_for(own).unwrap().is_running);
    sim.write(&format!("{ONE}accounting = true"));
    let stats = device.accounting_stats_for(own).unwrap();
    assert!(!stats.is_running);
    assert_eq!(stats.max_memory_usage, Some(5));
}
