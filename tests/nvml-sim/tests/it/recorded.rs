//! The answers of a real H100, `tests/gpu/recorded`, against those of a simulated one.
//!
//! Calls are made by their names and with plain numbers, as the recording was: the keys of the
//! recording say with which.

#![allow(
    unsafe_code,
    reason = "functions are called by their names, as the recording has them"
)]

use std::collections::BTreeSet;
use std::ffi::c_uint;

use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::nvmlGpuInstanceProfileInfo_v2_t;
use serde_json::{Value, json};

use crate::sim::Sim;

const RECORDED: &str = include_str!("../../../gpu/recorded/h100-580.159.json");

/// The machine that was recorded: a GPU without its NVLinks, passed through to a virtual machine.
const MACHINE: &str = "
    [[gpu]]
    model = \"H100\"
    uuid = \"GPU-00000000-0000-0000-0000-000000000000\"
    bus_id = \"00000000:00:06.0\"
    cpus = \"0-15\"
    nvlink_links = 0
";

/// What was recorded and is not simulated, or differs with every call.
const NOT_COMPARED: &[&str] = &[
    "nvmlDeviceGetAdaptiveClockInfoStatus",
    "nvmlDeviceGetAddressingMode",
    "nvmlDeviceGetAutoBoostedClocksEnabled",
    "nvmlDeviceGetBAR1MemoryInfo",
    "nvmlDeviceGetBridgeChipInfo",
    "nvmlDeviceGetClkMonStatus",
    "nvmlDeviceGetCoolerInfo",
    "nvmlDeviceGetCurrentDramEncryptionMode",
    "nvmlDeviceGetCurrentDriverModel",
    "nvmlDeviceGetCurrentEccMode",
    "nvmlDeviceGetCurrentGpuOperationMode",
    "nvmlDeviceGetDefaultEccMode",
    "nvmlDeviceGetDisplayMode",
    "nvmlDeviceGetDramEncryptionMode",
    "nvmlDeviceGetDriverModel",
    "nvmlDeviceGetDynamicPstatesInfo",
    "nvmlDeviceGetFanSpeed",
    "nvmlDeviceGetFanSpeedRPM",
    "nvmlDeviceGetGpcClkMinMaxVfOffset",
    "nvmlDeviceGetGpcClkVfOffset",
    "nvmlDeviceGetGpuMaxPcieLinkGeneration",
    "nvmlDeviceGetGpuOperationMode",
    "nvmlDeviceGetGraphicsRunningProcesses",
    "nvmlDeviceGetIrqNum",
    "nvmlDeviceGetLastBBXFlushTime",
    "nvmlDeviceGetMPSComputeRunningProcesses",
    "nvmlDeviceGetMarginTemperature",
    "nvmlDeviceGetMemClkMinMaxVfOffset",
    "nvmlDeviceGetMemClkVfOffset",
    "nvmlDeviceGetMinMaxFanSpeed",
    "nvmlDeviceGetModuleId",
    "nvmlDeviceGetPcieLinkMaxSpeed",
    "nvmlDeviceGetPcieSpeed",
    "nvmlDeviceGetPcieThroughput",
    "nvmlDeviceGetPdi",
    "nvmlDeviceGetPendingDramEncryptionMode",
    "nvmlDeviceGetPendingDriverModel",
    "nvmlDeviceGetPendingEccMode",
    "nvmlDeviceGetPendingGpuOperationMode",
    "nvmlDeviceGetPgpuMetadataString",
    "nvmlDeviceGetPowerSource",
    "nvmlDeviceGetRepairStatus",
    "nvmlDeviceGetSupportedMemoryClocks",
    "nvmlDeviceGetSupportedPerformanceStates",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetViolationStatus",
    "nvmlDeviceGetVirtualizationMode",
];

/// Up to five arguments after the device. Those that a function does not take are ignored, as C
/// calls are made.
type Call = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize) -> c_uint;

/// More than any function writes.
const ROOM: usize = 512;

struct Caller<'n> {
    nvml: &'n Nvml,
    device: usize,
}

