//! Calls that fail or hang, GPUs that are lost or gone, events.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, RetirementCause};
use nvml_wrapper::enum_wrappers::nv_link::ErrorCounter;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;

use crate::sim::{Sim, TWO_SOCKETS};

fn with(change: &str) -> String {
    format!("{TWO_SOCKETS}\n{change}\n")
}

#[test]
fn a_lost_gpu_is_counted_and_answers_nothing() {
    let sim = Sim::new(TWO_SOCKETS);
    let nvml = sim.nvml();
    let third = nvml.device_by_index(3).unwrap();
    sim.write(&with("[change.3]\nstate = \"lost\""));
    assert_eq!(nvml.device_count().unwrap(), 8);
    assert!(matches!(third.name(), Err(NvmlError::GpuLost)));
    assert!(matches!(third.power_usage(), Err(NvmlError::GpuLost)));
    assert!(matches!(nvml.device_by_index(3), Err(NvmlError::GpuLost)));
    nvml.device_by_index(4).unwrap().name().unwrap();
}

#[test]
fn a_gpu_that_is_gone_is_not_counted() {
    let sim = Sim::new(TWO_SOCKETS);
    let nvml = sim.nvml();
    let third = nvml.device_by_index(3).unwrap();
    let fourth = nvml.device_by_index(4).unwrap();
    let uuid = fourth.uuid().unwrap();
    sim.write(&with("[change.3]\nstate = \"gone\""));
    assert_eq!(nvml.device_count().unwrap(), 7);
    assert!(matches!(third.name(), Err(NvmlError::InvalidArg)));
    assert_eq!(nvml.device_by_index(3).unwrap().uuid().unwrap(), uuid);
    assert_eq!(fourth.minor_number().unwrap(), 4);
}

#[test]
fn a_call_fails_where_it_is_said_and_nowhere_else() {
    let sim = Sim::new(&with(
        "[change.2.errors]\nnvmlDeviceGetPowerUsage = \"NO_PERMISSION\"",
    ));
    let nvml = sim.nvml();
    let power = |index| nvml.device_by_index(index).unwrap().power_usage();
    assert!(matches!(power(2), Err(NvmlError::NoPermission)));
    assert!(power(1).is_ok());
    nvml.device_by_index(2).unwrap().name().unwrap();
    sim.write(&format!(
        "errors = {{ nvmlDeviceGetCount_v2 = 999 }}\n{TWO_SOCKETS}"
    ));
    assert!(matches!(nvml.device_count(), Err(NvmlError::Unknown)));
}

#[test]
fn a_driver_that_is_not_there_is_told_at_once() {
    let sim = Sim::new("errors = { nvmlInit_v2 = \"DRIVER_NOT_LOADED\" }");
    assert!(matches!(sim.try_nvml(), Err(NvmlError::DriverNotLoaded)));
    sim.write(TWO_SOCKETS);
    assert_eq!(sim.nvml().device_count().unwrap(), 8);
}

#[test]
fn a_call_that_hangs_returns_when_it_may_and_keeps_no_other() {
    let sim = Sim::new(&with("[change.2]\nhangs = [\"nvmlDeviceGetPowerUsage\"]"));
    let nvml = sim.nvml();
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let nvml = &nvml;
        scope.spawn(move || {
            let power = nvml.device_by_index(2).unwrap().power_usage();
            sender.send(power).unwrap();
        });
        let waited = receiver.recv_timeout(Duration::from_millis(200));
        assert!(waited.is_err(), "{waited:?}");
        let second = nvml.device_by_index(2).unwrap();
        second.name().unwrap();
        nvml.device_by_index(1).unwrap().power_usage().unwrap();
        sim.write(TWO_SOCKETS);
        let power = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(power.unwrap() > 0);
    });
}

/// The next event: the GPU's index and the XID.
fn next(set: &nvml_wrapper::EventSet<'_>) -> Option<(u32, Option<u64>)> {
    match set.wait(200) {
        Err(NvmlError::Timeout) => None,
        event => {
            let event = event.unwrap();
            let xid = event.event_data.map(|xid| match xid {
                XidError::Value(value) => value,
                XidError::Unknown => 999,
            });
            Some((event.device.index().unwrap(), xid))
        }
    }
}

const TYPES: EventTypes = EventTypes::CRITICAL_XID_ERROR.union(EventTypes::DOUBLE_BIT_ECC_ERROR);

