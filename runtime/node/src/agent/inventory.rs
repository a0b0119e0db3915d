//! What this machine is: processors, memory, GPUs, means of isolation.

use std::path::Path;

use jiff::Timestamp;
use lote_model::gpu::Gpu;
use lote_model::node::{Capability, Condition, NodeRecord};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::{Isolation, NodeConfig};
use crate::cgroup::CgroupLayout;

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
pub(super) fn describe(config: &NodeConfig, cgroups: Option<&CgroupLayout>) -> NodeRecord {
    let now = Timestamp::now();
    let (gpus, nvml) = gpus(config.nvml_library.as_deref());
    let size = config.size.clone().unwrap_or_else(|| derived_size(&gpus));
    let work = config.data_directory.join("work");
    let mut isolation = isolation(config, cgroups);
    isolation.push(nvml);
    NodeRecord {
        name: config.name.clone(),
        address: config.address.clone(),
        ssh_port: config.ssh_port,
        peer_address: config.peer_address.clone(),
        mac_address: config.mac_address.clone(),
        always_on: config.always_on,
        labels: config.labels.clone(),
        size,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        cpu_cores: std::thread::available_parallelism()
            .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1)),
        memory_bytes: job_memory(&read("/proc/meminfo")),
        gpus,
        gpu_distances: Vec::new(),
        gpu_driver: None,
        numa_nodes: Vec::new(),
        ports_first: PORTS_FIRST,
        ports_count: PORTS_COUNT,
        work_directory: work.to_string_lossy().into_owned(),
        isolation,
        conditions: conditions(config, cgroups, now),
        started_at: now,
    }
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

/// Memory for jobs, from the text of `/proc/meminfo`: all but a twentieth, and
/// never more than 4 GiB kept back.
fn job_memory(meminfo: &str) -> u64 {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024;
    total - (total / SYSTEM_MEMORY_SHARE).min(SYSTEM_MEMORY_BYTES_MAX)
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
        found.push(capability(
            &format!("{controller} limit"),
            true,
            "in force for every job",
        ));
    }
    for lack in &summary.missing {
        found.push(capability("limit", false, lack));
    }
    found.push(capability(
        "mount namespace",
        true,
        "private /tmp, /var/tmp and /dev/shm; the daemon's data is hidden",
    ));
    found.push(capability(
        "users",
        true,
        "an unprivileged user and group per workspace, no capabilities",
    ));
    found.push(capability(
        "devices",
        false,
        "jobs are not kept from opening device files by the kernel yet",
    ));
    found
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
            job_memory("MemTotal:       2097152 kB\nMemFree: 1 kB\n"),
            (2 << 30) - (2 << 30) / 20
        );
        assert_eq!(job_memory("MemTotal: 1073741824 kB"), (1 << 40) - (4 << 30));
        assert_eq!(job_memory(""), 0);
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
