//! Which task is on which node and port.

use lote_plugin_sdk::issues::unsuitable;
use lote_plugin_sdk::ranks::count;
use lote_plugin_sdk::types::{Allocation, Node, PlanFailure};

/// A process of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number among those of its role.
    pub index: u32,
    /// Its node, an index into the allocation's nodes.
    pub node: u32,
    /// Where it listens: `10.0.0.4:2222`.
    pub endpoint: String,
}

/// All processes of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The workers; the first is the master.
    pub workers: Vec<Task>,
    /// The parameter servers.
    pub parameter_servers: Vec<Task>,
}

impl Cluster {
    /// Places parameter servers first, one per node from the first node on, then workers
    /// round-robin over the nodes. The first task of a node gets the first of its ports,
    /// the next the next: Batch AI's order, which gives its documented numbers when the
    /// ports begin at 2222.
    ///
    /// # Errors
    /// `Unsuitable` where a node has fewer ports than tasks.
    pub fn place(
        workers: u32,
        parameter_servers: u32,
        allocation: &Allocation,
    ) -> Result<Self, PlanFailure> {
        if allocation.nodes.is_empty() {
            return Err(unsuitable("the allocation has no nodes"));
        }
        let mut places = Places {
            nodes: &allocation.nodes,
            taken: vec![0; allocation.nodes.len()],
        };
        let parameter_servers = places.tasks(parameter_servers)?;
        let workers = places.tasks(workers)?;
        Ok(Self {
            workers,
            parameter_servers,
        })
    }

    /// The workers of a node, in the order of their numbers.
    pub fn workers_of(&self, node: u32) -> impl Iterator<Item = &Task> {
        self.workers.iter().filter(move |task| task.node == node)
    }
}

/// The endpoints of tasks, as `AZ_BATCHAI_WORKER_HOSTS` lists them.
pub fn endpoints(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.endpoint.as_str()).collect()
}

struct Places<'a> {
    nodes: &'a [Node],
    /// How many ports of each node are taken.
    taken: Vec<usize>,
}

impl Places<'_> {
    fn tasks(&mut self, number: u32) -> Result<Vec<Task>, PlanFailure> {
        (0..number).map(|index| self.task(index)).collect()
    }

    fn task(&mut self, index: u32) -> Result<Task, PlanFailure> {
        let nodes = count(self.nodes.len());
        let number = index % nodes.max(1);
        let place = number as usize;
        let (Some(node), Some(taken)) = (self.nodes.get(place), self.taken.get_mut(place)) else {
            return Err(unsuitable("the allocation has no nodes"));
        };
        let Some(port) = node.ports.get(*taken) else {
            return Err(unsuitable(format!(
                "node {} has {} ports leased to the job, and each of its TensorFlow tasks listens at one of its own",
                node.name,
                node.ports.len()
            )));
        };
        *taken += 1;
        Ok(Task {
            index,
            node: number,
            endpoint: endpoint(&node.address, *port),
        })
    }
}

fn endpoint(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use lote_plugin_sdk::testkit;
    use serde_json::json;

    use super::*;

    fn allocation(nodes: u64, ports: u64) -> Allocation {
        let gang = json!({ "portsPerNode": ports });
        serde_json::from_value(testkit::allocation(nodes, &gang)).unwrap()
    }

    #[test]
    fn the_documented_example_comes_out_to_the_letter() {
        let cluster = Cluster::place(3, 1, &allocation(3, 8)).unwrap();
        assert_eq!(endpoints(&cluster.parameter_servers), ["10.0.0.4:2222"]);
        assert_eq!(
            endpoints(&cluster.workers),
            ["10.0.0.4:2223", "10.0.0.5:2222", "10.0.0.6:2222"]
        );
    }

    #[test]
    fn workers_go_round_the_nodes() {
        let cluster = Cluster::place(3, 0, &allocation(2, 8)).unwrap();
        assert_eq!(
            endpoints(&cluster.workers),
            ["10.0.0.4:2222", "10.0.0.5:2222", "10.0.0.4:2223"]
        );
        let first: Vec<u32> = cluster.workers_of(0).map(|task| task.index).collect();
        assert_eq!(first, [0, 2]);
    }

    #[test]
    fn a_node_without_a_port_left_is_named() {
        let failure = Cluster::place(4, 1, &allocation(2, 2)).unwrap_err();
        let PlanFailure::Unsuitable(reason) = failure else {
            panic!("{failure:?}")
        };
        assert!(reason.contains("node-0 has 2 ports"), "{reason}");
        assert!(Cluster::place(1, 0, &allocation(0, 2)).is_err());
    }

    #[test]
    fn addresses_with_colons_are_bracketed() {
        assert_eq!(endpoint("fd00::4", 2222), "[fd00::4]:2222");
    }
}
