//! How framework plugins start processes by MPI: one process of the plan, on the job's
//! first node, is `mpirun`, and that starts the ranks on all nodes.
//!
//! Which MPI an image has is known only on the node, after the job's preparation, so
//! the plan carries a script, `mpi/start`, that finds out. It reaches the other nodes
//! through the allocation's peer launcher, which takes the place of `ssh`.
//!
//! * [`Program`] — what to start, and the plan for it.
//! * [`settings`] — the settings that frameworks with a Python script under MPI share.
//! * [`hosts`] — the nodes that get ranks, as the launchers read them.
//! * [`network`] — the network between them, which Open MPI must be told.
//! * [`script`] — the script.
//!
//! Invariant: no command line that comes out of here has the value of a variable in it.

pub mod hosts;
pub mod network;
pub mod script;
pub mod settings;

use lote_plugin_sdk::hosts::{add_host_file, empty_plan};
use lote_plugin_sdk::issues::unsuitable;
use lote_plugin_sdk::ranks::{count, slots_per_node};
use lote_plugin_sdk::types::{
    Allocation, Command, GpuShare, LaunchPlan, OnFailure, Part, PlanFailure, Process,
};

/// Sets, in a rank's shell, what programs that are not started by MPI read about
/// themselves, from what Open MPI or a Hydra launcher says. To be put before a line.
pub const RANK_VARIABLES: &str = "export RANK=${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}} LOCAL_RANK=${OMPI_COMM_WORLD_LOCAL_RANK:-${MPI_LOCALRANKID:-0}}; export AZ_BATCHAI_TASK_INDEX=$RANK;";

/// A program of one or more processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Shell text, expanded by `bash` in each process: `exec python train.py`.
    pub line: String,
    /// How many processes it has, at least 1.
    pub processes: u32,
}

impl Program {
    /// The plan in which `mpirun` starts the program, even if it is one process.
    ///
    /// # Errors
    /// `Unsuitable` where ranks on other nodes cannot be started.
    pub fn under_mpirun(&self, allocation: &Allocation) -> Result<LaunchPlan, PlanFailure> {
        let hosts = hosts::with_ranks(self.processes, allocation);
        if hosts.is_empty() {
            return Err(unsuitable("the allocation has no nodes"));
        }
        let agent = agent(allocation, hosts.len())?;
        let mut plan = self.prepared(allocation);
        let script = script::Script::new(self.processes, &hosts, agent, allocation);
        let start = script.path();
        plan.files.extend(script.files());
        let line = format!(
            "exec {} {}",
            lote_plugin_sdk::shell::quoted(&start),
            lote_plugin_sdk::shell::quoted(&self.line)
        );
        plan.processes.push(process("mpirun", line));
        Ok(plan)
    }

    /// As [`under_mpirun`](Self::under_mpirun), but a single process is started as it
    /// is, so that it needs no MPI.
    ///
    /// # Errors
    /// As there.
    pub fn under_mpirun_if_several(
        &self,
        allocation: &Allocation,
    ) -> Result<LaunchPlan, PlanFailure> {
        if self.processes > 1 {
            return self.under_mpirun(allocation);
        }
        let mut plan = self.prepared(allocation);
        plan.processes.push(process("main", self.line.clone()));
        Ok(plan)
    }

    /// A plan without processes, with the host file of the whole job.
    fn prepared(&self, allocation: &Allocation) -> LaunchPlan {
        let mut plan = empty_plan();
        let slots = slots_per_node(self.processes, count(allocation.nodes.len()));
        add_host_file(&mut plan, allocation, |_| slots);
        plan
    }
}

/// What starts processes on other nodes; none where no other node has any.
fn agent(allocation: &Allocation, hosts: usize) -> Result<Option<&str>, PlanFailure> {
    match (&allocation.peer_launcher, hosts) {
        (_, 0 | 1) => Ok(None),
        (Some(agent), _) => Ok(Some(agent)),
        (None, _) => Err(unsuitable(format!(
            "mpirun has to start processes on {hosts} nodes, and at least one of them offers no way to start a process from another node"
        ))),
    }
}

/// The process on the first node. It sees all its GPUs: ranks pick theirs by their
/// number on the node.
fn process(name: &str, line: String) -> Process {
    Process {
        name: name.to_owned(),
        node: 0,
        command: Command::Shell(line),
        variables: vec![],
        working_directory: None,
        output: None,
        gpus: GpuShare::All,
        part: Part::Primary,
        on_failure: OnFailure::FailJob,
        stage: 0,
    }
}

#[cfg(test)]
mod tests {
    use lote_plugin_sdk::testkit;
    use serde_json::json;

    use super::*;

    fn allocation(nodes: u64, peer_launcher: Option<&str>) -> Allocation {
        let gang = json!({ "peerLauncher": peer_launcher });
        serde_json::from_value(testkit::allocation(nodes, &gang)).unwrap()
    }

    fn program(processes: u32) -> Program {
        Program {
            line: "echo 'it is' $RANK".to_owned(),
            processes,
        }
    }

    fn commands(plan: &LaunchPlan) -> Vec<&Command> {
        plan.processes
            .iter()
            .map(|process| &process.command)
            .collect()
    }

    #[test]
    fn the_line_reaches_the_script_as_one_word() {
        let plan = program(2).under_mpirun(&allocation(1, None)).unwrap();
        let line = r"exec '/scratch/job/mpi/start' 'echo '\''it is'\'' $RANK'";
        assert_eq!(commands(&plan), [&Command::Shell(line.to_owned())]);
    }

    #[test]
    fn one_process_needs_no_mpi_where_the_framework_says_so() {
        let plan = program(1)
            .under_mpirun_if_several(&allocation(2, None))
            .unwrap();
        assert_eq!(commands(&plan), [&Command::Shell(program(1).line)]);
        assert_eq!(plan.files.len(), 1, "only the host file");
        let plan = program(1).under_mpirun(&allocation(1, None)).unwrap();
        assert!(plan.files.iter().any(|file| file.path == script::START));
    }

    #[test]
    fn other_nodes_need_a_peer_launcher() {
        let failure = program(2).under_mpirun(&allocation(2, None)).unwrap_err();
        let PlanFailure::Unsuitable(reason) = failure else {
            panic!("{failure:?}")
        };
        assert!(reason.contains("2 nodes"), "{reason}");
        assert!(
            program(2)
                .under_mpirun(&allocation(2, Some("/peer")))
                .is_ok()
        );
        // Both processes fit the first node's slots only where it is alone.
        assert!(program(1).under_mpirun(&allocation(2, None)).is_ok());
        assert!(program(2).under_mpirun(&allocation(0, None)).is_err());
    }
}
