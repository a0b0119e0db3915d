//! How much there is of what quotas and machines limit (capabilities §8.4).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cluster::VmPriority;

/// One counter with its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    unit: Unit,
    /// How much there is.
    pub current_value: u64,
    /// How much there can be.
    pub limit: u64,
    /// Of what.
    pub name: UsageName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Unit {
    Count,
}

/// What a [`Usage`] counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageName {
    /// For programs.
    pub value: String,
    /// For people.
    pub localized_value: String,
}

impl Usage {
    /// A counter with the same name for programs and people.
    pub fn new(name: impl Into<String>, current_value: u64, limit: u64) -> Self {
        let value = name.into();
        Self {
            unit: Unit::Count,
            current_value,
            limit,
            name: UsageName {
                localized_value: value.clone(),
                value,
            },
        }
    }
}

/// The processors of a node, and what holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCores<'a> {
    /// The node's size label.
    pub size: &'a str,
    /// Its processors.
    pub cores: u32,
    /// The priority of the cluster that has the node; none in the pool.
    pub held_as: Option<VmPriority>,
}

/// Processors of one size family: in use by either kind of cluster, and there.
#[derive(Clone, Copy, Debug, Default)]
struct Cores {
    dedicated: u64,
    low_priority: u64,
    there: u64,
}

impl Cores {
    fn add(&mut self, node: &NodeCores<'_>) {
        let cores = u64::from(node.cores);
        self.there += cores;
        match node.held_as {
            Some(VmPriority::Dedicated) => self.dedicated += cores,
            Some(VmPriority::LowPriority) => self.low_priority += cores,
            None => {}
        }
    }

    fn used(&self, priority: VmPriority) -> u64 {
        match priority {
            VmPriority::Dedicated => self.dedicated,
            VmPriority::LowPriority => self.low_priority,
        }
    }
}

/// Processors in use and there: all together, then by size family, for dedicated
/// clusters and then for low-priority ones. `cluster_sizes` are the sizes that
/// clusters ask for; a family of which there is no node has a limit of 0.
pub fn core_usages<'a>(
    nodes: impl IntoIterator<Item = NodeCores<'a>>,
    cluster_sizes: impl IntoIterator<Item = &'a str>,
) -> Vec<Usage> {
    let mut total = Cores::default();
    let mut families: BTreeMap<String, Cores> = BTreeMap::new();
    for size in cluster_sizes {
        families.entry(family(size)).or_default();
    }
    for node in nodes {
        total.add(&node);
        families.entry(family(node.size)).or_default().add(&node);
    }
    let of_priority = |priority: VmPriority| {
        let word = match priority {
            VmPriority::Dedicated => "Dedicated",
            VmPriority::LowPriority => "LowPriority",
        };
        let row = |name: String, cores: &Cores| Usage::new(name, cores.used(priority), cores.there);
        let mut rows = vec![row(format!("Total Cluster {word} Regional vCPUs"), &total)];
        rows.extend(
            families
                .iter()
                .map(|(family, cores)| row(format!("{family} Family Cluster {word} vCPUs"), cores)),
        );
        rows
    };
    let mut rows = of_priority(VmPriority::Dedicated);
    rows.extend(of_priority(VmPriority::LowPriority));
    rows
}

/// The family of a size: `STANDARD_NC6s_v3` is of `Standard NCv3`, as in the
/// original. A label of one's own is a family by itself.
pub fn family(size: &str) -> String {
    standard_family(size).unwrap_or_else(|| size.to_ascii_lowercase())
}

fn standard_family(size: &str) -> Option<String> {
    let mut parts = size.split('_');
    let is_standard = parts.next()?.eq_ignore_ascii_case("standard");
    let model = parts.next()?;
    let series: String = model
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    if !is_standard || series.is_empty() {
        return None;
    }
    let version = parts.next_back().unwrap_or_default().to_ascii_lowercase();
    let version = Some(version)
        .filter(|text| text.starts_with('v'))
        .unwrap_or_default();
    Some(format!("Standard {}{version}", series.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_belong_to_families() {
        for (size, expected) in [
            ("STANDARD_NC6", "Standard NC"),
            ("standard_nc24r", "Standard NC"),
            ("Standard_NC6s_v3", "Standard NCv3"),
            ("STANDARD_D2_V2", "Standard Dv2"),
            ("STANDARD_ND24RS", "Standard ND"),
            ("GPU8-H100", "gpu8-h100"),
            ("cpu", "cpu"),
            ("standard", "standard"),
            ("STANDARD_", "standard_"),
            ("STANDARD_6", "standard_6"),
        ] {
            assert_eq!(family(size), expected, "{size}");
        }
    }

    #[test]
    fn cores_are_counted_by_priority_and_family() {
        let node = |size, cores, held_as| NodeCores {
            size,
            cores,
            held_as,
        };
        let nodes = [
            node("cpu", 8, Some(VmPriority::Dedicated)),
            node("CPU", 16, None),
            node("STANDARD_NC6", 6, Some(VmPriority::LowPriority)),
        ];
        let rows = core_usages(nodes, ["cpu", "STANDARD_ND6S"]);
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.name.value.as_str(), row.current_value, row.limit))
            .collect();
        assert_eq!(
            rows,
            [
                ("Total Cluster Dedicated Regional vCPUs", 8, 30),
                ("Standard NC Family Cluster Dedicated vCPUs", 0, 6),
                ("Standard ND Family Cluster Dedicated vCPUs", 0, 0),
                ("cpu Family Cluster Dedicated vCPUs", 8, 24),
                ("Total Cluster LowPriority Regional vCPUs", 6, 30),
                ("Standard NC Family Cluster LowPriority vCPUs", 6, 6),
                ("Standard ND Family Cluster LowPriority vCPUs", 0, 0),
                ("cpu Family Cluster LowPriority vCPUs", 0, 24),
            ]
        );
    }

    #[test]
    fn without_nodes_there_is_nothing_to_use() {
        let rows = core_usages([], []);
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| row.limit == 0));
    }

    proptest::proptest! {
        #[test]
        fn the_families_add_up_to_the_total(
            nodes in proptest::collection::vec(("[a-c]|STANDARD_N[CD]6", 0_u32..64, 0_u8..3), 0..20),
        ) {
            let held = |kind| match kind {
                0 => None,
                1 => Some(VmPriority::Dedicated),
                _ => Some(VmPriority::LowPriority),
            };
            let nodes: Vec<_> = nodes
                .iter()
                .map(|(size, cores, kind)| NodeCores { size, cores: *cores, held_as: held(*kind) })
                .collect();
            let rows = core_usages(nodes, []);
            for half in rows.chunks(rows.len() / 2) {
                let sum = |of: fn(&Usage) -> u64| half[1..].iter().map(of).sum::<u64>();
                proptest::prop_assert_eq!(half[0].current_value, sum(|row| row.current_value));
                proptest::prop_assert_eq!(half[0].limit, sum(|row| row.limit));
                proptest::prop_assert!(half.iter().all(|row| row.current_value <= row.limit));
            }
        }
    }
}
