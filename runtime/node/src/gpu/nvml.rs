//! The driver behind NVML.
#![allow(
    unsafe_code,
    reason = "the wrapper has no call for the ids of MIG instances, and no safe way to tell \
              which of its handles two devices have"
)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, MemoryError, TemperatureSensor, TopologyLevel,
};
use nvml_wrapper::enum_wrappers::nv_link::ErrorCounter;
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING,
};
use nvml_wrapper::{Device, EventSet, Nvml};

use super::driver::{
    ActivityReading, Ancestor, DeviceReading, Driver, DriverError, GpuEvent, HealthReading,
    InstanceReading, LinkErrors, LoadDriver, MachineReading, OccupancyReading, Place, SlowReading,
    Throttle,
};

/// The most links (NVLink) of any GPU (`NVML_NVLINK_MAX_LINKS`).
const LINKS_MAX: u32 = 18;

/// How long one wait for events takes, and so how long their thread outlives its task.
const EVENT_WAIT_MS: u32 = 1_000;

/// Pause before events are waited for again after a GPU was lost.
const LOST_PAUSE: Duration = Duration::from_secs(1);

/// XID that stands for one that the driver does not number (`XidError::Unknown`).
const XID_UNKNOWN: u64 = 999;

/// Loads the library from where the system or the operator has it.
#[derive(Debug)]
pub(super) struct NvmlLoader {
    pub(super) library: Option<PathBuf>,
}

impl LoadDriver for NvmlLoader {
    fn load(&self) -> Result<Arc<dyn Driver>, DriverError> {
        let mut builder = Nvml::builder();
        if let Some(library) = &self.library {
            builder.lib_path(library.as_os_str());
        }
        match builder.init() {
            Ok(nvml) => Ok(Arc::new(NvmlDriver(nvml))),
            Err(error) => Err(DriverError::Unusable(error.to_string())),
        }
    }
}

struct NvmlDriver(Nvml);

/// What an error means for whoever cannot do without the answer.
fn failed(error: NvmlError) -> DriverError {
    match error {
        NvmlError::GpuLost => DriverError::Lost,
        NvmlError::ResetRequired => DriverError::ResetRequired,
        NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch => {
            DriverError::Gone(error.to_string())
        }
        other => DriverError::Refused(other.to_string()),
    }
}

