//! The nodes that get ranks, as the launchers read them.

use lote_plugin_sdk::ranks::{count, slots_per_node};
use lote_plugin_sdk::types::{Allocation, Node};

/// A node with at least one rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its address, as the job's other nodes reach it.
    pub address: String,
    /// Its name in the cluster.
    pub name: String,
    /// How many ranks it takes at most. All but the last host take as many.
    pub slots: u32,
}

/// The nodes that get ranks when they are filled in order: no launcher needs to start
/// a helper of its own on the others.
pub fn with_ranks(processes: u32, allocation: &Allocation) -> Vec<Host> {
    let slots = slots_per_node(processes, count(allocation.nodes.len())).max(1);
    let host = |node: &Node| Host {
        address: node.address.clone(),
        name: node.name.clone(),
        slots,
    };
    let hosts = processes.div_ceil(slots);
    let nodes = allocation.nodes.iter().zip(0..hosts);
    nodes.map(|(node, _)| host(node)).collect()
}

/// A host file of Open MPI.
pub fn open_mpi(hosts: &[Host]) -> String {
    let line = |host: &Host| format!("{} slots={}\n", host.address, host.slots);
    hosts.iter().map(line).collect()
}

/// A host file of the Hydra launchers: MPICH's and Intel's.
pub fn hydra(hosts: &[Host]) -> String {
    let line = |host: &Host| format!("{}:{}\n", without_colons(host), host.slots);
    hosts.iter().map(line).collect()
}

/// How a Hydra launcher names the host. An address of IP version 6 has the colons that
/// stand before its slots, so there it is the name, which the nodes of a job know.
pub fn without_colons(host: &Host) -> &str {
    if host.address.contains(':') {
        &host.name
    } else {
        &host.address
    }
}

#[cfg(test)]
mod tests {
    use lote_plugin_sdk::testkit;
    use serde_json::json;

    use super::*;

    fn hosts(processes: u32, nodes: u64) -> Vec<Host> {
        let allocation = testkit::allocation(nodes, &json!({}));
        with_ranks(processes, &serde_json::from_value(allocation).unwrap())
    }

    #[test]
    fn only_nodes_with_ranks_are_named() {
        assert_eq!(
            open_mpi(&hosts(5, 4)),
            "10.0.0.4 slots=2\n10.0.0.5 slots=2\n10.0.0.6 slots=2\n"
        );
        assert_eq!(hydra(&hosts(1, 3)), "10.0.0.4:1\n");
        assert_eq!(hydra(&hosts(8, 2)), "10.0.0.4:4\n10.0.0.5:4\n");
        assert_eq!(hosts(2, 0), []);
    }

    #[test]
    fn colons_in_addresses_are_not_taken_for_slots() {
        let mut hosts = hosts(2, 2);
        hosts[1].address = "fd00::5".to_owned();
        assert_eq!(hydra(&hosts), "10.0.0.4:1\nnode-1:1\n");
        assert_eq!(open_mpi(&hosts), "10.0.0.4 slots=1\nfd00::5 slots=1\n");
    }
}
