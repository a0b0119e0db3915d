//! What a job takes of a node, and what is left there.

use jiff::Timestamp;
use lote_model::allocation::Grant;
use lote_model::job::{FrameworkSettings, JobProperties};
use lote_model::node::NodeRecord;
use lote_model::plan::AllocatedGpu;

use crate::abilities::Abilities;
use crate::{gpu_affinity, numa};

/// What a job takes of each of its nodes, and of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// How many nodes, all at once.
    pub node_count: u32,
    /// The part of each node; the whole node when absent.
    pub share: Option<Share>,
    /// What each of them must offer.
    pub needs: Abilities,
}

/// A part of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// Whole GPUs.
    pub gpus: u32,
    /// Processors in thousandths.
    pub cpu_millis: u32,
    /// The memory limit, if there is one.
    pub memory_bytes: Option<u64>,
    /// The most processes and threads; nothing that a node runs out of.
    pub processes_max: Option<u32>,
}

impl Share {
    /// It as numbers.
    pub fn amount(&self) -> Amount {
        Amount {
            gpus: self.gpus,
            cpu_millis: self.cpu_millis,
            memory_bytes: self.memory_bytes.unwrap_or(0),
        }
    }
}

impl Request {
    /// The request of a job.
    pub fn of(properties: &JobProperties, framework: &FrameworkSettings) -> Self {
        let share = properties.lote.resources.as_ref().map(|resources| Share {
            gpus: resources.gpus_per_node.unwrap_or(0),
            cpu_millis: resources.cpu_millis(),
            memory_bytes: resources.memory_bytes(),
            processes_max: resources.processes,
        });
        Self {
            node_count: properties.node_count.max(1),
            share,
            needs: Abilities::needed(properties, framework),
        }
    }

    /// Whether this node offers what its processes need beside room.
    pub fn suits(&self, node: &NodeRecord) -> bool {
        Abilities::of(node).include(self.needs)
    }

    /// What it takes of this node as numbers.
    pub fn amount_on(&self, node: &NodeRecord) -> Amount {
        self.share
            .as_ref()
            .map_or_else(|| Amount::whole(node), Share::amount)
    }

    /// Whether an empty node of this kind could hold it.
    pub fn is_possible_on(&self, node: &NodeRecord, ports_per_allocation: u16) -> bool {
        let ports = ports_needed(
            self.share
                .map_or(node.gpus.len(), |share| share.gpus as usize),
            ports_per_allocation,
        );
        node.ports_count >= ports
            && self.suits(node)
            && self.amount_on(node).is_within(&Amount::whole(node))
    }
}

/// How many ports a job with so many GPUs gets on a node: two per GPU where that is more than
/// usual.
fn ports_needed(gpus: usize, ports_per_allocation: u16) -> u16 {
    ports_per_allocation.max(u16::try_from(gpus.saturating_mul(2)).unwrap_or(u16::MAX))
}

/// Countable resources of one node. The order is for indices; what fits where, `is_within` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount {
    /// Whole GPUs.
    pub gpus: u32,
    /// Processors in thousandths.
    pub cpu_millis: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

impl Amount {
    /// All that jobs may use of a node.
    pub fn whole(node: &NodeRecord) -> Self {
        Self {
            gpus: u32::try_from(node.gpus.len()).unwrap_or(u32::MAX),
            cpu_millis: node.cpu_cores.saturating_mul(1000),
            memory_bytes: node.memory_bytes,
        }
    }

    /// What a grant takes.
    pub fn granted(grant: &Grant) -> Self {
        Self {
            gpus: u32::try_from(grant.gpus.len()).unwrap_or(u32::MAX),
            cpu_millis: grant.cpu_millis,
            memory_bytes: grant.memory_bytes.unwrap_or(0),
        }
    }

    /// Whether `self` is no more than `other` in any respect.
    pub fn is_within(&self, other: &Self) -> bool {
        self.gpus <= other.gpus
            && self.cpu_millis <= other.cpu_millis
            && self.memory_bytes <= other.memory_bytes
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            gpus: self.gpus.saturating_add(other.gpus),
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    /// What is left of `self` without `other`; nothing rather than less.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self {
            gpus: self.gpus.saturating_sub(other.gpus),
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
        }
    }
}

/// What is left of a node for jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Room {
    /// What can be counted.
    pub amount: Amount,
    /// The most ports in a row that are free, or as many as any job on the node could need.
    pub ports: u16,
    /// What it offers.
    pub abilities: Abilities,
}

impl Room {
    /// What is left of a node beside these grants, which together are `held`.
    pub fn left<'a>(
        node: &NodeRecord,
        held: &Amount,
        holds: impl Iterator<Item = &'a Grant> + Clone,
        ports_per_allocation: u16,
    ) -> Self {
        // More would only tell apart nodes that are alike for every job.
        let most = ports_needed(node.gpus.len(), ports_per_allocation);
        let mut amount = Amount::whole(node).minus(held);
        amount.gpus = u32::try_from(free_gpus(node, &holds).count()).unwrap_or(u32::MAX);
        let gaps = port_gaps(node, holds).map(|(first, end)| end - first);
        let longest = gaps.max().unwrap_or(0);
        Self {
            amount,
            ports: u16::try_from(longest).unwrap_or(u16::MAX).min(most),
            abilities: Abilities::of(node),
        }
    }

    /// What of it a job may take that leaves the rest of `slack` alone.
    #[must_use]
    pub fn within(&self, slack: &Amount) -> Self {
        Self {
            amount: Amount {
                gpus: self.amount.gpus.min(slack.gpus),
                cpu_millis: self.amount.cpu_millis.min(slack.cpu_millis),
                memory_bytes: self.amount.memory_bytes.min(slack.memory_bytes),
            },
            ports: self.ports,
            abilities: self.abilities,
        }
    }

    /// Whether a share fits in.
    pub fn holds(&self, share: &Share, ports_per_allocation: u16) -> bool {
        share.amount().is_within(&self.amount)
            && ports_needed(share.gpus as usize, ports_per_allocation) <= self.ports
    }
}

