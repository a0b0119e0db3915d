//! What the kernel says of NUMA nodes: which one a GPU is attached to, and what each has.

use std::path::{Path, PathBuf};

use lote_model::gpu::NumaNode;

/// The kernel's files about devices, or a stand-in of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysfs(PathBuf);

impl Sysfs {
    /// `/sys`, or what stands in for it.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// The NUMA node of a device on the PCI bus; none if the machine has only one, or does not
    /// tell.
    pub(super) fn numa_node_of(&self, bus_id: &str) -> Option<u32> {
        let device = self.0.join("bus/pci/devices").join(kernel_bus_id(bus_id)?);
        // -1 where the firmware does not tell.
        read(&device.join("numa_node"))?.parse().ok()
    }

    /// Whether a device on the PCI bus is another driver's, such as one that hands it to a virtual
    /// machine.
    pub(super) fn is_given_away(&self, bus_id: &str) -> bool {
        let Some(bus_id) = kernel_bus_id(bus_id) else {
            return false;
        };
        let driver = self.0.join("bus/pci/devices").join(bus_id).join("driver");
        let driver = std::fs::read_link(driver).ok();
        driver.is_some_and(|driver| driver.file_name().is_some_and(|name| name != "nvidia"))
    }

    /// The machine's NUMA nodes with processors or memory; empty if there is only one.
    /// `memory_bytes` is what jobs may use of all memory, in the same shares as the nodes have.
    pub(crate) fn numa_nodes(&self, memory_bytes: u64) -> Vec<NumaNode> {
        let directory = self.0.join("devices/system/node");
        let mut found: Vec<(u32, u32, u64)> = std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let id = entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("node")?
                    .parse()
                    .ok()?;
                Some((id, cores(&entry.path()), memory(&entry.path())))
            })
            .filter(|(_, cores, memory)| *cores > 0 || *memory > 0)
            .collect();
        found.sort_unstable();
        if found.len() < 2 {
            return Vec::new();
        }
        let whole: u128 = found.iter().map(|(.., memory)| u128::from(*memory)).sum();
        let share = |memory: u64| {
            let share = u128::from(memory) * u128::from(memory_bytes) / whole.max(1);
            u64::try_from(share).unwrap_or(memory)
        };
        let nodes = found.into_iter().map(|(id, cpu_cores, memory)| NumaNode {
            id,
            cpu_cores,
            memory_bytes: share(memory),
        });
        nodes.collect()
    }
}

/// NVML writes eight digits for the domain; the kernel four, unless it needs more.
fn kernel_bus_id(bus_id: &str) -> Option<String> {
    let (domain, rest) = bus_id.split_once(':')?;
    let domain = u32::from_str_radix(domain, 16).ok()?;
    Some(format!("{domain:04x}:{}", rest.to_ascii_lowercase()))
}

fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

fn cores(node: &Path) -> u32 {
    let list = read(&node.join("cpulist")).unwrap_or_default();
    list.split(',').filter_map(length).sum()
}

/// How many numbers `8` or `0-3` stands for.
fn length(range: &str) -> Option<u32> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    Some(last.checked_sub(first)? + 1)
}

/// From `Node 0 MemTotal:  65536 kB`.
fn memory(node: &Path) -> u64 {
    let text = read(&node.join("meminfo")).unwrap_or_default();
    let line = text.lines().find(|line| line.contains("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A machine with these NUMA nodes (processors, memory in KiB) and GPUs (bus id, node).
    pub(crate) fn machine(nodes: &[(&str, u64)], gpus: &[(&str, i32)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (id, (cpus, memory_kib)) in nodes.iter().enumerate() {
            let node = root.path().join(format!("devices/system/node/node{id}"));
            std::fs::create_dir_all(&node).unwrap();
            std::fs::write(node.join("cpulist"), format!("{cpus}\n")).unwrap();
            let text =
                format!("Node {id} MemTotal:       {memory_kib} kB\nNode {id} MemFree: 1 kB\n");
            std::fs::write(node.join("meminfo"), text).unwrap();
        }
        for (bus_id, node) in gpus {
            let device = root.path().join("bus/pci/devices").join(bus_id);
            std::fs::create_dir_all(&device).unwrap();
            std::fs::write(device.join("numa_node"), format!("{node}\n")).unwrap();
        }
        root
    }

    #[test]
    fn a_machine_with_two_sockets_tells_them_apart() {
        let root = machine(
            &[("0-3,8-11", 1 << 20), ("4-7,12", 3 << 20)],
            &[
                ("0000:1b:00.0", 0),
                ("0001:9c:00.0", 1),
                ("0000:01:00.0", -1),
            ],
        );
        let sysfs = Sysfs::at(root.path());
        assert_eq!(sysfs.numa_node_of("00000000:1B:00.0"), Some(0));
        assert_eq!(sysfs.numa_node_of("00000001:9C:00.0"), Some(1));
        assert_eq!(sysfs.numa_node_of("00000000:01:00.0"), None);
        assert_eq!(sysfs.numa_node_of("nonsense"), None);
        let nodes = sysfs.numa_nodes(2 << 30);
        let found: Vec<_> = nodes
            .iter()
            .map(|node| (node.id, node.cpu_cores, node.memory_bytes))
            .collect();
        assert_eq!(found, [(0, 8, 1 << 29), (1, 5, 3 << 29)]);
    }

    #[test]
    fn a_device_of_another_driver_is_given_away() {
        let root = machine(
            &[],
            &[
                ("0000:1b:00.0", 0),
                ("0000:1c:00.0", 0),
                ("0000:1d:00.0", 0),
            ],
        );
        for (bus_id, driver) in [("0000:1b:00.0", "nvidia"), ("0000:1c:00.0", "vfio-pci")] {
            let link = root
                .path()
                .join("bus/pci/devices")
                .join(bus_id)
                .join("driver");
            std::os::unix::fs::symlink(format!("../../drivers/{driver}"), link).unwrap();
        }
        let sysfs = Sysfs::at(root.path());
        let away = ["1B", "1C", "1D", "1E"]
            .map(|bus| sysfs.is_given_away(&format!("00000000:{bus}:00.0")));
        assert_eq!(away, [false, true, false, false]);
    }

    #[test]
    fn a_machine_with_one_has_none_to_choose_from() {
        assert!(
            Sysfs::at(machine(&[("0-1", 1)], &[]).path())
                .numa_nodes(1)
                .is_empty()
        );
        assert!(Sysfs::at("/nonexistent").numa_nodes(1).is_empty());
    }
}