fn uncorrected(device: &Device<'_>, counter: EccCounter) -> u64 {
    device
        .total_ecc_errors(MemoryError::Uncorrected, counter)
        .unwrap()
}

#[test]
fn events_arrive_once_at_every_set_that_waits() {
    let before = with("[[event]]\nid = 1\ngpu = 5\nxid = 31");
    let sim = Sim::new(&before);
    let nvml = sim.nvml();
    let sets = [0, 1].map(|_| {
        (0..8).fold(nvml.create_event_set().unwrap(), |set, index| {
            let device = nvml.device_by_index(index).unwrap();
            device.register_events(TYPES, set).unwrap()
        })
    });
    assert_eq!(next(&sets[0]), None);
    let fifth = nvml.device_by_index(5).unwrap();
    assert_eq!(uncorrected(&fifth, EccCounter::Volatile), 0);

    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            sim.write(&format!(
                "{before}\n[[event]]\nid = 2\ngpu = 5\nkind = \"double_bit_ecc\"\n\
                 [[event]]\nid = 3\ngpu = 5\nxid = 48\n"
            ));
        });
        // One that waits for long is told at once.
        let event = sets[0].wait(60_000).unwrap();
        assert_eq!(event.event_type, EventTypes::DOUBLE_BIT_ECC_ERROR);
    });
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(next(&sets[0]), Some((5, Some(48))));
    assert_eq!(next(&sets[0]), None);
    assert_eq!(next(&sets[1]), Some((5, None)));
    assert_eq!(next(&sets[1]), Some((5, Some(48))));
    assert_eq!(uncorrected(&fifth, EccCounter::Volatile), 1);
}

#[test]
fn a_set_with_a_lost_gpu_tells_what_happened_and_then_that() {
    let sim = Sim::new(TWO_SOCKETS);
    let nvml = sim.nvml();
    let third = nvml.device_by_index(3).unwrap();
    let set = third
        .register_events(TYPES, nvml.create_event_set().unwrap())
        .unwrap();
    sim.write(&with(
        "[change.3]\nstate = \"lost\"\n[[event]]\nid = 1\ngpu = 3\nxid = 79",
    ));
    let event = set.wait(10_000).unwrap();
    assert!(matches!(event.event_data, Some(XidError::Value(79))));
    assert!(matches!(event.device.uuid(), Err(NvmlError::GpuLost)));
    assert!(matches!(set.wait(10_000), Err(NvmlError::GpuLost)));
}

#[test]
fn errors_of_the_memory_are_what_the_file_says() {
    let sim = Sim::new(&with(
        "[change.1]\necc_corrected = 7\necc_uncorrected = 2\necc_uncorrected_before = 3\n\
         remapped_uncorrectable = 1\nremap_pending = true",
    ));
    let nvml = sim.nvml();
    let device = nvml.device_by_index(1).unwrap();
    let corrected = device.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile);
    assert_eq!(corrected.unwrap(), 7);
    assert_eq!(uncorrected(&device, EccCounter::Volatile), 2);
    assert_eq!(uncorrected(&device, EccCounter::Aggregate), 5);
    let cause = RetirementCause::DoubleBitEccError;
    assert!(matches!(
        device.retired_pages(cause),
        Err(NvmlError::NotSupported)
    ));
}

#[test]
fn an_old_model_retires_pages() {
    let sim =
        Sim::new("[[gpu]]\nmodel = \"V100\"\nretired_double_bit = 2\nretirement_pending = true");
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    let pages = |cause| device.retired_pages(cause).unwrap().len();
    assert_eq!(pages(RetirementCause::DoubleBitEccError), 2);
    assert_eq!(pages(RetirementCause::MultipleSingleBitEccErrors), 0);
    assert!(device.are_pages_pending_retired().unwrap());
}

#[test]
fn links_count_errors() {
    let sim = Sim::new(&with(
        "[change.1]\nnvlink_errors = [{ link = 4, crc_flit = 9 }]",
    ));
    let nvml = sim.nvml();
    let device = nvml.device_by_index(1).unwrap();
    let errors = |link| {
        let link = device.link_wrapper_for(link);
        link.error_counter(ErrorCounter::DlCrcFlit).unwrap()
    };
    assert_eq!((errors(4), errors(5)), (9, 0));
}
