//! The whole of this module with a driver that says what the test wants.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lote_model::id::{JobUid, NodeName};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::driver::{DriverError, GpuEvent, OccupancyReading};
use super::fake::Fake;
use super::monitor::{Pace, run_at};
use super::topology::tests::machine;
use super::{GpuCheck, GpuConfig, Gpus, Sysfs, View};

/// So quick that a test need not wait.
const PACE: Pace = Pace {
    round: Duration::from_millis(5),
    reload: Duration::from_millis(10),
};

/// A call that takes longer hangs.
const CALL_MAX: Duration = Duration::from_millis(100);

struct Node {
    fake: Fake,
    gpus: Arc<Gpus>,
    runs: Arc<TempDir>,
    _stop: DropGuard,
}

impl Node {
    fn new(fake: Fake) -> Self {
        Self::with(fake, None)
    }

    fn with(fake: Fake, check: Option<GpuCheck>) -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), fake, check)
    }

    fn at(runs: Arc<TempDir>, fake: Fake, check: Option<GpuCheck>) -> Self {
        let config = GpuConfig {
            node: NodeName::new("n1"),
            library: None,
            sysfs: Sysfs::at("/nonexistent"),
            runs: runs.path().to_owned(),
            memory: runs.path().join("memory"),
            boot_id: "boot".into(),
            check,
        };
        let loader = Box::new(fake.clone());
        let gpus = Gpus::start_with(config, loader, CALL_MAX, CALL_MAX).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(run_at(PACE, Arc::clone(&gpus), stop.clone()));
        gpus.allocations_are_known();
        Self {
            fake,
            gpus,
            runs,
            _stop: stop.drop_guard(),
        }
    }

    async fn until(&self, is_so: impl FnMut(&View) -> bool) -> View {
        let mut view = self.gpus.view();
        let seen = in_time(view.wait_for(is_so)).await;
        seen.unwrap().clone()
    }

    async fn until_code(&self, gpu: usize, code: &str) -> View {
        self.until(|view| codes(view, gpu) == [code]).await
    }

    async fn until_well(&self) {
        let is_well = |view: &View| {
            let gpus = view.gpus.iter();
            view.conditions.is_empty() && gpus.map(|gpu| gpu.conditions.len()).sum::<usize>() == 0
        };
        self.until(is_well).await;
    }

    fn say(&self, event: GpuEvent) {
        self.fake.change(|script| script.events.push(event));
    }

    fn xid(&self, gpu: u32, number: u64) {
        let uuid = format!("GPU-{gpu}");
        self.say(GpuEvent::Xid { uuid, number });
    }

    fn occupy(&self, gpu: u32, pids: &[u32], memory_used_bytes: u64) {
        let occupancy = OccupancyReading {
            pids: pids.to_vec(),
            memory_used_bytes: Some(memory_used_bytes),
            memory_total_bytes: Some(80 << 30),
        };
        let uuid = format!("GPU-{gpu}");
        self.fake
            .change(|script| script.occupancy.insert(uuid, occupancy));
    }

    fn hold(&self, gpus: &[u32]) -> super::GpuHold {
        let uuids = gpus.iter().map(|gpu| format!("GPU-{gpu}"));
        self.gpus.hold(JobUid::new("job"), uuids.collect())
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, what)
        .await
        .expect("nothing happens")
}

fn codes(view: &View, gpu: usize) -> Vec<&str> {
    let conditions = view.gpus[gpu].conditions.iter();
    conditions
        .map(|condition| condition.code.as_str())
        .collect()
}

#[tokio::test]
async fn a_machine_without_a_driver_is_a_node_that_says_why_and_finds_it_later() {
    let fake = Fake::new(machine(2));
    fake.change(|script| script.is_absent = true);
    let node = Node::new(fake.clone());
    let view = node.gpus.view().borrow().clone();
    assert!(view.gpus.is_empty() && view.conditions.is_empty() && !view.capability.in_force);
    assert_eq!(view.capability.note, "no GPUs: no such library");
    fake.change(|script| script.is_absent = false);
    let view = node.until(|view| view.capability.in_force).await;
    assert_eq!(view.gpus.len(), 2);
    assert_eq!(view.capability.note, "driver 580.159.04, 2 GPUs");
}