/// What a job holds of a node, and until when at the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What it holds.
    pub grant: Grant,
    /// When its own limit ends it.
    pub ends_by: Timestamp,
}

/// Cuts a grant for `request` out of a node on which `holds` are held already; none if it does
/// not fit.
pub fn cut<'a>(
    request: &Request,
    node: &NodeRecord,
    holds: impl Iterator<Item = &'a Grant> + Clone,
    ports_per_allocation: u16,
) -> Option<Grant> {
    if holds.clone().any(|grant| grant.exclusive)
        || (request.share.is_none() && holds.clone().next().is_some())
    {
        return None;
    }
    let used = holds.clone().fold(Amount::default(), |sum, grant| {
        sum.plus(&Amount::granted(grant))
    });
    let wanted = request.amount_on(node);
    if !wanted.plus(&used).is_within(&Amount::whole(node)) {
        return None;
    }
    let gpus = choose_gpus(node, &holds, wanted.gpus)?;
    let numa_nodes = if request.share.is_none() {
        Vec::new()
    } else {
        numa::nodes_for(node, holds.clone(), &gpus, &wanted)
    };
    let ports = free_ports(node, holds, ports_needed(gpus.len(), ports_per_allocation))?;
    Some(Grant {
        exclusive: request.share.is_none(),
        gpus,
        cpu_millis: wanted.cpu_millis,
        numa_nodes,
        memory_bytes: request
            .share
            .map_or(Some(node.memory_bytes), |share| share.memory_bytes),
        processes_max: request.share.and_then(|share| share.processes_max),
        ports,
    })
}

/// The GPUs that are well and that nobody holds, as indices.
fn free_gpus<'a>(
    node: &NodeRecord,
    holds: &(impl Iterator<Item = &'a Grant> + Clone),
) -> impl Iterator<Item = usize> {
    let is_held = |uuid: &str| {
        let mut held = holds.clone().flat_map(|grant| &grant.gpus);
        held.any(|gpu| gpu.uuid == uuid)
    };
    let gpus = node.gpus.iter().enumerate();
    gpus.filter(move |(_, gpu)| gpu.is_schedulable() && !is_held(&gpu.uuid))
        .map(|(index, _)| index)
}

fn choose_gpus<'a>(
    node: &NodeRecord,
    holds: &(impl Iterator<Item = &'a Grant> + Clone),
    count: u32,
) -> Option<Vec<AllocatedGpu>> {
    let count = count as usize;
    if count == 0 {
        return Some(Vec::new());
    }
    let free: Vec<usize> = free_gpus(node, holds).collect();
    let allocated = |index: usize| {
        let gpu = &node.gpus[index];
        AllocatedGpu {
            uuid: gpu.uuid.clone(),
            minor: gpu.minor,
            memory_mib: gpu.memory_mib,
        }
    };
    let chosen = gpu_affinity::nearest(&node.gpu_distances, &free, count);
    (chosen.len() == count).then(|| chosen.into_iter().map(allocated).collect())
}

/// The lowest ports in a row that nobody holds.
fn free_ports<'a>(
    node: &NodeRecord,
    holds: impl Iterator<Item = &'a Grant>,
    count: u16,
) -> Option<Vec<u16>> {
    let count = u32::from(count);
    let mut gaps = port_gaps(node, holds);
    let (start, _) = gaps.find(|(first, end)| end - first >= count)?;
    Some(
        (start..start + count)
            .filter_map(|port| u16::try_from(port).ok())
            .collect(),
    )
}

/// The runs of ports that nobody holds, the lowest first: the first port, and the one after the
/// last.
fn port_gaps<'a>(
    node: &NodeRecord,
    holds: impl Iterator<Item = &'a Grant>,
) -> impl Iterator<Item = (u32, u32)> {
    let first = u32::from(node.ports_first);
    let end = (first + u32::from(node.ports_count)).min(u32::from(u16::MAX) + 1);
    let bounds = |grant: &Grant| {
        let (lowest, highest) = (*grant.ports.iter().min()?, *grant.ports.iter().max()?);
        Some((u32::from(lowest), u32::from(highest) + 1))
    };
    let mut blocks: Vec<(u32, u32)> = holds.filter_map(bounds).collect();
    blocks.sort_unstable();
    blocks.push((end, end));
    blocks.into_iter().scan(first, move |start, block| {
        let gap = (*start, block.0.min(end).max(*start));
        *start = (*start).max(block.1);
        Some(gap)
    })
}

#[cfg(test)]
mod tests;
