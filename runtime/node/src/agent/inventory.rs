//! What this machine is: processors, memory, GPUs, means of isolation.

use std::path::Path;

use jiff::Timestamp;
use lote_model::gpu::Gpu;
use lote_model::node::{Capability, Condition, NodeRecord};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::{Isolation, NodeConfig, Reserved};
use crate::cgroup::{CgroupLayout, Controller, DeviceControl};
use crate::numa::{NoProcessorLeft, Topology};

/// Ports leased to jobs: below the range that the kernel hands out by itself
/// (32768 and up), above the well-known services.
const PORTS_FIRST: u16 = 20_000;
const PORTS_COUNT: u16 = 10_000;

/// The part of the memory that stays with the system and the daemon.
const SYSTEM_MEMORY_SHARE: u64 = 20;
const SYSTEM_MEMORY_BYTES_MAX: u64 = 4 << 30;

/// The size label of a machine without GPUs.
const CPU_SIZE: &str = "cpu";

/// Looks at the machine and describes it.
pub(super) fn describe(
    config: &NodeConfig,
    cgroups: Option<&CgroupLayout>,
    topology: &Topology,
) -> Result<NodeRecord, NothingLeft> {
    let whole_memory = machine_memory(&read("/proc/meminfo"));
    let memory_bytes = job_memory(whole_memory, config.reserved.memory_bytes)?;
    let now = Timestamp::now();
    let (gpus, nvml) = gpus(config.nvml_library.as_deref());
    let size = config.size.clone().unwrap_or_else(|| derived_size(&gpus));
    let work = config.data_directory.join("work");
    let mut isolation = isolation(config, cgroups);
    isolation.push(nvml);
    Ok(NodeRecord {
        name: config.name.clone(),
        address: config.address.clone(),
        ssh_port: config.ssh_port,
        peer_address: config.peer_address.clone(),
        mac_address: None,
        labels: config.labels.clone(),
        size,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        cpu_cores: processors(config.reserved.cpus).min(topology.cpu_count()),
        memory_bytes,
        gpus,
        gpu_distances: Vec::new(),
        gpu_driver: None,
        numa_nodes: topology.numa_nodes((memory_bytes, whole_memory)),
        ports_first: PORTS_FIRST,
        ports_count: PORTS_COUNT,
        work_directory: work.to_string_lossy().into_owned(),
        isolation,
        conditions: conditions(config, cgroups, now),
        started_at: now,
    })
}

/// More is kept free of jobs than this machine has.
#[derive(Debug, thiserror::Error)]
pub enum NothingLeft {
    /// Of processors.
    #[error(transparent)]
    Processors(#[from] NoProcessorLeft),
    /// Of memory.
    #[error(
        "{reserved_bytes} bytes of memory are to be kept free of jobs, and this machine has {total_bytes}"
    )]
    Memory {
        /// What is to be kept free.
        reserved_bytes: u64,
        /// What there is.
        total_bytes: u64,
    },
}

/// The processors and the memory of this machine, less what is kept free.
pub(super) fn topology(reserved: Reserved) -> Result<Topology, NothingLeft> {
    let status = read("/proc/self/status");
    Ok(Topology::read(Path::new("/sys"), &status, reserved.cpus)?)
}

/// How many processors jobs may use; a quota of the daemon's own counts.
fn processors(reserved: u32) -> u32 {
    let all = std::thread::available_parallelism();
    let all = all.map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    all.saturating_sub(reserved).max(1)
}

/// Open files per process: the usual hard limit of a service under systemd, or
/// what this daemon itself may pass on.
pub(super) fn open_files_max() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    let own = getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(_, hard)| hard);
    own.min(524_288)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// All memory, from the text of `/proc/meminfo`.
