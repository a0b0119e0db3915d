//! What this machine is: processors, memory, GPUs, means of isolation.

use jiff::Timestamp;
use lote_model::gpu::Gpu;
use lote_model::node::{Capability, Condition, NodeRecord};

use super::{Isolation, NodeConfig};
use crate::cgroup::CgroupLayout;
use crate::gpu::{Sysfs, View};

/// Ports leased to jobs: below the range that the kernel hands out by itself
/// (32768 and up), above the well-known services.
const PORTS_FIRST: u16 = 20_000;
const PORTS_COUNT: u16 = 10_000;

/// The part of the memory that stays with the system and the daemon.
const SYSTEM_MEMORY_SHARE: u64 = 20;
const SYSTEM_MEMORY_BYTES_MAX: u64 = 4 << 30;

/// The size label of a machine without GPUs.
const CPU_SIZE: &str = "cpu";

/// Looks at the machine and describes it. Its size stays, whatever becomes of its GPUs.
pub(super) fn describe(
    config: &NodeConfig,
    cgroups: Option<&CgroupLayout>,
    gpus: &View,
) -> NodeRecord {
    let now = Timestamp::now();
    let size = config.size.clone();
    let size = size.unwrap_or_else(|| derived_size(&gpus.gpus));
    let work = config.data_directory.join("work");
    let memory_bytes = job_memory(&read("/proc/meminfo"));
    let record = NodeRecord {
        name: config.name.clone(),
        address: config.address.clone(),
        ssh_port: config.ssh_port,
        peer_address: config.peer_address.clone(),
        mac_address: None,
        labels: config.labels.clone(),
        size,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: boot_id(),
        cpu_cores: std::thread::available_parallelism()
            .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1)),
        memory_bytes,
        gpus: Vec::new(),
        gpu_distances: Vec::new(),
        gpu_driver: None,
        numa_nodes: Sysfs::at(&config.sysfs_root).numa_nodes(memory_bytes),
        ports_first: PORTS_FIRST,
        ports_count: PORTS_COUNT,
        work_directory: work.to_string_lossy().into_owned(),
        isolation: isolation(config, cgroups),
        conditions: conditions(config, cgroups, now),
        started_at: now,
    };
    with_gpus(&record, gpus)
}

/// The record as it is with these GPUs. `record` may have others.
pub(super) fn with_gpus(record: &NodeRecord, gpus: &View) -> NodeRecord {
    let mut record = record.clone();
    record
        .isolation
        .retain(|known| known.name != gpus.capability.name);
    record.isolation.push(gpus.capability.clone());
    record.conditions.retain(|known| !is_of_gpus(known));
    record.conditions.extend(gpus.conditions.iter().cloned());
    record.gpus.clone_from(&gpus.gpus);
    record.gpu_distances.clone_from(&gpus.distances);
    record.gpu_driver.clone_from(&gpus.driver);
    record
}

fn is_of_gpus(condition: &Condition) -> bool {
    condition.code.starts_with("Gpu")
}

/// Changes whenever the machine is started.
pub(super) fn boot_id() -> String {
    read("/proc/sys/kernel/random/boot_id")
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
/// has a digit tells models apart. `gpu7-h100-1g.10gb` for instances.
fn derived_size(gpus: &[Gpu]) -> String {
    let Some(first) = gpus.first() else {
        return CPU_SIZE.to_owned();
    };
    let word = first.model.split([' ', '-']).find(|word| {
        word.chars().any(|c| c.is_ascii_digit()) && word.chars().any(char::is_alphabetic)
    });
    let model = word.unwrap_or(&first.model).to_ascii_lowercase();
    let profile = |gpu: &Gpu| gpu.mig.as_ref().map(|mig| mig.profile.clone());
    let is_alike = gpus.iter().all(|gpu| profile(gpu) == profile(first));
    let kind = match profile(first) {
        _ if !is_alike => "-mixed".to_owned(),
        Some(profile) => format!("-{profile}"),
        None => String::new(),
    };
    format!("gpu{}-{model}{kind}", gpus.len())
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
        let mut parts = gpus("NVIDIA H100 80GB HBM3", 3);
        for part in &mut parts[..2] {
            part.mig = Some(lote_model::gpu::MigInstance {
                parent: "u".into(),
                gpu_instance: 1,
                compute_instance: 0,
                profile: "3g.40gb".into(),
            });
        }
        assert_eq!(derived_size(&parts[..2]), "gpu2-h100-3g.40gb");
        assert_eq!(derived_size(&parts), "gpu3-h100-mixed");
    }
}
