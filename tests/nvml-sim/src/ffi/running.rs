//! Processes and accounting.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlAccountingStats_t, nvmlDevice_t, nvmlProcessInfo_v1_t, nvmlProcessInfo_v2_t,
    nvmlProcessUtilizationSample_t,
};

use crate::activity::Process;
use crate::code::Code;
use crate::counters;
use crate::ffi::{Answer, Out, device, list, nvml};
use crate::library::Target;

/// The instance of a process on a GPU that is not divided.
const NO_INSTANCE: c_uint = c_uint::MAX;

/// How many processes are remembered, as a real driver says.
const ACCOUNTING_BUFFER: c_uint = 4000;

nvml! {
    fn nvmlDeviceGetComputeRunningProcesses(
        handle: nvmlDevice_t,
        count: Out<c_uint>,
        out: Out<nvmlProcessInfo_v1_t>,
    ) {
        let running = running(&device(FUNCTION, handle)?)?;
        let infos: Vec<_> = running
            .iter()
            .map(|info| nvmlProcessInfo_v1_t {
                pid: info.pid,
                usedGpuMemory: info.usedGpuMemory,
            })
            .collect();
        list(&infos, &count, &out)
    }
    fn nvmlDeviceGetComputeRunningProcesses_v2(
        handle: nvmlDevice_t,
        count: Out<c_uint>,
        out: Out<nvmlProcessInfo_v2_t>,
    ) {
        list(&running(&device(FUNCTION, handle)?)?, &count, &out)
    }
    fn nvmlDeviceGetComputeRunningProcesses_v3(
        handle: nvmlDevice_t,
        count: Out<c_uint>,
        out: Out<nvmlProcessInfo_v2_t>,
    ) {
        list(&running(&device(FUNCTION, handle)?)?, &count, &out)
    }
    fn nvmlDeviceGetGraphicsRunningProcesses_v2(
        handle: nvmlDevice_t,
        count: Out<c_uint>,
        out: Out<nvmlProcessInfo_v2_t>,
    ) {
        device(FUNCTION, handle)?;
        list(&[], &count, &out)
    }
    fn nvmlDeviceGetGraphicsRunningProcesses_v3(
        handle: nvmlDevice_t,
        count: Out<c_uint>,
        out: Out<nvmlProcessInfo_v2_t>,
    ) {
        device(FUNCTION, handle)?;
        list(&[], &count, &out)
    }
    fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
        handle: nvmlDevice_t,
        count: Out<c_uint>,
        out: Out<nvmlProcessInfo_v2_t>,
    ) {
        device(FUNCTION, handle)?;
        list(&[], &count, &out)
    }
    fn nvmlDeviceGetProcessUtilization(
        handle: nvmlDevice_t,
        out: Out<nvmlProcessUtilizationSample_t>,
        count: Out<c_uint>,
        since: c_ulonglong,
    ) {
        let target = device(FUNCTION, handle)?;
        let samples = samples(&target, since)?;
        if samples.is_empty() {
            return Err(Code::NOT_FOUND);
        }
        list(&samples, &count, &out)
    }

    fn nvmlDeviceGetAccountingMode(handle: nvmlDevice_t, mode: Out<c_uint>) {
        mode.set(c_uint::from(device(FUNCTION, handle)?.whole()?.spec.accounting))
    }
    fn nvmlDeviceGetAccountingBufferSize(handle: nvmlDevice_t, size: Out<c_uint>) {
        device(FUNCTION, handle)?.whole()?;
        size.set(ACCOUNTING_BUFFER)
    }
    fn nvmlDeviceGetAccountingPids(handle: nvmlDevice_t, count: Out<c_uint>, out: Out<c_uint>) {
        let target = device(FUNCTION, handle)?;
        let pids: Vec<c_uint> = if target.whole()?.spec.accounting {
            target.accounts()?.into_iter().map(|(pid, _)| pid).collect()
        } else {
            Vec::new()
        };
        list(&pids, &count, &out)
    }
    fn nvmlDeviceGetAccountingStats(
        handle: nvmlDevice_t,
        pid: c_uint,
        out: Out<nvmlAccountingStats_t>,
    ) {
        stats(&device(FUNCTION, handle)?, pid, &out)
    }
}

/// What runs on a GPU or in an instance of it.
fn running(target: &Target) -> Result<Vec<nvmlProcessInfo_v2_t>, Code> {
    let gpu = target.gpu()?;
    let (activity, _) = target.look()?;
    let is_asked_for = |process: &&Process| target.mig.is_none() || process.mig == target.mig;
    let info = |process: &Process| {
        let instance = process.mig.and_then(|mig| gpu.mig.get(mig));
        nvmlProcessInfo_v2_t {
            pid: process.pid,
            usedGpuMemory: process.memory,
            gpuInstanceId: instance.map_or(NO_INSTANCE, |instance| instance.gpu_instance),
            computeInstanceId: instance.map_or(NO_INSTANCE, |instance| instance.compute_instance),
        }
    };
    let processes = activity.processes.iter();
    Ok(processes.filter(is_asked_for).map(info).collect())
}

/// What each process does now, if that is later than `since`; the GPU is shared evenly.
fn samples(
    target: &Target,
    since: c_ulonglong,
) -> Result<Vec<nvmlProcessUtilizationSample_t>, Code> {
    let gpu = target.whole()?;
    if gpu.is_divided() {
        return Err(Code::NOT_SUPPORTED);
    }
    let (activity, _) = target.look()?;
    let now = counters::now() / 1000;
    if now <= since {
        return Ok(Vec::new());
    }
    let sharing = u32::try_from(activity.processes.len())
        .unwrap_or(u32::MAX)
        .max(1);
    let (gpu, memory) = activity.utilization(&gpu.spec);
    let sample = |process: &Process| nvmlProcessUtilizationSample_t {
        pid: process.pid,
        timeStamp: now,
        smUtil: gpu / sharing,
        memUtil: memory / sharing,
        encUtil: 0,
        decUtil: 0,
    };
    Ok(activity.processes.iter().map(sample).collect())
}

fn stats(target: &Target, pid: c_uint, out: &Out<nvmlAccountingStats_t>) -> Answer {
    let spec = &target.whole()?.spec;
    if !spec.accounting {
        return Err(Code::NOT_SUPPORTED);
    }
    let accounts = target.accounts()?;
    let found = accounts.into_iter().find(|(own, _)| *own == pid);
    let (_, account) = found.ok_or(Code::NOT_FOUND)?;
    // The driver tells how long a process ran only when it runs no more.
    let ran_for = account.seen.saturating_sub(account.started) / 1_000_000;
    out.set(nvmlAccountingStats_t {
        gpuUtilization: spec.utilization.min(100),
        memoryUtilization: spec.memory_utilization.min(100),
        maxMemoryUsage: account.memory_peak,
        time: if account.is_running { 0 } else { ran_for },
        startTime: account.started / 1000,
        isRunning: c_uint::from(account.is_running),
        reserved: [0; 5],
    })
}
