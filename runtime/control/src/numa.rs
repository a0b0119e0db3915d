//! Which NUMA nodes of a machine a job keeps to: those of its GPUs, with as many more as its
//! processors and memory need.

use lote_model::allocation::Grant;
use lote_model::gpu::NumaNode;
use lote_model::node::NodeRecord;
use lote_model::plan::AllocatedGpu;

use crate::room::Amount;

/// A NUMA node with what no job that keeps to it has taken.
#[derive(Clone, Copy, Debug)]
struct Left {
    id: u32,
    cpu_millis: u64,
    memory_bytes: u64,
}

impl Left {
    fn whole(node: &NumaNode) -> Self {
        Self {
            id: node.id,
            cpu_millis: u64::from(node.cpu_cores) * 1000,
            memory_bytes: node.memory_bytes,
        }
    }

    /// A job that keeps to several, or to none, is taken to use each alike.
    fn take(&mut self, grant: &Grant, all: u64) {
        let kept_to = &grant.numa_nodes;
        if !kept_to.is_empty() && !kept_to.contains(&self.id) {
            return;
        }
        let parts = if kept_to.is_empty() {
            all
        } else {
            kept_to.len() as u64
        };
        let memory = grant.memory_bytes.unwrap_or(0);
        self.cpu_millis = self
            .cpu_millis
            .saturating_sub(u64::from(grant.cpu_millis) / parts);
        self.memory_bytes = self.memory_bytes.saturating_sub(memory / parts);
    }
}

/// The NUMA nodes for a job that gets `amount` with these GPUs beside `holds`, ascending; none if
/// it may use all of them.
pub(crate) fn nodes_for<'a>(
    node: &NodeRecord,
    holds: impl Iterator<Item = &'a Grant>,
    gpus: &[AllocatedGpu],
    amount: &Amount,
) -> Vec<u32> {
    let all = node.numa_nodes.len() as u64;
    if all < 2 {
        return Vec::new();
    }
    let mut left: Vec<Left> = node.numa_nodes.iter().map(Left::whole).collect();
    for grant in holds {
        for left in &mut left {
            left.take(grant, all);
        }
    }
    let home = |gpu: &AllocatedGpu| {
        let known = node.gpus.iter().find(|known| known.uuid == gpu.uuid)?;
        known.numa_node
    };
    let Some(homes) = gpus.iter().map(home).collect::<Option<Vec<u32>>>() else {
        return Vec::new();
    };
    let chosen = choose(left, &homes, amount);
    if chosen.len() as u64 == all {
        return Vec::new();
    }
    chosen
}

fn choose(mut left: Vec<Left>, homes: &[u32], amount: &Amount) -> Vec<u32> {
    let wanted = u64::from(amount.cpu_millis);
    let holds = |left: &Left| left.cpu_millis >= wanted && left.memory_bytes >= amount.memory_bytes;
    // Those of the GPUs first. Else the fullest that has enough, so that the others stay free; if none
    // has, the emptiest first.
    left.sort_by_key(|left| {
        let is_home = homes.contains(&left.id);
        let room = if holds(left) {
            left.cpu_millis
        } else {
            u64::MAX - left.cpu_millis
        };
        (!is_home, !holds(left), room, left.id)
    });
    let (mut chosen, mut cpu_millis, mut memory_bytes) = (Vec::new(), 0_u64, 0_u64);
    for node in left {
        let is_enough = cpu_millis >= wanted && memory_bytes >= amount.memory_bytes;
        if !chosen.is_empty() && is_enough && !homes.contains(&node.id) {
            break;
        }
        chosen.push(node.id);
        cpu_millis += node.cpu_millis;
        memory_bytes = memory_bytes.saturating_add(node.memory_bytes);
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    /// Two sockets with eight processors, 64 GiB and two GPUs each.
    fn two_sockets() -> NodeRecord {
        let mut record = node("n").gpus(4).cores(16).0;
        record.numa_nodes = (0..2)
            .map(|id| NumaNode {
                id,
                cpu_cores: 8,
                memory_bytes: 64 << 30,
            })
            .collect();
        for gpu in &mut record.gpus {
            gpu.numa_node = Some(gpu.minor / 2);
        }
        record
    }

    fn granted(record: &NodeRecord, minors: &[u32]) -> Vec<AllocatedGpu> {
        let gpu = |minor: &u32| AllocatedGpu {
            uuid: record.gpus[*minor as usize].uuid.clone(),
            minor: *minor,
            memory_mib: 1,
        };
        minors.iter().map(gpu).collect()
    }

    fn amount(cpus: u32, gib: u64) -> Amount {
        Amount {
            gpus: 0,
            cpu_millis: cpus * 1000,
            memory_bytes: gib << 30,
        }
    }

    fn held(numa_nodes: &[u32], cpus: u32) -> Grant {
        Grant {
            exclusive: false,
            gpus: Vec::new(),
            cpu_millis: cpus * 1000,
            numa_nodes: numa_nodes.to_vec(),
            memory_bytes: Some(1 << 30),
            processes_max: None,
            ports: Vec::new(),
        }
    }

    #[test]
    fn a_job_keeps_to_the_socket_of_its_gpus() {
        let record = two_sockets();
        let nodes = |minors: &[u32], amount| {
            nodes_for(&record, [].iter(), &granted(&record, minors), &amount)
        };
        assert_eq!(nodes(&[2], amount(4, 8)), [1]);
        assert_eq!(nodes(&[0, 1], amount(8, 64)), [0]);
        // More than the socket has, or GPUs of both.
        assert!(nodes(&[0], amount(9, 8)).is_empty());
        assert!(nodes(&[0], amount(1, 65)).is_empty());
        assert!(nodes(&[1, 2], amount(1, 1)).is_empty());
    }

    #[test]
    fn it_leaves_the_socket_when_others_have_taken_it() {
        let record = two_sockets();
        let gpus = granted(&record, &[1]);
        let beside = |holds: &[Grant]| nodes_for(&record, holds.iter(), &gpus, &amount(4, 8));
        assert_eq!(beside(&[held(&[0], 4)]), [0]);
        assert!(beside(&[held(&[0], 5)]).is_empty());
        // Half of what keeps to no socket is on each.
        assert_eq!(beside(&[held(&[], 8)]), [0]);
        assert!(beside(&[held(&[], 9)]).is_empty());
    }

    #[test]
    fn a_job_without_gpus_keeps_to_one_socket_and_leaves_the_emptier_one_free() {
        let record = two_sockets();
        let beside =
            |holds: &[Grant], cpus| nodes_for(&record, holds.iter(), &[], &amount(cpus, 1));
        assert_eq!(beside(&[], 4), [0]);
        assert_eq!(beside(&[held(&[1], 3)], 4), [1]);
        assert_eq!(beside(&[held(&[1], 5)], 4), [0]);
        assert!(beside(&[], 12).is_empty());
    }

    #[test]
    fn where_nothing_is_known_nothing_is_kept_to() {
        let mut record = two_sockets();
        let gpus = granted(&record, &[0]);
        record.gpus[0].numa_node = None;
        assert!(nodes_for(&record, [].iter(), &gpus, &amount(1, 1)).is_empty());
        record.numa_nodes.truncate(1);
        assert!(nodes_for(&record, [].iter(), &[], &amount(1, 1)).is_empty());
    }
}
