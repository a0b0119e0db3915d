//! Ranks, rendezvous and commands.

use lote_plugin_sdk::hosts::{add_host_file, empty_plan, variable};
use lote_plugin_sdk::ranks::{Rank, slots_per_node, spread};
use lote_plugin_sdk::shell;
use lote_plugin_sdk::types::{
    Allocation, Command, GpuShare, LaunchPlan, OnFailure, Part, PlanFailure, Process, Variable,
};

use crate::settings::{Backend, Settings};

/// Batch AI ran `python`. Debian has only `python3`; where there is neither, the
/// shell says that it found no `python`.
const ANY_PYTHON: &str = r#""$(command -v python || command -v python3 || echo python)""#;

/// Makes the plan for complete settings.
///
/// # Errors
/// `Unsuitable` for what the allocation lacks.
pub fn plan(settings: &Settings, allocation: &Allocation) -> Result<LaunchPlan, PlanFailure> {
    if settings.backend() == Some(Backend::Mpi) {
        return Err(unsuitable(
            "the MPI backend needs mpirun to start processes on the job's nodes, which this version of the plugin cannot do yet; use Gloo, NCCL or TCP",
        ));
    }
    let nodes = count(allocation.nodes.len());
    let process_count = settings.process_count.unwrap_or(nodes);
    let slots = slots_per_node(process_count, nodes);
    let mut plan = empty_plan();
    add_host_file(&mut plan, allocation, |_| slots);
    plan.variables
        .extend(rendezvous(settings, allocation, process_count)?);
    let command = command(settings);
    plan.processes = spread(process_count, nodes)
        .into_iter()
        .map(|rank| process(rank, &command))
        .collect();
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
    let init_method = init_method(allocation, &first.address, *port);
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

/// A file on the shared scratch folder as in Batch AI, a port without one. The file
/// must not exist beforehand, hence a fresh name for every attempt.
fn init_method(allocation: &Allocation, address: &str, port: u16) -> String {
    match &allocation.shared_scratch {
        Some(folder) => {
            let folder = folder.trim_end_matches('/');
            format!("file://{folder}/pytorch-init-{}", allocation.attempt)
        }
        None if address.contains(':') => format!("tcp://[{address}]:{port}"),
        None => format!("tcp://{address}:{port}"),
    }
}

fn command(settings: &Settings) -> Command {
    let interpreter = settings.python_interpreter_path.as_deref().map(str::trim);
    let interpreter = match interpreter {
        None | Some("") => ANY_PYTHON.to_owned(),
        Some(path) => shell::path_word(path),
    };
    let script = shell::path_word(
        settings
            .python_script_file_path
            .as_deref()
            .unwrap_or_default(),
    );
    let arguments = settings.command_line_args.as_deref().unwrap_or_default();
    Command::Shell(shell::line(["exec", &interpreter, &script, arguments]))
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

fn unsuitable(reason: impl Into<String>) -> PlanFailure {
    PlanFailure::Unsuitable(reason.into())
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
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
    fn the_rendezvous_file_is_new_for_every_attempt() {
        let mut shared = allocation(2, 0);
        shared.shared_scratch = Some("/shared/job/".to_owned());
        assert_eq!(
            init_method(&shared, "10.0.0.4", 2222),
            "file:///shared/job/pytorch-init-1"
        );
        shared.attempt = 2;
        assert_eq!(
            init_method(&shared, "10.0.0.4", 2222),
            "file:///shared/job/pytorch-init-2"
        );
        assert_eq!(
            init_method(&allocation(1, 0), "10.0.0.4", 2222),
            "tcp://10.0.0.4:2222"
        );
        assert_eq!(
            init_method(&allocation(1, 0), "fd00::4", 2222),
            "tcp://[fd00::4]:2222"
        );
    }
}
