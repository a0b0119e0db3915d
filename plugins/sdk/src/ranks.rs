//! How the processes of a job spread over its nodes.

/// Where one process of a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Its number in the job, from 0.
    pub rank: u32,
    /// Its node, an index into the allocation's nodes.
    pub node: u32,
    /// Its number on its node, from 0.
    pub local_rank: u32,
    /// How many processes its node has.
    pub local_count: u32,
}

/// A length as the number that the contract counts with.
pub fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// How many processes a node takes at most: the slots of its host file line.
pub fn slots_per_node(processes: u32, nodes: u32) -> u32 {
    processes.div_ceil(nodes.max(1))
}

/// Spreads processes over nodes: contiguous ranks, the nodes filled in order with
/// [`slots_per_node`] each, as Batch AI does. The last nodes may get fewer or none.
pub fn spread(processes: u32, nodes: u32) -> Vec<Rank> {
    let slots = slots_per_node(processes, nodes).max(1);
    (0..processes)
        .map(|rank| {
            let node = rank / slots;
            Rank {
                rank,
                node,
                local_rank: rank % slots,
                local_count: slots.min(processes - node * slots),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(processes: u32, nodes: u32) -> Vec<usize> {
        let ranks = spread(processes, nodes);
        (0..nodes)
            .map(|node| ranks.iter().filter(|rank| rank.node == node).count())
            .collect()
    }

    #[test]
    fn nodes_are_filled_in_order() {
        assert_eq!(counts(8, 2), [4, 4]);
        assert_eq!(counts(5, 4), [2, 2, 1, 0]);
        assert_eq!(counts(1, 3), [1, 0, 0]);
    }

    #[test]
    fn every_process_knows_its_place() {
        for processes in 1..20 {
            for nodes in 1..6 {
                let ranks = spread(processes, nodes);
                assert_eq!(ranks.len(), processes as usize);
                for (index, rank) in (0..).zip(&ranks) {
                    let here: Vec<_> = ranks.iter().filter(|r| r.node == rank.node).collect();
                    assert_eq!(rank.rank, index);
                    assert!(rank.node < nodes);
                    assert_eq!(rank.local_count as usize, here.len());
                    assert_eq!(here[rank.local_rank as usize], rank);
                }
            }
        }
    }
}