#[tokio::test]
async fn a_hanging_driver_stops_nobody_and_is_a_condition_until_it_answers() {
    let node = Node::new(Fake::new(machine(2)));
    let hold = node.hold(&[0]);
    hold.begin(node.runs.path(), Vec::new()).await;
    node.fake.change(|script| script.hangs = true);
    let view = node.until(|view| !view.conditions.is_empty()).await;
    let condition = &view.conditions[0];
    assert!(condition.code == "GpuDriverHangs" && condition.blocks_jobs);
    assert_eq!(view.gpus.len(), 2, "they are still there");
    assert!(
        node.gpus.telemetry().node_sample().is_none(),
        "and nothing is known of them"
    );
    // Its job goes on, and ends without waiting for the driver.
    in_time(hold.settle()).await;
    assert_eq!(in_time(hold.account()).await.len(), 1);
    assert!(hold.failed.borrow().is_none());
    node.fake.change(|script| script.hangs = false);
    node.until_well().await;
    assert!(node.gpus.view().borrow().capability.in_force);
    assert_eq!(node.fake.change(|script| script.loads), 1);
}

#[tokio::test]
async fn a_driver_that_hangs_at_the_start_is_waited_for() {
    let fake = Fake::new(machine(1));
    fake.change(|script| script.hangs = true);
    let node = Node::new(fake.clone());
    assert_eq!(
        node.gpus.view().borrow().conditions[0].code,
        "GpuDriverHangs"
    );
    fake.change(|script| script.hangs = false);
    let view = node.until(|view| view.conditions.is_empty()).await;
    assert_eq!(view.gpus.len(), 1);
}

#[tokio::test]
async fn what_a_reset_ends_is_over_when_the_driver_was_loaded_anew() {
    let node = Node::new(Fake::new(machine(2)));
    node.xid(1, 95);
    let view = node.until_code(1, "GpuXid").await;
    assert!(!view.gpus[1].is_schedulable() && view.gpus[0].is_schedulable());
    node.fake.change(|script| script.is_absent = true);
    let view = node.until(|view| !view.conditions.is_empty()).await;
    assert_eq!(view.conditions[0].code, "GpuDriverGone");
    assert_eq!(view.gpus.len(), 2);
    node.fake.change(|script| script.is_absent = false);
    node.until_well().await;
    assert_eq!(node.fake.change(|script| script.loads), 2);
}

#[tokio::test]
async fn an_error_of_a_gpu_fails_the_job_that_has_it_and_no_other() {
    let node = Node::new(Fake::new(machine(4)));
    let (ill, well) = (node.hold(&[0, 1]), node.hold(&[2]));
    node.xid(1, 31);
    node.until_code(1, "GpuXid").await;
    node.xid(1, 119);
    let failure = in_time(ill.failure()).await;
    assert_eq!((failure.uuid.as_str(), failure.xid), ("GPU-1", Some(119)));
    assert_eq!(failure.bus_id.as_deref(), Some("00000000:1b:00.0"));
    assert!(
        failure.sentence.starts_with("XID 119: "),
        "{}",
        failure.sentence
    );
    assert!(well.failed.borrow().is_none());
    let view = node.gpus.view().borrow().clone();
    let blocked: Vec<bool> = view
        .gpus
        .iter()
        .map(lote_model::gpu::Gpu::is_schedulable)
        .collect();
    assert_eq!(blocked, [true, false, true, true]);
}

#[tokio::test]
async fn a_gpu_that_falls_off_the_bus_stays_in_the_record() {
    let node = Node::new(Fake::new(machine(4)));
    let before = node.gpus.view().borrow().clone();
    let hold = node.hold(&[3]);
    node.fake
        .change(|script| script.lost = vec!["GPU-3".into()]);
    let failure = in_time(hold.failure()).await;
    assert_eq!((failure.code, failure.xid), ("GpuFailed", None));
    let view = node.until_code(3, "GpuFellOffBus").await;
    assert_eq!(view.distances, before.distances);
    drop(hold);
    // A job that has it already when the daemon starts ends as well.
    let again = node.hold(&[3]);
    assert_eq!(in_time(again.failure()).await.uuid, "GPU-3");
    node.fake.change(|script| script.lost.clear());
    node.until_well().await;
}

#[tokio::test]
async fn a_gpu_that_vanishes_moves_the_others_and_mixes_none_up() {
    let node = Node::new(Fake::new(machine(3)));
    let (gone, well) = (node.hold(&[1]), node.hold(&[2]));
    node.fake.change(|script| {
        // The driver counts anew.
        script.machine.count = 2;
        script.machine.devices.remove(1);
        script.machine.devices[1].index = 1;
        script.machine.ancestors = machine(2).ancestors;
    });
    assert_eq!(in_time(gone.failure()).await.uuid, "GPU-1");
    let view = node.until_code(1, "GpuFellOffBus").await;
    assert_eq!(view.gpus.len(), 3);
    assert!(well.failed.borrow().is_none() && codes(&view, 2).is_empty());
    // Nobody asks for it by the number that is another's now.
    let book = node.gpus.book();
    let place = book.places_of(gone.id).remove(0);
    assert_eq!(place, place.without_index());
}