impl Caller<'_> {
    /// Calls a function with the numbers, and answers what it wrote: each output in turn.
    fn call(
        &self,
        name: &str,
        numbers: &[usize],
        outputs: usize,
    ) -> Option<Result<Vec<[u8; ROOM]>, u32>> {
        let symbol = format!("{name}\0");
        // SAFETY: the library exports only functions of NVML, which take numbers and pointers.
        let function = unsafe { self.nvml.lib().__library.get::<Call>(symbol.as_bytes()) };
        let function = *function.ok()?;
        let mut written = vec![[0_u8; ROOM]; outputs];
        let mut arguments: Vec<usize> = numbers.to_vec();
        arguments.extend(
            written
                .iter_mut()
                .map(|room| room.as_mut_ptr().expose_provenance()),
        );
        arguments.resize(5, ROOM);
        let [first, second, third, fourth, fifth] = arguments[..] else {
            panic!("{name} takes too much")
        };
        // SAFETY: every pointer has room for whatever a function of NVML writes; arguments
        // beyond those are not looked at.
        let code = unsafe { function(self.device, first, second, third, fourth, fifth) };
        Some(if code == 0 { Ok(written) } else { Err(code) })
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

fn small(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

/// `name[1, 2]`
fn split(key: &str) -> (&str, Vec<usize>) {
    let (name, rest) = key.split_once('[').unwrap_or((key, "]"));
    let numbers = rest.trim_end_matches(']').split(", ");
    (
        name,
        numbers.filter_map(|number| number.parse().ok()).collect(),
    )
}

/// What the simulated GPU answers where the real one answered `recorded`.
fn answer(caller: &Caller<'_>, key: &str, recorded: &Value) -> Option<Value> {
    let (name, mut numbers) = split(key);
    if name.ends_with("Affinity") || name.ends_with("WithinScope") {
        // The size comes before the output and the scope after it.
        let scope = numbers.split_off(1);
        return affinity(caller, name, numbers[0], scope.first().copied());
    }
    let outputs = match recorded {
        Value::Array(items) => items.len().max(2),
        // Room for whatever a call writes that fails on the real one.
        _ => 4 - numbers.len().min(3),
    };
    let written = match caller.call(name, &numbers, outputs)? {
        Err(code) => return Some(json!({ "error": code })),
        Ok(written) => written,
    };
    let first = &written[0];
    Some(match recorded {
        Value::String(_) => json!(text(first)),
        Value::Array(items) => {
            let outputs = written.iter().take(items.len());
            outputs.map(|output| json!(number(output))).collect()
        }
        Value::Object(_) => structure(name, first),
        _ => json!(number(first)),
    })
}

fn affinity(caller: &Caller<'_>, name: &str, size: usize, scope: Option<usize>) -> Option<Value> {
    let mut words = [0_u64; 8];
    let room = words.as_mut_ptr().expose_provenance();
    let arguments = [size, room, scope.unwrap_or_default()];
    let called = caller.call(name, &arguments, 0)?;
    assert_eq!(called, Ok(vec![]), "{name}");
    Some(json!(words[..size]))
}

/// The structs that a call writes: how wide their members are, and these in their order.
const STRUCTS: &[(&str, usize, &[&str])] = &[
    ("nvmlDeviceGetMemoryInfo", 8, &["total", "free", "used"]),
    ("nvmlDeviceGetUtilizationRates", 4, &["gpu", "memory"]),
    (
        "nvmlDeviceGetRowRemapperHistogram",
        4,
        &["max", "high", "partial", "low", "none"],
    ),
];

fn structure(name: &str, bytes: &[u8]) -> Value {
    let known = STRUCTS.iter().find(|(function, ..)| *function == name);
    let (_, width, members) = known.unwrap_or_else(|| panic!("the struct of {name}"));
    let read = |place: &[u8]| match width {
        8 => number(place),
        _ => small(place).into(),
    };
    let fields = members.iter().zip(bytes.chunks_exact(*width));
    fields
        .map(|(member, place)| ((*member).to_owned(), json!(read(place))))
        .collect()
}

#[test]
fn the_simulated_h100_answers_as_the_real_one() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let calls = recorded["calls"].as_object().unwrap();
    let sim = Sim::new(MACHINE);
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    // SAFETY: the handle is used only while the library is there.
    let handle = unsafe { device.handle() }.addr();
    let caller = Caller {
        nvml: &nvml,
        device: handle,
    };
    let mut absent = BTreeSet::new();
    let mut compared = 0;
    for (key, call) in calls {
        let (name, numbers) = split(key);
        if NOT_COMPARED.contains(&name) || !key.starts_with("nvmlDevice") {
            continue;
        }
        let real = &call["value"];
        let simulated = match name {
            "nvmlDeviceGetPciInfo" => Some(pci_info(&device)),
            "nvmlDeviceGetGpuInstanceProfileInfo" => Some(profile(&nvml, handle, numbers[0])),
            "nvmlDeviceGetComputeRunningProcesses" | "nvmlDeviceGetAccountingPids" => {
                Some(json!([]))
            }
            _ => answer(&caller, key, real),
        };
        match simulated {
            None => drop(absent.insert(name)),
            Some(simulated) => {
                assert_eq!(&simulated, real, "{key}");
                compared += 1;
            }
        }
    }
    assert_eq!(
        absent,
        BTreeSet::new(),
        "simulate them, or say that they are not compared"
    );
    assert!(compared > 90, "{compared} calls compared");
}

fn pci_info(device: &Device<'_>) -> Value {
    let info = device.pci_info().unwrap();
    json!({
        "busIdLegacy": "0000:00:06.0",
        "domain": info.domain,
        "bus": info.bus,
        "device": info.device,
        "pciDeviceId": info.pci_device_id,
        "pciSubSystemId": info.pci_sub_system_id,
        "busId": info.bus_id,
    })
}

fn profile(nvml: &Nvml, device: usize, argument: usize) -> Value {
    let size = size_of::<nvmlGpuInstanceProfileInfo_v2_t>();
    // SAFETY: it is a struct of numbers.
    let mut info: nvmlGpuInstanceProfileInfo_v2_t = unsafe { std::mem::zeroed() };
    info.version = u32::try_from(size | (2 << 24)).unwrap();
    let function = nvml
        .lib()
        .nvmlDeviceGetGpuInstanceProfileInfoV
        .as_ref()
        .unwrap();
    let argument = c_uint::try_from(argument).unwrap();
    let device = std::ptr::without_provenance_mut(device);
    // SAFETY: the struct is one that the function knows.
    let code = unsafe { function(device, argument, &raw mut info) };
    if code != 0 {
        return json!({ "error": code });
    }
    let name: Vec<u8> = info.name.iter().map(|c| c.to_ne_bytes()[0]).collect();
    json!({
        // The recording did not keep it.
        "version": 0,
        "id": info.id,
        "isP2pSupported": info.isP2pSupported,
        "sliceCount": info.sliceCount,
        "instanceCount": info.instanceCount,
        "multiprocessorCount": info.multiprocessorCount,
        "copyEngineCount": info.copyEngineCount,
        "decoderCount": info.decoderCount,
        "encoderCount": info.encoderCount,
        "jpegCount": info.jpegCount,
        "ofaCount": info.ofaCount,
        "memorySizeMB": info.memorySizeMB,
        "name": text(&name),
    })
}

#[test]
fn what_is_not_compared_was_recorded() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let calls = recorded["calls"].as_object().unwrap();
    for name in NOT_COMPARED {
        assert!(calls.keys().any(|key| split(key).0 == *name), "{name}");
    }
}

