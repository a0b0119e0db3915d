//! What a GPU does, given who uses it.

use crate::file::{Clocks, GpuSpec, Throttle};
use crate::machine::Gpu;
use crate::processes::{self, Holders};

/// Reasons for clocks of `nvmlClocksEventReasons`.
const GPU_IDLE: u64 = 0x1;
const SW_POWER_CAP: u64 = 0x4;
const HW_SLOWDOWN: u64 = 0x8;
const SYNC_BOOST: u64 = 0x10;
const SW_THERMAL: u64 = 0x20;
const HW_THERMAL: u64 = 0x40;
const HW_POWER_BRAKE: u64 = 0x80;

/// Every reason that a GPU may have.
pub(crate) const REASONS_SUPPORTED: u64 = 0x1ff;

/// A process on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) memory: u64,
    /// The MIG instance, by its number.
    pub(crate) mig: Option<usize>,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    /// Kept by the driver.
    pub(crate) reserved: u64,
    pub(crate) used: u64,
    pub(crate) free: u64,
}

/// Who uses a GPU. What it does follows from that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    pub(crate) processes: Vec<Process>,
}

impl Activity {
    /// Of a GPU whose device files are held by some.
    pub(crate) fn of(gpu: &Gpu, holders: &Holders) -> Self {
        let memory = gpu.spec.process_memory.0;
        let mut processes = Vec::new();
        let mut add = |pid, memory, mig| processes.push(Process { pid, memory, mig });
        if gpu.is_divided() {
            for (number, instance) in gpu.mig.iter().enumerate() {
                for &pid in holders.of(&instance.device) {
                    add(pid, memory, Some(number));
                }
            }
        } else {
            for &pid in holders.of(&gpu.device) {
                add(pid, memory, None);
            }
        }
        for line in &gpu.spec.process {
            if processes::exists(line.pid) {
                add(
                    line.pid,
                    line.memory.map_or(memory, |memory| memory.0),
                    None,
                );
            }
        }
        Self { processes }
    }

    fn is_busy(&self) -> bool {
        !self.processes.is_empty()
    }

    /// Memory of the whole GPU.
    pub(crate) fn memory(&self, spec: &GpuSpec) -> Memory {
        let of_processes = self.processes.iter().map(|process| process.memory);
        let used = of_processes.fold(spec.memory_held.0, u64::saturating_add);
        memory(spec.memory.0, spec.memory_reserved.0, used)
    }

    /// Memory of a MIG instance.
    pub(crate) fn memory_of(&self, mig: usize, total: u64) -> Memory {
        let own = self.processes.iter().filter(|it| it.mig == Some(mig));
        let used = own.map(|process| process.memory);
        memory(total, 0, used.fold(0, u64::saturating_add))
    }

    /// How much of the time something runs, and memory is read or written, in percent.
    pub(crate) fn utilization(&self, spec: &GpuSpec) -> (u32, u32) {
        if self.is_busy() {
            (spec.utilization.min(100), spec.memory_utilization.min(100))
        } else {
            (0, 0)
        }
    }

    /// In watts.
    pub(crate) fn power(&self, spec: &GpuSpec) -> f64 {
        let share = f64::from(self.utilization(spec).0) / 100.0;
        spec.power_idle_watts + (spec.power_busy_watts - spec.power_idle_watts) * share
    }

    /// In degrees Celsius.
    pub(crate) fn temperature(&self, spec: &GpuSpec) -> u32 {
        if self.is_busy() {
            spec.temperature_busy
        } else {
            spec.temperature_idle
        }
    }

    pub(crate) fn clocks(&self, spec: &GpuSpec) -> Clocks {
        if self.is_busy() {
            spec.clocks_busy
        } else {
            spec.clocks_idle
        }
    }

    /// Why the clocks are not higher.
    pub(crate) fn reasons(&self, spec: &GpuSpec) -> u64 {
        let idle = if self.is_busy() { 0 } else { GPU_IDLE };
        let reasons = spec.throttle.iter().map(|reason| match reason {
            Throttle::SwPowerCap => SW_POWER_CAP,
            Throttle::HwSlowdown => HW_SLOWDOWN,
            Throttle::SyncBoost => SYNC_BOOST,
            Throttle::SwThermal => SW_THERMAL,
            Throttle::HwThermal => HW_THERMAL,
            Throttle::HwPowerBrake => HW_POWER_BRAKE,
        });
        reasons.fold(idle, |all, reason| all | reason)
    }
}

/// Whether power holds clocks back, and whether heat does.
pub(crate) fn is_held_back(reasons: u64) -> (bool, bool) {
    let power = reasons & (SW_POWER_CAP | HW_POWER_BRAKE) != 0;
    let heat = reasons & (HW_SLOWDOWN | SW_THERMAL | HW_THERMAL) != 0;
    (power, heat)
}

fn memory(total: u64, reserved: u64, wanted: u64) -> Memory {
    let reserved = reserved.min(total);
    let used = wanted.min(total - reserved);
    Memory {
        total,
        reserved,
        used,
        free: total - reserved - used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn gpu(more: &str) -> Gpu {
        let text = format!("[[gpu]]\nmodel = \"H100\"\n{more}");
        Machine::parse(&text, 1).unwrap().gpus.remove(0)
    }

    fn own_process(gpu: &Gpu) -> Activity {
        Activity {
            processes: vec![Process {
                pid: std::process::id(),
                memory: gpu.spec.process_memory.0,
                mig: None,
            }],
        }
    }

    #[test]
    fn an_idle_gpu_does_nothing() {
        let gpu = gpu("");
        let idle = Activity::of(&gpu, &Holders::default());
        assert_eq!(idle.utilization(&gpu.spec), (0, 0));
        assert_eq!(idle.memory(&gpu.spec).used, 0);
        assert_eq!(idle.memory(&gpu.spec).free, 85_017_493_504);
        assert_eq!(idle.reasons(&gpu.spec), GPU_IDLE);
        assert!((idle.power(&gpu.spec) - 71.64).abs() < 1e-9);
    }

    #[test]
    fn a_used_one_works() {
        let gpu = gpu("utilization = 50\nthrottle = [\"sw_thermal\"]\nmemory_held = \"1 GiB\"");
        let busy = own_process(&gpu);
        assert_eq!(busy.utilization(&gpu.spec), (50, 42));
        assert_eq!(busy.memory(&gpu.spec).used, 1_154_285_568 + (1 << 30));
        assert_eq!(is_held_back(busy.reasons(&gpu.spec)), (false, true));
        assert!((busy.power(&gpu.spec) - 384.52).abs() < 1e-9);
    }

    #[test]
    fn memory_cannot_be_more_than_there_is() {
        let gpu = gpu("memory_held = \"500 GiB\"");
        let memory = own_process(&gpu).memory(&gpu.spec);
        assert_eq!(memory.free, 0);
        assert_eq!(memory.total, memory.reserved + memory.used);
    }

    #[test]
    fn a_process_of_the_file_is_there_as_long_as_it_lives() {
        let own = std::process::id();
        let gpu = gpu(&format!(
            "process = [{{ pid = {own}, memory = 7 }}, {{ pid = 999999999 }}]"
        ));
        let activity = Activity::of(&gpu, &Holders::default());
        assert_eq!(activity.processes.len(), 1);
        assert_eq!(activity.processes[0].memory, 7);
    }
}