#[tokio::test]
async fn the_next_daemon_misses_what_the_last_one_lost() {
    let node = Node::new(Fake::new(machine(3)));
    let before = node.gpus.view().borrow().clone();
    node.fake
        .change(|script| script.lost = vec!["GPU-1".into()]);
    node.until_code(1, "GpuFellOffBus").await;
    let next = Node::at(Arc::clone(&node.runs), node.fake.clone(), None);
    let view = next.gpus.view().borrow().clone();
    assert_eq!(codes(&view, 1), ["GpuFellOffBus"]);
    assert_eq!((view.gpus.len(), view.distances), (3, before.distances));

    // Also if there is no driver at all at first.
    node.fake.change(|script| script.is_absent = true);
    let next = Node::at(Arc::clone(&node.runs), node.fake.clone(), None);
    let view = next.gpus.view().borrow().clone();
    assert_eq!(
        (view.gpus.len(), view.conditions[0].code.as_str()),
        (3, "GpuDriverGone")
    );
}

#[tokio::test]
async fn contained_errors_of_a_divided_gpu_end_no_job_of_another_part() {
    let mut reading = machine(2);
    reading.devices[1].is_divided = true;
    let instance = |number: u32| super::driver::InstanceReading {
        uuid: format!("MIG-{number}"),
        name: "H100 MIG 3g.40gb".into(),
        gpu_instance: number,
        compute_instance: 0,
        memory_bytes: 40 << 30,
    };
    reading.devices[1].instances = vec![instance(0), instance(1)];
    let node = Node::new(Fake::new(reading));
    let whole = node.hold(&[0]);
    let part = node.gpus.hold(JobUid::new("job"), vec!["MIG-1".into()]);
    node.xid(1, 94);
    node.until_code(1, "GpuXid").await;
    assert!(part.failed.borrow().is_none());
    node.xid(1, 95);
    let failure = in_time(part.failure()).await;
    assert_eq!((failure.uuid.as_str(), failure.xid), ("MIG-1", Some(95)));
    let view = node.until(|view| !view.gpus[2].is_schedulable()).await;
    assert!(!view.gpus[1].is_schedulable() && view.gpus[0].is_schedulable());
    node.xid(0, 94);
    assert_eq!(in_time(whole.failure()).await.xid, Some(94));
}

#[tokio::test]
async fn a_stranger_on_a_gpu_is_named_until_it_has_gone() {
    let node = Node::new(Fake::new(machine(2)));
    let own = std::process::id();
    node.occupy(0, &[own], 5 << 30);
    let view = node.until_code(0, "GpuForeignProcess").await;
    let message = &view.gpus[0].conditions[0].message;
    assert!(message.contains(&format!("process {own} (")), "{message}");
    assert!(!view.gpus[0].is_schedulable() && view.gpus[1].is_schedulable());
    node.occupy(0, &[], 0);
    node.until_well().await;
}

#[tokio::test]
async fn a_process_on_the_gpu_of_a_job_is_no_stranger() {
    let node = Node::new(Fake::new(machine(2)));
    let hold = node.hold(&[0]);
    node.occupy(0, &[std::process::id()], 5 << 30);
    node.occupy(1, &[std::process::id()], 5 << 30);
    node.until_code(1, "GpuForeignProcess").await;
    assert!(codes(&node.gpus.view().borrow(), 0).is_empty());
    drop(hold);
    node.until_code(0, "GpuForeignProcess").await;
}

#[tokio::test]
async fn memory_that_a_job_leaves_behind_keeps_the_gpu_from_others() {
    let node = Node::new(Fake::new(machine(1)));
    let hold = node.hold(&[0]);
    hold.begin(node.runs.path(), Vec::new()).await;
    node.occupy(0, &[], 30 << 30);
    let settle = tokio::spawn(async move {
        hold.settle().await;
        hold
    });
    node.until_code(0, "GpuMemoryHeld").await;
    drop(settle.await.unwrap());
    node.occupy(0, &[], 0);
    node.until_well().await;
}

#[tokio::test]
async fn memory_that_is_soon_free_is_waited_for() {
    let node = Node::new(Fake::new(machine(1)));
    let hold = node.hold(&[0]);
    node.occupy(0, &[], 30 << 30);
    let settle = hold.settle();
    tokio::pin!(settle);
    let soon = Duration::from_millis(100);
    assert!(tokio::time::timeout(soon, &mut settle).await.is_err());
    node.occupy(0, &[], 0);
    in_time(settle).await;
    assert!(codes(&node.gpus.view().borrow(), 0).is_empty());
}