#[test]
fn fields_are_as_recorded() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let sim = Sim::new(MACHINE);
    let nvml = sim.nvml();
    let device = nvml.device_by_index(0).unwrap();
    // Those that do not change while one looks.
    for id in [
        1, 2, 3, 4, 5, 6, 94, 142, 143, 144, 145, 185, 187, 188, 189, 190, 192,
    ] {
        let real = &recorded["fieldValues"][id.to_string()];
        let field = nvml_wrapper::structs::device::FieldId(id);
        let values = device.field_values_for(&[field]).unwrap();
        let sample = values.into_iter().next().unwrap().unwrap();
        let (kind, value) = match sample.value.unwrap() {
            SampleValue::U32(value) => (1, u64::from(value)),
            SampleValue::U64(value) => (3, value),
            other => panic!("{other:?}"),
        };
        assert_eq!(real, &json!({ "type": kind, "value": value }), "field {id}");
    }
}

#[test]
fn what_there_is_not_is_refused_as_recorded() {
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let sim = Sim::new(MACHINE);
    let nvml = sim.nvml();
    assert_eq!(recorded["badUuid"]["error"], 6);
    assert!(matches!(
        nvml.device_by_uuid("GPU-1"),
        Err(NvmlError::NotFound)
    ));
    assert_eq!(recorded["badIndex"]["error"], 2);
    assert!(matches!(
        nvml.device_by_index(99),
        Err(NvmlError::InvalidArg)
    ));
    assert_eq!(nvml.sys_driver_version().unwrap(), recorded["driver"]);
    assert_eq!(nvml.sys_nvml_version().unwrap(), recorded["nvml"]);
    assert_eq!(nvml.sys_cuda_driver_version().unwrap(), recorded["cuda"]);
}
