//! What explanations say about all nodes of a size, looked up once for all of them.

use std::collections::BTreeMap;

use lote_model::node::NodeRecord;

use crate::abilities::Abilities;
use crate::decide::Pass;
use crate::room::Request;
use crate::snapshot::NodeState;

/// Nodes by size in lower case.
#[derive(Debug, Default)]
pub(crate) struct Site<'a>(BTreeMap<String, Size<'a>>);

/// What can differ between nodes of one size: GPUs, processors, memory, ports, and what they offer
/// beside.
type Build = (u32, u32, u64, u16, Abilities);

/// The nodes of one size.
#[derive(Debug, Default)]
pub(crate) struct Size<'a> {
    /// How many have joined.
    pub(crate) count: usize,
    drained: usize,
    off: usize,
    starting: usize,
    lost: usize,
    unwell: usize,
    gpus: usize,
    gpus_unwell: usize,
    /// One node of each build, and how many there are of it.
    builds: BTreeMap<Build, (usize, Option<&'a NodeRecord>)>,
}

impl<'a> Site<'a> {
    pub(crate) fn of(pass: &Pass<'a>) -> Self {
        let mut sizes: BTreeMap<String, Size<'a>> = BTreeMap::new();
        for node in pass.snapshot.nodes().values() {
            let Some(record) = node.record.as_deref() else {
                continue;
            };
            let size = record.size.as_str();
            let known = if sizes.contains_key(size) {
                sizes.get_mut(size)
            } else {
                Some(sizes.entry(size.to_ascii_lowercase()).or_default())
            };
            if let Some(known) = known {
                known.add(node, record);
            }
        }
        Self(sizes)
    }

    /// The nodes of a size in lower case.
    pub(crate) fn size(&self, size: &str) -> Option<&Size<'a>> {
        self.0.get(size)
    }
}

impl<'a> Size<'a> {
    fn add(&mut self, node: &NodeState, record: &'a NodeRecord) {
        self.count += 1;
        if node.power.is_down() {
            let is_starting = node.power.is_starting();
            *(if is_starting {
                &mut self.starting
            } else {
                &mut self.off
            }) += 1;
        } else if node.absent_since.is_some() {
            self.lost += 1;
        } else if node.drained {
            self.drained += 1;
        } else if !record.is_schedulable() {
            self.unwell += 1;
        }
        let unwell = record.gpus.iter().filter(|gpu| !gpu.is_schedulable());
        self.gpus += record.gpus.len();
        self.gpus_unwell += unwell.count();
        let gpus = u32::try_from(record.gpus.len()).unwrap_or(u32::MAX);
        let build = (
            gpus,
            record.cpu_cores,
            record.memory_bytes,
            record.ports_count,
            Abilities::of(record),
        );
        let (count, example) = self.builds.entry(build).or_default();
        *count += 1;
        *example = Some(record);
    }

    /// How many could hold their part of a job if nothing else was there.
    pub(crate) fn able(&self, request: &Request, ports_per_allocation: u16) -> usize {
        let builds = self.builds.values();
        builds
            .filter(|(_, example)| {
                example.is_some_and(|record| request.is_possible_on(record, ports_per_allocation))
            })
            .map(|(count, _)| count)
            .sum()
    }

    /// Which nodes take no jobs, and why, and how many GPUs are not given out; none if all are
    /// well.
    pub(crate) fn away(&self) -> Option<String> {
        let nodes = among(
            self.count,
            "nodes",
            &[
                (self.drained, "drained"),
                (self.off, "switched off"),
                (self.starting, "being switched on"),
                (self.lost, "not heard of"),
                (self.unwell, "unwell"),
            ],
        );
        let gpus = among(self.gpus, "GPUs", &[(self.gpus_unwell, "out of service")]);
        let parts: Vec<String> = nodes.into_iter().chain(gpus).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// `of 8 nodes 1 is drained, 2 are unwell`; none if none is anything.
fn among(all: usize, what: &str, kinds: &[(usize, &str)]) -> Option<String> {
    let parts: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, how)| {
            let verb = if *count == 1 { "is" } else { "are" };
            format!("{count} {verb} {how}")
        })
        .collect();
    (!parts.is_empty()).then(|| format!("of {all} {what} {}", parts.join(", ")))
}
