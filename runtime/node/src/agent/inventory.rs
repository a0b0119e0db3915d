//! What this machine is: processors, memory, GPUs, means of isolation.

use jiff::Timestamp;
use lote_model::export::NfsAbility;
use lote_model::gpu::Gpu;
use lote_model::node::{Capability, Condition, NodeRecord};

use super::{Isolation, NodeConfig};
use crate::cgroup::{CgroupLayout, Controller, DeviceControl};
use crate::export;
use crate::gpu::View;
use crate::numa::{NoProcessorLeft, Topology, total_memory};

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
    topology: &Topology,
    gpus: &View,
) -> Result<NodeRecord, NothingLeft> {
    let whole_memory = total_memory(&read("/proc/meminfo"));
    let memory_bytes = job_memory(whole_memory, config.reserved.memory_bytes)?;
    let now = Timestamp::now();
    let size = config.size.clone();
    let size = size.unwrap_or_else(|| derived_size(&gpus.gpus));
    let work = config.data_directory.join("work");
    let record = NodeRecord {
        name: config.name.clone(),
        address: config.address.clone(),
        ssh_port: config.ssh_port,
        peer_address: config.peer_address.clone(),
        mac_address: config.mac_address.clone(),
        always_on: config.always_on,
        labels: config.labels.clone(),
        size,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: boot_id(),
        cpu_cores: processors(config.reserved.cpus).min(topology.cpu_count()),
        memory_bytes,
        gpus: Vec::new(),
        gpu_distances: Vec::new(),
        gpu_driver: None,
        numa_nodes: topology.numa_nodes((memory_bytes, whole_memory)),
        ports_first: PORTS_FIRST,
        ports_count: PORTS_COUNT,
        work_directory: work.to_string_lossy().into_owned(),
        nfs: None,
        nfs_client_versions: Vec::new(),
        isolation: capabilities(config, cgroups),
        conditions: conditions(config, cgroups, now),
        started_at: now,
    };
    let nfs = Nfs::look(config, cgroups.is_some());
    Ok(nfs.noted(&with_gpus(&record, gpus)))
}

/// What this machine can serve to others by NFS, and mount of them. Programs and modules of the
/// kernel come and go while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nfs {
    ability: NfsAbility,
    client_versions: Vec<String>,
}

impl Nfs {
    /// Looks at the machine. Blocks.
    pub(super) fn look(config: &NodeConfig, is_isolated: bool) -> Self {
        let asked = export::Asked {
            config: &config.export,
            address: &config.address,
            data_directory: &config.data_directory,
            is_isolated,
        };
        Self {
            ability: export::ability(asked),
            client_versions: if is_isolated {
                crate::mount::nfs_client_versions()
            } else {
                Vec::new()
            },
        }
    }

    /// The record with that.
    pub(super) fn noted(&self, record: &NodeRecord) -> NodeRecord {
        let mut record = record.clone();
        let capability = export::capability(&self.ability);
        let known = record.isolation.iter_mut();
        match known
            .into_iter()
            .find(|known| known.name == capability.name)
        {
            Some(known) => *known = capability,
            None => record.isolation.push(capability),
        }
        record.nfs = Some(self.ability.clone());
        record.nfs_client_versions.clone_from(&self.client_versions);
        record
    }
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
pub(super) fn topology(config: &NodeConfig) -> Result<Topology, NothingLeft> {
    let status = read("/proc/self/status");
    Ok(Topology::read(
        &config.sysfs_root,
        &status,
        config.reserved.cpus,
    )?)
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

/// What is in force on this node.
fn capabilities(config: &NodeConfig, cgroups: Option<&CgroupLayout>) -> Vec<Capability> {
    let mut found = isolation(config, cgroups);
    found.push(crate::peer::capability(
        cgroups.is_some(),
        config.peer_address.is_some(),
    ));
    found
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
        return vec![
            capability("isolation", false, note),
            crate::container::capability(&config.containers, None),
        ];
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
    found.extend(crate::mount::capabilities(&config.mounts));
    found.push(crate::container::capability(
        &config.containers,
        Some(&config.data_directory),
    ));
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
    let mut note = if in_force {
        format!("a job opens only what it was given, by {how}")
    } else {
        format!(
            "a job's /dev has only what it was given, but the kernel does not keep it to that: {how}"
        )
    };
    for path in config.devices.without_effect() {
        note.push_str("; --allow-device ");
        note.push_str(&path.to_string_lossy());
        note.push_str(": no such device");
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
            total_memory("MemTotal:       2097152 kB\nMemFree: 1 kB\n"),
            2 << 30
        );
        assert_eq!(total_memory(""), 0);
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