#[tokio::test]
async fn a_gpu_that_fails_its_check_is_kept_from_jobs() {
    let command = "test \"$CUDA_VISIBLE_DEVICES\" != GPU-1 || { echo cannot copy >&2; exit 1; }";
    let check = GpuCheck {
        command: Some(command.into()),
    };
    let node = Node::with(Fake::new(machine(2)), Some(check));
    let hold = node.hold(&[0]);
    hold.check().await.unwrap();
    let failure = node.hold(&[0, 1]).check().await.unwrap_err();
    assert_eq!(
        (failure.code, failure.uuid.as_str()),
        ("GpuCheckFailed", "GPU-1")
    );
    assert!(
        failure.sentence.contains("cannot copy"),
        "{}",
        failure.sentence
    );
    node.until_code(1, "GpuCheckFailed").await;

    // What only somebody's memory was in the way of is well again when it is free.
    node.occupy(0, &[], 9 << 30);
    let failure = hold.check().await.unwrap_err();
    assert_eq!(failure.code, "GpuCheckFailed");
    node.until_code(0, "GpuCheckFailed").await;
    drop(hold);
    node.occupy(0, &[], 0);
    node.until(|view| codes(view, 0).is_empty()).await;
    assert_eq!(codes(&node.gpus.view().borrow(), 1), ["GpuCheckFailed"]);
}

#[tokio::test]
async fn the_account_goes_on_when_another_daemon_does() {
    let fake = Fake::new(machine(2));
    let energy = |millijoules| {
        fake.change(|script| {
            let reading = script.activity.get_mut("GPU-0").unwrap();
            reading.slow.as_mut().unwrap().energy_millijoules = Some(millijoules);
            reading.utilization = Some(80);
        });
    };
    energy(5_000);
    let node = Node::new(fake.clone());
    let hold = node.hold(&[0]);
    hold.begin(node.runs.path(), Vec::new()).await;
    let since = hold.since().unwrap();
    let file = node.runs.path().join(super::METERS_FILE);
    assert!(file.exists());

    let next = Node::new(fake.clone());
    let again = next.hold(&[0]);
    again.begin(node.runs.path(), Vec::new()).await;
    assert_eq!(again.since(), Some(since));
    energy(25_000);
    let account = again.account().await;
    assert_eq!(account.len(), 1);
    assert_eq!(account[0].energy_joules, Some(20.0));
    assert_eq!(account[0].utilization_peak, Some(80));
    assert_eq!(account[0].model, "NVIDIA H100 80GB HBM3");
}

#[tokio::test]
async fn a_running_job_has_a_series_and_the_node_its_last_sample() {
    let node = Node::new(Fake::new(machine(2)));
    let telemetry = node.gpus.telemetry();
    let hold = node.hold(&[1]);
    hold.begin(node.runs.path(), Vec::new()).await;
    let job = JobUid::new("job");
    let series = in_time(async {
        loop {
            let series = telemetry.job_series(&job).unwrap_or_default();
            if series.len() >= 3 {
                break series;
            }
            tokio::time::sleep(PACE.round).await;
        }
    })
    .await;
    let last = series.last().unwrap();
    assert_eq!(last.gpus.keys().collect::<Vec<_>>(), ["GPU-1"]);
    assert_eq!(last.gpus["GPU-1"].power_milliwatts, Some(70_000));
    let sample = telemetry.node_sample().unwrap();
    assert_eq!(sample.gpus.len(), 2);
    assert_eq!(sample.gpus["GPU-0"].temperature_celsius, Some(30));
    assert_eq!(sample.gpus["GPU-0"].last_xid, Some(0));
    drop(hold);
    assert!(telemetry.job_series(&job).is_none());
}

#[tokio::test]
async fn what_takes_milliseconds_is_asked_for_seldom() {
    let node = Node::new(Fake::new(machine(2)));
    let view = node.gpus.book();
    drop(view);
    let rounds = |sample: u32| {
        node.fake
            .change(|script| script.slow_calls.values().sum::<u32>() >= sample)
    };
    in_time(async {
        while !rounds(6) {
            tokio::time::sleep(PACE.round).await;
        }
    })
    .await;
    let calls = node.fake.change(|script| script.slow_calls.clone());
    // Both at first, and then in turns.
    let (one, other) = (calls["GPU-0"], calls["GPU-1"]);
    assert!(one.abs_diff(other) <= 1, "{one} {other}");
}

#[tokio::test]
async fn errors_of_a_driver_that_is_gone_are_no_errors_of_gpus() {
    let node = Node::new(Fake::new(machine(1)));
    let hold = node.hold(&[0]);
    node.fake.change(|script| script.is_absent = true);
    node.until(|view| !view.conditions.is_empty()).await;
    assert!(hold.failed.borrow().is_none());
    let error = DriverError::Gone("x".into());
    node.gpus
        .book()
        .error("GPU-0", &error, jiff::Timestamp::now());
    assert!(codes(&node.gpus.view().borrow(), 0).is_empty());
}