fn machine_memory(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Memory for jobs: all but what the operator keeps back, or a twentieth, and then never more
/// than 4 GiB.
fn job_memory(total_bytes: u64, reserved: Option<u64>) -> Result<u64, NothingLeft> {
    let usual = (total_bytes / SYSTEM_MEMORY_SHARE).min(SYSTEM_MEMORY_BYTES_MAX);
    match reserved {
        Some(reserved_bytes) if reserved_bytes >= total_bytes => Err(NothingLeft::Memory {
            reserved_bytes,
            total_bytes,
        }),
        reserved => Ok(total_bytes - reserved.unwrap_or(usual)),
    }
}

/// `gpu8-h100` for eight GPUs of one model; the last word of NVML's name that
/// has a digit tells models apart.
fn derived_size(gpus: &[Gpu]) -> String {
    let Some(first) = gpus.first() else {
        return CPU_SIZE.to_owned();
    };
    let word = first.model.split([' ', '-']).find(|word| {
        word.chars().any(|c| c.is_ascii_digit()) && word.chars().any(char::is_alphabetic)
    });
    let model = word.unwrap_or(&first.model).to_ascii_lowercase();
    format!("gpu{}-{model}", gpus.len())
}

/// The GPUs, and how they were found. A machine without NVML is a CPU node.
fn gpus(library: Option<&Path>) -> (Vec<Gpu>, Capability) {
    let (gpus, in_force, note) = match query_gpus(library) {
        Ok((gpus, driver)) => {
            let note = format!("driver {driver}, {} GPUs", gpus.len());
            (gpus, true, note)
        }
        Err(error) => (Vec::new(), false, format!("no GPUs: {error}")),
    };
    (
        gpus,
        Capability {
            name: "NVML".into(),
            in_force,
            note,
        },
    )
}

fn query_gpus(library: Option<&Path>) -> Result<(Vec<Gpu>, String), NvmlError> {
    let mut builder = Nvml::builder();
    if let Some(library) = library {
        builder.lib_path(library.as_os_str());
    }
    let nvml = builder.init()?;
    let driver = nvml.sys_driver_version()?;
    let gpus = (0..nvml.device_count()?)
        .map(|index| {
            let device = nvml.device_by_index(index)?;
            Ok(Gpu {
                uuid: device.uuid()?,
                model: device.name()?,
                minor: device.minor_number()?,
                memory_mib: device.memory_info()?.total >> 20,
                ..Gpu::default()
            })
        })
        .collect::<Result<_, NvmlError>>()?;
    Ok((gpus, driver))
}

fn isolation(config: &NodeConfig, cgroups: Option<&CgroupLayout>) -> Vec<Capability> {
    let capability = |name: &str, in_force: bool, note: &str| Capability {
        name: name.into(),
        in_force,
        note: note.into(),
    };
    let Some(layout) = cgroups else {
        let note = match config.isolation {
            Isolation::None => {
                "switched off by --isolation none: jobs run as the daemon's user, unlimited"
            }
            Isolation::Full => "needs root",
        };
        return vec![capability("isolation", false, note)];
    };
    let summary = layout.describe();
    let mut found = vec![capability("control groups", true, &summary.version)];
    for controller in &summary.controllers {
        let (name, note) = match controller {
            Controller::Cpuset => (
                "cpuset".to_owned(),
                "those near its GPUs, if a job was given such",
            ),
            Controller::Io => ("io account".to_owned(), "counted for every job"),
            limited => (format!("{limited} limit"), "in force for every job"),
        };
        found.push(capability(&name, true, note));
    }
    for lack in &summary.missing {
        found.push(capability("limit", false, lack));
    }
    found.push(capability(
        "mount namespace",
        true,
        "private /tmp, /var/tmp and /dev; the daemon's data is hidden",
    ));
    found.push(capability(
        "users",
        true,
        "an unprivileged user and group per workspace, no capabilities",
    ));
    found.push(devices(config, layout));
    if config.reserved.cpus > 0 {
        let (in_force, note) = match (layout.has(Controller::Cpuset), layout.has(Controller::Cpu)) {
            (true, _) => (true, "jobs run on the other processors only"),
            (false, true) => (true, "jobs get less time than all processors have"),
            (false, false) => (false, "jobs are told of fewer processors, but use them all"),
        };
        found.push(capability("reserved processors", in_force, note));
    }
    found
}

fn devices(config: &NodeConfig, layout: &CgroupLayout) -> Capability {
    let (in_force, how) = match layout.device_control() {
        DeviceControl::Controller => (true, "the controller 'devices'".to_owned()),
        DeviceControl::Filter => (true, "a filter at its cgroup".to_owned()),
        DeviceControl::Missing(reason) => (false, reason.clone()),
    };
    let mut note = match in_force {
        true => format!("a job opens only what it was given, by {how}"),
        false => format!(
            "a job's /dev has only what it was given, but the kernel does not keep it to that: {how}"
        ),
    };
    for path in config.devices.without_effect() {
        note.push_str(&format!(
            "; --allow-device {}: no such device",
            path.display()
        ));
    }
    Capability {
        name: "devices".into(),
        in_force,
        note,
    }
}

fn conditions(
    config: &NodeConfig,
    cgroups: Option<&CgroupLayout>,
    now: Timestamp,
) -> Vec<Condition> {
    if config.isolation == Isolation::None || cgroups.is_some() {
        return Vec::new();
    }
    vec![Condition {
        code: "IsolationUnavailable".into(),
        message: "the daemon does not run as root, so it cannot keep jobs apart and starts none; \
                  run it as root, or accept jobs without isolation with --isolation none"
            .into(),
        blocks_jobs: true,
        since: now,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_for_jobs_leaves_some_for_the_system() {
        assert_eq!(
            machine_memory("MemTotal:       2097152 kB\nMemFree: 1 kB\n"),
            2 << 30
        );
        assert_eq!(machine_memory(""), 0);
        let usual = |total| job_memory(total, None).unwrap();
        assert_eq!(usual(2 << 30), (2 << 30) - (2 << 30) / 20);
        assert_eq!(usual(1 << 40), (1 << 40) - (4 << 30));
        assert_eq!(usual(0), 0);
    }

    #[test]
    fn the_operator_says_how_much_memory_the_system_keeps() {
        assert_eq!(job_memory(8 << 30, Some(3 << 30)).unwrap(), 5 << 30);
        assert!(job_memory(8 << 30, Some(8 << 30)).is_err());
    }

    #[test]
    fn sizes_are_named_after_number_and_model() {
        let gpus = |model: &str, count| {
            vec![
                Gpu {
                    uuid: "u".into(),
                    model: model.into(),
                    minor: 0,
                    memory_mib: 1,
                    ..Gpu::default()
                };
                count
            ]
        };
        assert_eq!(derived_size(&[]), "cpu");
        assert_eq!(derived_size(&gpus("NVIDIA H100 80GB HBM3", 8)), "gpu8-h100");
        assert_eq!(derived_size(&gpus("Tesla V100-SXM2-16GB", 1)), "gpu1-v100");
        assert_eq!(derived_size(&gpus("NVIDIA A100-SXM4-40GB", 4)), "gpu4-a100");
    }
}