/// What the driver tells, if it does; an error if it will tell nothing more of this GPU.
fn told<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, DriverError> {
    match answer.map_err(failed) {
        Ok(value) => Ok(Some(value)),
        Err(DriverError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Driver for NvmlDriver {
    fn count(&self) -> Result<u32, DriverError> {
        self.0.device_count().map_err(failed)
    }

    fn machine(&self) -> Result<MachineReading, DriverError> {
        let nvml = &self.0;
        let driver_version = nvml.sys_driver_version().map_err(failed)?;
        let cuda_version = told(nvml.sys_cuda_driver_version())?;
        let mut devices = Vec::new();
        let mut readings = Vec::new();
        let count = self.count()?;
        for index in 0..count {
            let read = nvml.device_by_index(index).map_err(failed);
            let read = read.and_then(|device| Ok((device_reading(index, &device)?, device)));
            match read {
                Ok((reading, device)) => {
                    readings.push(reading);
                    devices.push(device);
                }
                Err(error @ DriverError::Gone(_)) => return Err(error),
                // One that is ill keeps nobody from using the others.
                Err(error) => tracing::debug!(index, %error, "a GPU does not say what it is"),
            }
        }
        Ok(MachineReading {
            driver_version,
            cuda_version: cuda_version.and_then(|version| u32::try_from(version).ok()),
            ancestors: ancestors(nvml, &devices),
            count,
            devices: readings,
        })
    }

    fn activity(&self, place: &Place, slow: bool) -> Result<ActivityReading, DriverError> {
        let device = self.find(place)?;
        let mut reading = ActivityReading::default();
        if let Some(memory) = told(device.memory_info())? {
            reading.memory_used_bytes = Some(memory.used);
            reading.memory_free_bytes = Some(memory.free);
        }
        if let Some(utilization) = told(device.utilization_rates())? {
            reading.utilization = Some(utilization.gpu);
            reading.memory_utilization = Some(utilization.memory);
        }
        reading.power_milliwatts = told(device.power_usage())?;
        reading.sm_clock_mhz = told(device.clock_info(Clock::SM))?;
        reading.memory_clock_mhz = told(device.clock_info(Clock::Memory))?;
        reading.throttle = told(device.current_throttle_reasons())?.map(throttle);
        if slow {
            reading.slow = Some(SlowReading {
                energy_millijoules: told(device.total_energy_consumption())?,
                temperature_celsius: told(device.temperature(TemperatureSensor::Gpu))?,
                ecc_corrected: ecc_errors(&device, MemoryError::Corrected)?,
                ecc_uncorrected: ecc_errors(&device, MemoryError::Uncorrected)?,
            });
        }
        Ok(reading)
    }

    fn health(&self, place: &Place) -> Result<HealthReading, DriverError> {
        let device = self.find(place)?;
        let rows = [NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_REMAPPED_FAILURE].map(FieldId);
        let rows = told(device.field_values_for(&rows))?.unwrap_or_default();
        let mut rows = rows
            .into_iter()
            .map(|field| is_set(&field.ok()?.value.ok()?));
        let mut row = || rows.next().flatten();
        Ok(HealthReading {
            ecc_uncorrected: ecc_errors(&device, MemoryError::Uncorrected)?,
            rows_pending: row(),
            rows_failed: row(),
            pages_pending: told(device.are_pages_pending_retired())?,
            links: link_errors(&device)?,
        })
    }

    fn occupancy(&self, place: &Place) -> Result<OccupancyReading, DriverError> {
        let device = self.find(place)?;
        let processes = told(device.running_compute_processes())?.unwrap_or_default();
        let memory = told(device.memory_info())?;
        Ok(OccupancyReading {
            pids: processes.into_iter().map(|process| process.pid).collect(),
            memory_used_bytes: memory.as_ref().map(|memory| memory.used),
            memory_total_bytes: memory.map(|memory| memory.total),
        })
    }

    fn events(&self, tell: &mut dyn FnMut(Option<GpuEvent>) -> bool) -> Result<(), DriverError> {
        let (mut set, mut names) = registered(&self.0)?;
        loop {
            let event = match set.wait(EVENT_WAIT_MS) {
                Err(NvmlError::Timeout) => None,
                // Which one is lost, its readings tell. Every wait for a set with it says so at
                // once; the next set is made before this one goes, so that nothing is missed.
                Err(NvmlError::GpuLost) => {
                    thread::sleep(LOST_PAUSE);
                    (set, names) = registered(&self.0)?;
                    None
                }
                Err(error) => return Err(failed(error)),
                Ok(data) => names.get(&handle(&data.device)).and_then(|uuid| {
                    let uuid = uuid.clone();
                    if data.event_type.contains(EventTypes::CRITICAL_XID_ERROR) {
                        let number = match data.event_data {
                            Some(XidError::Value(number)) => number,
                            _ => XID_UNKNOWN,
                        };
                        return Some(GpuEvent::Xid { uuid, number });
                    }
                    let is_ecc = data.event_type.contains(EventTypes::DOUBLE_BIT_ECC_ERROR);
                    is_ecc.then_some(GpuEvent::UncorrectedEcc { uuid })
                }),
            };
            if !tell(event) {
                return Ok(());
            }
        }
    }
}

impl NvmlDriver {
    fn find(&self, place: &Place) -> Result<Device<'_>, DriverError> {
        let device = match place {
            Place::Whole {
                index: Some(index), ..
            } => self.0.device_by_index(*index),
            Place::Whole { uuid, .. } | Place::Instance { uuid } => {
                self.0.device_by_uuid(uuid.as_str())
            }
        };
        device.map_err(failed)
    }
}

fn device_reading(index: u32, device: &Device<'_>) -> Result<DeviceReading, DriverError> {
    let mode = told(device.mig_mode())?;
    let is_divided = mode.is_some_and(|mode| mode.current == 1);
    Ok(DeviceReading {
        index,
        uuid: device.uuid().map_err(failed)?,
        model: device.name().map_err(failed)?,
        minor: device.minor_number().map_err(failed)?,
        memory_bytes: device.memory_info().map_err(failed)?.total,
        bus_id: device.pci_info().map_err(failed)?.bus_id,
        instances: if is_divided {
            instances(device)?
        } else {
            Vec::new()
        },
        is_divided,
        links: links(device)?,
    })
}

fn instances(device: &Device<'_>) -> Result<Vec<InstanceReading>, DriverError> {
    let count = told(device.mig_device_count())?.unwrap_or(0);
    let mut found = Vec::new();
    for index in 0..count {
        // Indexes without an instance are not found.
        let Some(instance) = told(device.mig_device_by_index(index))? else {
            continue;
        };
        let (gpu_instance, compute_instance) = instance_ids(&instance).map_err(failed)?;
        found.push(InstanceReading {
            uuid: instance.uuid().map_err(failed)?,
            name: instance.name().map_err(failed)?,
            gpu_instance,
            compute_instance,
            memory_bytes: instance.memory_info().map_err(failed)?.total,
        });
    }
    Ok(found)
}

/// The ids of the GPU instance and of the compute instance.
fn instance_ids(instance: &Device<'_>) -> Result<(u32, u32), NvmlError> {
    let library = instance.nvml().lib();
    let gpu_instance = nvml_sym(library.nvmlDeviceGetGpuInstanceId.as_ref())?;
    let compute_instance = nvml_sym(library.nvmlDeviceGetComputeInstanceId.as_ref())?;
    let (mut gpu, mut compute) = (0, 0);
    // SAFETY: the handle lives as long as `instance`, and the library writes one number to each
    // of the two places, which outlive the calls.
    unsafe {
        nvml_try(gpu_instance(instance.handle(), &raw mut gpu))?;
        nvml_try(compute_instance(instance.handle(), &raw mut compute))?;
    }
    Ok((gpu, compute))
}

/// The other ends of the links that are up.
fn links(device: &Device<'_>) -> Result<Vec<String>, DriverError> {
    let mut ends = Vec::new();
    for link in active_links(device)? {
        if let Some(end) = told(device.link_wrapper_for(link).remote_pci_info())? {
            ends.push(end.bus_id);
        }
    }
    Ok(ends)
}

fn active_links(device: &Device<'_>) -> Result<Vec<u32>, DriverError> {
    let mut active = Vec::new();
    for link in 0..LINKS_MAX {
        // A GPU says this of a link that it does not have.
        let Some(is_active) = told(device.link_wrapper_for(link).is_active())? else {
            break;
        };
        if is_active {
            active.push(link);
        }
    }
    Ok(active)
}

fn link_errors(device: &Device<'_>) -> Result<Vec<LinkErrors>, DriverError> {
    let mut found = Vec::new();
    for link in active_links(device)? {
        let wrapper = device.link_wrapper_for(link);
        let count = |counter| Ok(told(wrapper.error_counter(counter))?.unwrap_or(0));
        found.push(LinkErrors {
            link,
            recoveries: count(ErrorCounter::DlRecovery)?,
            replays: count(ErrorCounter::DlReplay)?
                + count(ErrorCounter::DlCrcFlit)?
                + count(ErrorCounter::DlCrcData)?,
        });
    }
    Ok(found)
}

fn ecc_errors(device: &Device<'_>, kind: MemoryError) -> Result<Option<u64>, DriverError> {
    told(device.total_ecc_errors(kind, EccCounter::Volatile))
}

fn is_set(value: &SampleValue) -> Option<bool> {
    match value {
        SampleValue::U32(number) => Some(*number != 0),
        SampleValue::U64(number) => Some(*number != 0),
        SampleValue::I64(number) => Some(*number != 0),
        SampleValue::F64(_) => None,
    }
}

fn throttle(reasons: ThrottleReasons) -> Throttle {
    let heat = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
    let heat = reasons.intersects(heat);
    let brake = reasons.contains(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN);
    // Older GPUs say only that the hardware slows them down, not why; and heat is the rule.
    let unnamed = reasons.contains(ThrottleReasons::HW_SLOWDOWN) && !brake;
    Throttle {
        heat: heat || unnamed,
        power_brake: brake,
        power_limit: reasons.contains(ThrottleReasons::SW_POWER_CAP),
    }
}

fn ancestors(nvml: &Nvml, devices: &[Device<'_>]) -> Vec<Vec<Option<Ancestor>>> {
    let ancestor = |from: &Device<'_>, to: &Device<'_>| {
        let is_same = handle(from) == handle(to);
        let level = (!is_same).then(|| nvml.topology_common_ancestor(from, to))?;
        Some(match level.ok()? {
            TopologyLevel::Internal => Ancestor::Board,
            TopologyLevel::Single => Ancestor::PcieSwitch,
            TopologyLevel::Multiple => Ancestor::PcieSwitches,
            TopologyLevel::HostBridge => Ancestor::HostBridge,
            TopologyLevel::Node => Ancestor::NumaNode,
            TopologyLevel::System => Ancestor::System,
        })
    };
    let row = |from| devices.iter().map(|to| ancestor(from, to)).collect();
    devices.iter().map(row).collect()
}

/// Tells devices apart, also when they answer no question any more.
fn handle(device: &Device<'_>) -> usize {
    // SAFETY: the handle is only compared, never used.
    (unsafe { device.handle() }) as usize
}

/// All GPUs that have events, in one set, with their names by handle.
fn registered(nvml: &Nvml) -> Result<(EventSet<'_>, HashMap<usize, String>), DriverError> {
    let wanted = EventTypes::CRITICAL_XID_ERROR | EventTypes::DOUBLE_BIT_ECC_ERROR;
    let mut refused = Vec::new();
    // A refusal takes the set with it, so it begins anew without that GPU.
    'anew: loop {
        let mut set = nvml.create_event_set().map_err(failed)?;
        let mut names = HashMap::new();
        for index in 0..nvml.device_count().map_err(failed)? {
            let Ok(device) = nvml.device_by_index(index) else {
                continue;
            };
            let events = device.supported_event_types().map(|events| events & wanted);
            let (Ok(uuid), Ok(events)) = (device.uuid(), events) else {
                continue;
            };
            if events.is_empty() || refused.contains(&uuid) {
                continue;
            }
            match device.register_events(events, set) {
                Ok(registered) => set = registered,
                Err(error) => {
                    tracing::warn!(uuid, %error, "no events of this GPU will be seen");
                    refused.push(uuid);
                    continue 'anew;
                }
            }
            names.insert(handle(&device), uuid);
        }
        return Ok((set, names));
    }
}
