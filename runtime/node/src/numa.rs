//! Which processors and which memory are near each other, and which of them a job is kept to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lote_model::gpu::NumaNode;

use crate::cgroup::Cpuset;

/// The processors and the memory of this machine, as far as the daemon may use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    nodes: Vec<Node>,
    /// Processors that are kept free of jobs.
    reserved: BTreeSet<u32>,
    /// Processors for jobs.
    cpus: BTreeSet<u32>,
    /// NUMA nodes whose memory may be used.
    mems: BTreeSet<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    id: u32,
    cpus: BTreeSet<u32>,
    memory_bytes: u64,
}

/// All processors would be kept free.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{asked} processors are to be kept free of jobs, and this machine has {available}")]
pub struct NoProcessorLeft {
    asked: u32,
    available: usize,
}

impl Topology {
    /// Looks at the machine: `sysfs` is `/sys`, `status` the contents of `/proc/self/status`.
    /// So many processors are kept free of jobs, the first ones, which interrupts and the
    /// system's own work prefer.
    pub(crate) fn read(sysfs: &Path, status: &str, reserved: u32) -> Result<Self, NoProcessorLeft> {
        let mut cpus = allowed(status, "Cpus_allowed_list:");
        if reserved > 0 && usize::try_from(reserved).is_ok_and(|count| count >= cpus.len()) {
            return Err(NoProcessorLeft {
                asked: reserved,
                available: cpus.len(),
            });
        }
        let kept: BTreeSet<u32> = cpus.iter().copied().take(reserved as usize).collect();
        cpus.retain(|cpu| !kept.contains(cpu));
        Ok(Self {
            nodes: nodes(sysfs),
            reserved: kept,
            cpus,
            mems: allowed(status, "Mems_allowed_list:"),
        })
    }

    /// Whether processors are kept free of jobs.
    pub(crate) fn reserves(&self) -> bool {
        !self.reserved.is_empty()
    }

    /// How many processors there are for jobs.
    pub(crate) fn cpu_count(&self) -> u32 {
        u32::try_from(self.cpus.len()).unwrap_or(u32::MAX).max(1)
    }

    /// The NUMA nodes of a machine that has several; `share` is the part of the memory that is
    /// for jobs, of the whole.
    pub(crate) fn numa_nodes(&self, share: (u64, u64)) -> Vec<NumaNode> {
        let usable = self.nodes.iter().map(|node| NumaNode {
            id: node.id,
            cpu_cores: u32::try_from(node.cpus.intersection(&self.cpus).count())
                .unwrap_or(u32::MAX),
            memory_bytes: part(node.memory_bytes, share),
        });
        let nodes: Vec<NumaNode> = usable.collect();
        if nodes.len() > 1 { nodes } else { Vec::new() }
    }

    /// What a job is kept to that was granted these NUMA nodes, empty for any. Its memory is
    /// kept to theirs only if its limit fits there: what is kept to too little memory is killed
    /// while the rest is free. `None` if it is kept to nothing.
    pub(crate) fn cpuset(&self, granted: &[u32], memory_limit: Option<u64>) -> Option<Cpuset> {
        let near = || {
            self.nodes
                .iter()
                .filter(|node| granted.contains(&node.id) && self.mems.contains(&node.id))
        };
        let cpus: BTreeSet<u32> = near()
            .flat_map(|node| &node.cpus)
            .filter(|cpu| self.cpus.contains(cpu))
            .copied()
            .collect();
        let room: u64 = near().map(|node| node.memory_bytes).sum();
        let mems: BTreeSet<u32> = match memory_limit {
            Some(limit) if limit <= room => near().map(|node| node.id).collect(),
            _ => BTreeSet::new(),
        };
        let is_narrower = !cpus.is_empty() || !mems.is_empty() || self.reserves();
        let or_all =
            |set: BTreeSet<u32>, all: &BTreeSet<u32>| list(if set.is_empty() { all } else { &set });
        is_narrower.then(|| Cpuset {
            cpus: or_all(cpus, &self.cpus),
            mems: or_all(mems, &self.mems),
        })
    }
}

fn part(bytes: u64, (share, whole): (u64, u64)) -> u64 {
    let product = u128::from(bytes) * u128::from(share) / u128::from(whole.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// The machine's NUMA nodes and their directories, ascending; `sysfs` is `/sys`.
pub(crate) fn directories(sysfs: &Path) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(sysfs.join("devices/system/node")) else {
        return Vec::new();
    };
    let node = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let id = name.to_str()?.strip_prefix("node")?.parse().ok()?;
        Some((id, entry.path()))
    };
    let mut found: Vec<_> = entries.flatten().filter_map(node).collect();
    found.sort_unstable();
    found
}

