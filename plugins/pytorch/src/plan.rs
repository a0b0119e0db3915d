//! Ranks, rendezvous and commands.

use lote_mpi::{Program, RANK_VARIABLES};
use lote_plugin_sdk::hosts::{add_host_file, empty_plan, variable};
use lote_plugin_sdk::issues::unsuitable;
use lote_plugin_sdk::python;
use lote_plugin_sdk::ranks::{Rank, count, slots_per_node, spread};
use lote_plugin_sdk::types::{
    Allocation, Command, GpuShare, LaunchPlan, OnFailure, Part, PlanFailure, Process, Variable,
};

use crate::settings::{Backend, Settings};

/// Makes the plan for complete settings.
///
/// # Errors
/// `Unsuitable` for what the allocation lacks.
pub fn plan(settings: &Settings, allocation: &Allocation) -> Result<LaunchPlan, PlanFailure> {
    let nodes = count(allocation.nodes.len());
    let process_count = settings.process_count.unwrap_or(nodes);
    if settings.backend() == Some(Backend::Mpi) {
        return under_mpirun(settings, allocation, process_count);
    }
    let slots = slots_per_node(process_count, nodes);
    let mut plan = empty_plan();
    add_host_file(&mut plan, allocation, |_| slots);
    plan.variables
        .extend(rendezvous(settings, allocation, process_count)?);
    let command = Command::Shell(line(settings));
    plan.processes = spread(process_count, nodes)
        .into_iter()
        .map(|rank| process(rank, &command))
        .collect();
    Ok(plan)
}

/// With the MPI backend ranks are MPI's. They still find what is the same for all, and
/// their own numbers under the names that the other backends have for them.
fn under_mpirun(
    settings: &Settings,
    allocation: &Allocation,
    processes: u32,
) -> Result<LaunchPlan, PlanFailure> {
    let line = format!("{RANK_VARIABLES} {}", line(settings));
    let mut plan = Program { line, processes }.under_mpirun(allocation)?;
    plan.variables
        .extend(rendezvous(settings, allocation, processes)?);
    Ok(plan)
}

/// What is the same for every rank.
fn rendezvous(
    settings: &Settings,
    allocation: &Allocation,
    process_count: u32,
) -> Result<Vec<Variable>, PlanFailure> {
    let Some(first) = allocation.nodes.first() else {
        return Err(unsuitable("the allocation has no nodes"));
    };
    let Some(port) = first.ports.first() else {
        return Err(unsuitable(format!(
            "node {} has no port leased to the job, and its ranks must meet at one",
            first.name
        )));
    };
    let init_method = match settings.backend() {
        // MPI's own; what `torch.distributed` is told is not looked at.
        Some(Backend::Mpi) => "env://".to_owned(),
        _ => init_method(&first.address, *port),
    };
    let mut variables = vec![
        variable("MASTER_ADDR", &first.address),
        variable("MASTER_PORT", port),
        variable("WORLD_SIZE", &process_count),
        variable("AZ_BATCHAI_PYTORCH_INIT_METHOD", &init_method),
    ];
    let backend = settings.backend().map(Backend::name);
    variables.extend(backend.map(|name| variable("AZ_BATCHAI_PYTORCH_BACKEND", &name)));
    Ok(variables)
}

/// A port of the first node. Batch AI named a file in the folder that the nodes share, which
/// PyTorch locks while it appends to it: where locks are those of a node, as with many clients of
/// NFS, ranks overwrite each other's entries, and wait for ever for what is lost.
fn init_method(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("tcp://[{address}]:{port}")
    } else {
        format!("tcp://{address}:{port}")
    }
}

fn line(settings: &Settings) -> String {
    python::line(
        settings.python_interpreter_path.as_deref(),
        settings.python_script_file_path.as_deref(),
        settings.command_line_args.as_deref(),
    )
}

/// Every rank sees all GPUs of its node, as under `torchrun`: scripts pick theirs
/// by `LOCAL_RANK`, which would miss if the rank saw that one alone.
fn process(rank: Rank, command: &Command) -> Process {
    Process {
        name: format!("rank-{}", rank.rank),
        node: rank.node,
        command: command.clone(),
        variables: vec![
            variable("AZ_BATCHAI_TASK_INDEX", &rank.rank),
            variable("RANK", &rank.rank),
            variable("LOCAL_RANK", &rank.local_rank),
            variable("LOCAL_WORLD_SIZE", &rank.local_count),
            variable("NODE_RANK", &rank.node),
        ],
        working_directory: None,
        output: Some(rank.rank.to_string()),
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

    fn allocation(nodes: u64, gpus_per_node: u64) -> Allocation {
        let gang = json!({"gpusPerNode": gpus_per_node});
        serde_json::from_value(testkit::allocation(nodes, &gang)).unwrap()
    }

    fn settings(process_count: u32) -> Settings {
        Settings {
            python_script_file_path: Some("$DIR/train.py".to_owned()),
            process_count: Some(process_count),
            communication_backend: Some("gloo".to_owned()),
            ..Settings::default()
        }
    }

    #[test]
    fn every_rank_sees_all_gpus_of_its_node() {
        let plan = plan(&settings(2), &allocation(1, 4)).unwrap();
        assert!(
            plan.processes
                .iter()
                .all(|process| matches!(process.gpus, GpuShare::All))
        );
    }

    #[test]
    fn what_the_allocation_lacks_is_said() {
        let mut without_ports = allocation(2, 0);
        without_ports.nodes[0].ports.clear();
        let failure = plan(&settings(2), &without_ports).unwrap_err();
        assert!(matches!(failure, PlanFailure::Unsuitable(text) if text.contains("node-0")));
    }

    #[test]
    fn the_mpi_backend_has_one_process_that_starts_the_ranks() {
        let mpi = Settings {
            communication_backend: Some("MPI".to_owned()),
            ..settings(4)
        };
        assert!(matches!(
            plan(&mpi, &allocation(2, 0)),
            Err(PlanFailure::Unsuitable(_))
        ));
        let plan = plan(&mpi, &allocation(1, 0)).unwrap();
        assert_eq!(plan.processes.len(), 1);
        let value = |name: &str| {
            let mut variables = plan.variables.iter();
            variables.find_map(|v| (v.name == name).then_some(v.value.as_str()))
        };
        assert_eq!(value("WORLD_SIZE"), Some("4"));
        assert_eq!(value("MASTER_ADDR"), Some("10.0.0.4"));
        assert_eq!(value("AZ_BATCHAI_PYTORCH_BACKEND"), Some("mpi"));
        assert_eq!(value("AZ_BATCHAI_PYTORCH_INIT_METHOD"), Some("env://"));
    }

    #[test]
    fn ranks_meet_at_a_port_even_if_they_share_a_folder() {
        let mut shared = allocation(2, 0);
        shared.shared_scratch = Some("/shared/job/".to_owned());
        let plan = plan(&settings(2), &shared).unwrap();
        let mut variables = plan.variables.iter();
        let method = variables.find(|v| v.name == "AZ_BATCHAI_PYTORCH_INIT_METHOD");
        let method = method.map(|v| v.value.as_str());
        assert_eq!(method, Some("tcp://10.0.0.4:2222"));
        assert_eq!(init_method("fd00::4", 2222), "tcp://[fd00::4]:2222");
    }
}
