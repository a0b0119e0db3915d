//! Memory, utilisation, power, heat, clocks.

use std::ffi::{c_uint, c_ulonglong};
use std::thread;
use std::time::Duration;

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlMemory_t, nvmlMemory_v2_t, nvmlUtilization_t, nvmlViolationTime_t,
};

use crate::activity::{Memory, REASONS_SUPPORTED};
use crate::code::Code;
use crate::counters::{milliwatts, now};
use crate::ffi::{Answer, Out, device, nvml};
use crate::file::Clocks;
use crate::library::Target;

/// What the second version of the struct for memory says of itself: its size and a 2.
#[expect(clippy::cast_possible_truncation, reason = "a struct of some bytes")]
const MEMORY_VERSION_2: c_uint = {
    let size = size_of::<nvmlMemory_v2_t>();
    (size | (2 << 24)) as c_uint
};

/// For how long the driver counts before it tells the throughput of PCIe.
const PCIE_MEASURED_FOR: Duration = Duration::from_millis(20);

nvml! {
    fn nvmlDeviceGetMemoryInfo(handle: nvmlDevice_t, out: Out<nvmlMemory_t>) {
        let found = memory(&device(FUNCTION, handle)?)?;
        out.set(nvmlMemory_t {
            total: found.total,
            free: found.free,
            // What the driver keeps counts as used in this version.
            used: found.used + found.reserved,
        })
    }
    fn nvmlDeviceGetMemoryInfo_v2(handle: nvmlDevice_t, out: Out<nvmlMemory_v2_t>) {
        let found = memory(&device(FUNCTION, handle)?)?;
        if out.get()?.version != MEMORY_VERSION_2 {
            return Err(Code::ARGUMENT_VERSION_MISMATCH);
        }
        out.set(nvmlMemory_v2_t {
            version: MEMORY_VERSION_2,
            total: found.total,
            reserved: found.reserved,
            free: found.free,
            used: found.used,
        })
    }
    fn nvmlDeviceGetUtilizationRates(handle: nvmlDevice_t, out: Out<nvmlUtilization_t>) {
        let target = device(FUNCTION, handle)?;
        let gpu = target.whole()?;
        if gpu.is_divided() {
            return Err(Code::NOT_SUPPORTED);
        }
        let (gpu, memory) = target.look()?.0.utilization(&gpu.spec);
        out.set(nvmlUtilization_t { gpu, memory })
    }
    fn nvmlDeviceGetEncoderUtilization(
        handle: nvmlDevice_t,
        utilization: Out<c_uint>,
        period: Out<c_uint>,
    ) {
        device(FUNCTION, handle)?.whole()?;
        utilization.set(0)?;
        period.set(100_000)
    }
    fn nvmlDeviceGetDecoderUtilization(
        handle: nvmlDevice_t,
        utilization: Out<c_uint>,
        period: Out<c_uint>,
    ) {
        device(FUNCTION, handle)?.whole()?;
        utilization.set(0)?;
        period.set(100_000)
    }
    fn nvmlDeviceGetPcieThroughput(handle: nvmlDevice_t, _counter: c_uint, out: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        thread::sleep(PCIE_MEASURED_FOR);
        out.set(640)
    }

    fn nvmlDeviceGetPowerUsage(handle: nvmlDevice_t, power: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        let gpu = target.whole()?;
        power.set(in_milliwatts(target.look()?.0.power(&gpu.spec)))
    }
    fn nvmlDeviceGetTotalEnergyConsumption(handle: nvmlDevice_t, energy: Out<c_ulonglong>) {
        let target = device(FUNCTION, handle)?;
        target.whole()?;
        energy.set(target.look()?.1.energy / 1000)
    }
    fn nvmlDeviceGetPowerManagementMode(handle: nvmlDevice_t, mode: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        mode.set(1)
    }
    fn nvmlDeviceGetPowerManagementLimit(handle: nvmlDevice_t, limit: Out<c_uint>) {
        limit.set(in_milliwatts(device(FUNCTION, handle)?.whole()?.spec.power_limit_watts))
    }
    fn nvmlDeviceGetPowerManagementDefaultLimit(handle: nvmlDevice_t, limit: Out<c_uint>) {
        limit.set(in_milliwatts(device(FUNCTION, handle)?.whole()?.spec.power_limit_watts))
    }
    fn nvmlDeviceGetEnforcedPowerLimit(handle: nvmlDevice_t, limit: Out<c_uint>) {
        limit.set(in_milliwatts(device(FUNCTION, handle)?.whole()?.spec.power_limit_watts))
    }
    fn nvmlDeviceGetPowerManagementLimitConstraints(
        handle: nvmlDevice_t,
        min: Out<c_uint>,
        max: Out<c_uint>,
    ) {
        let target = device(FUNCTION, handle)?;
        let spec = &target.whole()?.spec;
        min.set(in_milliwatts(spec.power_limit_min_watts))?;
        max.set(in_milliwatts(spec.power_limit_watts))
    }

    fn nvmlDeviceGetTemperature(handle: nvmlDevice_t, sensor: c_uint, out: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        let gpu = target.whole()?;
        if sensor != 0 {
            return Err(Code::INVALID_ARGUMENT);
        }
        out.set(target.look()?.0.temperature(&gpu.spec))
    }
    fn nvmlDeviceGetTemperatureThreshold(handle: nvmlDevice_t, kind: c_uint, out: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        let spec = &target.whole()?.spec;
        match kind {
            0 => out.set(spec.temperature_shutdown),
            1 => out.set(spec.temperature_slowdown),
            2 => out.set(spec.temperature_memory_max),
            3 => out.set(spec.temperature_gpu_max),
            4..=7 => Err(Code::NOT_SUPPORTED),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }
    fn nvmlDeviceGetNumFans(handle: nvmlDevice_t, fans: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        fans.set(0)
    }

    fn nvmlDeviceGetClockInfo(handle: nvmlDevice_t, kind: c_uint, out: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        let gpu = target.whole()?;
        out.set(clock(target.look()?.0.clocks(&gpu.spec), kind)?)
    }
    fn nvmlDeviceGetMaxClockInfo(handle: nvmlDevice_t, kind: c_uint, out: Out<c_uint>) {
        out.set(clock(device(FUNCTION, handle)?.whole()?.spec.clocks_max, kind)?)
    }
    fn nvmlDeviceGetPerformanceState(handle: nvmlDevice_t, state: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        state.set(0)
    }
    fn nvmlDeviceGetPowerState(handle: nvmlDevice_t, state: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        state.set(0)
    }
    fn nvmlDeviceGetCurrentClocksThrottleReasons(handle: nvmlDevice_t, out: Out<c_ulonglong>) {
        reasons(&device(FUNCTION, handle)?, &out)
    }
    fn nvmlDeviceGetCurrentClocksEventReasons(handle: nvmlDevice_t, out: Out<c_ulonglong>) {
        reasons(&device(FUNCTION, handle)?, &out)
    }
    fn nvmlDeviceGetSupportedClocksThrottleReasons(handle: nvmlDevice_t, out: Out<c_ulonglong>) {
        device(FUNCTION, handle)?.whole()?;
        out.set(REASONS_SUPPORTED)
    }
    fn nvmlDeviceGetSupportedClocksEventReasons(handle: nvmlDevice_t, out: Out<c_ulonglong>) {
        device(FUNCTION, handle)?.whole()?;
        out.set(REASONS_SUPPORTED)
    }
    fn nvmlDeviceGetViolationStatus(
        handle: nvmlDevice_t,
        policy: c_uint,
        out: Out<nvmlViolationTime_t>,
    ) {
        let target = device(FUNCTION, handle)?;
        target.whole()?;
        let counters = target.look()?.1;
        let time = match policy {
            0 => counters.power_violation,
            1 => counters.thermal_violation,
            2..=5 => 0,
            _ => return Err(Code::INVALID_ARGUMENT),
        };
        out.set(nvmlViolationTime_t {
            referenceTime: now() / 1000,
            violationTime: time,
        })
    }
}

fn memory(target: &Target) -> Result<Memory, Code> {
    let gpu = target.gpu()?;
    let (activity, _) = target.look()?;
    match target.mig {
        None => Ok(activity.memory(&gpu.spec)),
        Some(number) => {
            let instance = gpu.mig.get(number).ok_or(Code::UNKNOWN)?;
            Ok(activity.memory_of(number, instance.profile.memory_mib << 20))
        }
    }
}

fn reasons(target: &Target, out: &Out<c_ulonglong>) -> Answer {
    let gpu = target.whole()?;
    out.set(target.look()?.0.reasons(&gpu.spec))
}

fn clock(clocks: Clocks, kind: c_uint) -> Result<c_uint, Code> {
    match kind {
        0 => Ok(clocks.graphics),
        1 => Ok(clocks.sm),
        2 => Ok(clocks.memory),
        3 => Ok(clocks.video),
        _ => Err(Code::INVALID_ARGUMENT),
    }
}

/// For answers of 32 bits.
pub(super) fn in_milliwatts(watts: f64) -> c_uint {
    c_uint::try_from(milliwatts(watts)).unwrap_or(c_uint::MAX)
}