fn nodes(sysfs: &Path) -> Vec<Node> {
    let node = |(id, directory): (u32, PathBuf)| {
        let read = |name: &str| std::fs::read_to_string(directory.join(name));
        Some(Node {
            id,
            cpus: parse_list(&read("cpulist").ok()?),
            memory_bytes: total_memory(&read("meminfo").unwrap_or_default()),
        })
    };
    directories(sysfs).into_iter().filter_map(node).collect()
}

/// All memory, from the text of `/proc/meminfo` or of a NUMA node's: `Node 0 MemTotal:       65806384 kB`.
pub(crate) fn total_memory(meminfo: &str) -> u64 {
    let kib = meminfo.lines().find_map(|line| {
        let (_, rest) = line.split_once("MemTotal:")?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    kib.unwrap_or(0) * 1024
}

fn allowed(status: &str, name: &str) -> BTreeSet<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    parse_list(line.unwrap_or_default())
}

/// Reads a list as the kernel writes it, `0-3,8`. What is no number is left out.
fn parse_list(text: &str) -> BTreeSet<u32> {
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

/// Writes a list as the kernel reads it.
fn list(set: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in set {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    /// Two sockets of eight processors, with 64 GiB each.
    fn machine(reserved: u32) -> Topology {
        let sysfs = tempfile::tempdir().unwrap();
        for (id, cpus) in [(0, "0-3,8-11\n"), (1, "4-7,12-15\n")] {
            let node = sysfs.path().join(format!("devices/system/node/node{id}"));
            std::fs::create_dir_all(&node).unwrap();
            std::fs::write(node.join("cpulist"), cpus).unwrap();
            let memory =
                format!("Node {id} MemTotal:       67108864 kB\nNode {id} MemFree: 1 kB\n");
            std::fs::write(node.join("meminfo"), memory).unwrap();
        }
        std::fs::create_dir(sysfs.path().join("devices/system/node/power")).unwrap();
        let status = "Name:\tlote\nCpus_allowed_list:\t0-15\nMems_allowed_list:\t0-1\n";
        Topology::read(sysfs.path(), status, reserved).unwrap()
    }

    fn set(cpus: &str, mems: &str) -> Cpuset {
        Cpuset {
            cpus: cpus.into(),
            mems: mems.into(),
        }
    }

    #[test]
    fn a_job_for_any_node_is_kept_to_nothing() {
        assert_eq!(machine(0).cpuset(&[], Some(GIB)), None);
    }

    #[test]
    fn a_job_is_kept_to_its_socket_and_to_its_memory_if_that_is_enough() {
        let machine = machine(0);
        assert_eq!(
            machine.cpuset(&[1], Some(64 * GIB)),
            Some(set("4-7,12-15", "1"))
        );
        assert_eq!(
            machine.cpuset(&[1], Some(65 * GIB)),
            Some(set("4-7,12-15", "0-1"))
        );
        assert_eq!(machine.cpuset(&[1], None), Some(set("4-7,12-15", "0-1")));
        assert_eq!(
            machine.cpuset(&[0, 1], Some(100 * GIB)),
            Some(set("0-15", "0-1"))
        );
    }

    #[test]
    fn a_node_that_is_not_there_changes_nothing() {
        assert_eq!(machine(0).cpuset(&[7], Some(GIB)), None);
    }

    #[test]
    fn reserved_processors_are_nobodys() {
        let machine = machine(2);
        assert_eq!(machine.cpuset(&[], None), Some(set("2-15", "0-1")));
        assert_eq!(machine.cpuset(&[0], Some(GIB)), Some(set("2-3,8-11", "0")));
        assert_eq!(machine.cpu_count(), 14);
        let cores: Vec<u32> = machine
            .numa_nodes((1, 2))
            .iter()
            .map(|n| n.cpu_cores)
            .collect();
        assert_eq!(cores, [6, 8]);
        assert_eq!(machine.numa_nodes((1, 2))[0].memory_bytes, 32 * GIB);
    }

    #[test]
    fn one_processor_is_left_at_least() {
        let status = "Cpus_allowed_list:\t0-1\n";
        let read = |reserved| Topology::read(Path::new("/nonexistent"), status, reserved);
        assert_eq!(read(1).unwrap().cpu_count(), 1);
        let error = read(2).unwrap_err().to_string();
        assert!(
            error.starts_with("2 processors") && error.ends_with("has 2"),
            "{error}"
        );
    }

    #[test]
    fn a_machine_with_one_node_has_none_to_tell() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let machine = Topology::read(Path::new("/nonexistent"), &status, 0).unwrap();
        assert!(machine.numa_nodes((1, 1)).is_empty());
    }

    proptest! {
        #[test]
        fn lists_are_read_as_they_are_written(set in proptest::collection::btree_set(0_u32..40, 0..20)) {
            prop_assert_eq!(parse_list(&list(&set)), set);
        }
    }
}
