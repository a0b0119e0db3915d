//! Processes, GPUs and commands.

use lote_plugin_sdk::hosts::{add_host_file, empty_plan, variable};
use lote_plugin_sdk::issues::unsuitable;
use lote_plugin_sdk::ranks::count;
use lote_plugin_sdk::types::{
    Allocation, Command, GpuShare, LaunchPlan, Node, OnFailure, Part, PlanFailure, Process,
};
use lote_plugin_sdk::{python, shell};

use crate::cluster::{Cluster, Task, endpoints};
use crate::settings::Settings;
use crate::tf_config::{Form, Role};

/// The cluster of `TF_CONFIG`, once for all tasks: a copy for each would make the plan
/// grow with the square of their number.
const CLUSTER_VARIABLE: &str = "TF_CONFIG_CLUSTER";

/// Makes the plan for complete settings.
///
/// # Errors
/// `Unsuitable` for what the allocation lacks.
pub fn plan(
    settings: &Settings,
    form: Form,
    allocation: &Allocation,
) -> Result<LaunchPlan, PlanFailure> {
    let (workers, servers) = (settings.workers(), settings.parameter_servers());
    let cluster = Cluster::place(workers, servers, allocation)?;
    let shares: Vec<GpuShare> = cluster
        .workers
        .iter()
        .map(|task| share(task, &cluster, &allocation.nodes))
        .collect::<Result<_, _>>()?;
    let mut plan = empty_plan();
    add_host_file(&mut plan, allocation, |node| {
        count(cluster.workers_of(node.rank).count()).max(1)
    });
    plan.variables.extend([
        variable(
            "AZ_BATCHAI_PS_HOSTS",
            &endpoints(&cluster.parameter_servers).join(","),
        ),
        variable(
            "AZ_BATCHAI_WORKER_HOSTS",
            &endpoints(&cluster.workers).join(","),
        ),
        variable(CLUSTER_VARIABLE, &form.cluster(&cluster)),
    ]);
    let process = |role, task: &Task, gpus| process(settings, form, role, task, gpus);
    let servers = cluster.parameter_servers.iter();
    let servers = servers.map(|task| process(Role::ParameterServer, task, GpuShare::None));
    let workers = cluster.workers.iter().zip(shares);
    let workers = workers.map(|(task, gpus)| process(Role::Worker, task, gpus));
    plan.processes = servers.chain(workers).collect();
    Ok(plan)
}

/// What a worker sees of its node's GPUs: all of them if it is alone there, else a
/// part of its own, since TensorFlow takes the whole memory of every GPU that it sees.
fn share(task: &Task, cluster: &Cluster, nodes: &[Node]) -> Result<GpuShare, PlanFailure> {
    let Some(node) = nodes.get(task.node as usize) else {
        return Err(unsuitable("the allocation has too few nodes"));
    };
    let beside = || cluster.workers_of(task.node);
    let (workers, gpus) = (count(beside().count()), count(node.gpus.len()));
    if workers == 1 || gpus == 0 {
        return Ok(GpuShare::All);
    }
    if workers > gpus {
        let all: usize = nodes.iter().map(|node| node.gpus.len()).sum();
        return Err(unsuitable(format!(
            "node {} would get {workers} workers and has {gpus} GPUs for the job; with these nodes workerCount can be {all} at most",
            node.name
        )));
    }
    let place = beside().filter(|other| other.index < task.index).count();
    Ok(GpuShare::Some(part(gpus, workers, count(place))))
}

/// One of some nearly equal parts of the numbers below a total. The first parts get what
/// cannot be divided.
fn part(total: u32, parts: u32, place: u32) -> Vec<u32> {
    let (size, rest) = (total / parts, total % parts);
    let begin = place * size + place.min(rest);
    (begin..begin + size + u32::from(place < rest)).collect()
}

fn process(settings: &Settings, form: Form, role: Role, task: &Task, gpus: GpuShare) -> Process {
    let (short, arguments, part) = match role {
        Role::Worker if task.index == 0 => {
            ("wk", &settings.master_command_line_args, Part::Primary)
        }
        Role::Worker => ("wk", &settings.worker_command_line_args, Part::Primary),
        // They serve for ever.
        Role::ParameterServer => (
            "ps",
            &settings.parameter_server_command_line_args,
            Part::Supporting,
        ),
    };
    let name = format!("{short}-{}", task.index);
    Process {
        name: name.clone(),
        node: task.node,
        command: Command::Shell(line(settings, form, role, task, arguments.as_deref())),
        variables: vec![variable("AZ_BATCHAI_TASK_INDEX", &task.index)],
        working_directory: None,
        output: Some(name),
        gpus,
        part,
        on_failure: OnFailure::FailJob,
        stage: 0,
    }
}

/// Sets `TF_CONFIG` and becomes the script.
fn line(
    settings: &Settings,
    form: Form,
    role: Role,
    task: &Task,
    arguments: Option<&str>,
) -> String {
    let rest = format!(
        r#","task":{},"environment":"cloud"}}"#,
        form.task(role, task)
    );
    let script = python::line(
        settings.python_interpreter_path.as_deref(),
        settings.python_script_file_path.as_deref(),
        arguments,
    );
    format!(
        r#"export TF_CONFIG={}"${CLUSTER_VARIABLE}"{}; {script}"#,
        shell::quoted(r#"{"cluster":"#),
        shell::quoted(&rest)
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command as Program;

    use lote_plugin_sdk::testkit;
    use serde_json::{Value, json};

    use super::*;

    fn allocation(nodes: u64, gpus: u64) -> Allocation {
        let gang = json!({ "gpusPerNode": gpus });
        serde_json::from_value(testkit::allocation(nodes, &gang)).unwrap()
    }

    fn settings(workers: u32, servers: u32) -> Settings {
        Settings {
            python_interpreter_path: Some("/bin/bash".to_owned()),
            python_script_file_path: Some("-c".to_owned()),
            master_command_line_args: Some(r#"'printf %s "$TF_CONFIG"'"#.to_owned()),
            worker_command_line_args: Some(r#"'printf %s "$TF_CONFIG"'"#.to_owned()),
            worker_count: Some(workers),
            parameter_server_count: Some(servers),
            ..Settings::default()
        }
    }

    fn gpus(workers: u32, nodes: u64, gpus_per_node: u64) -> Vec<GpuShare> {
        let allocation = allocation(nodes, gpus_per_node);
        let plan = plan(&settings(workers, 0), Form::Chief, &allocation).unwrap();
        plan.processes
            .into_iter()
            .map(|process| process.gpus)
            .collect()
    }

    #[test]
    fn workers_of_a_node_split_its_gpus() {
        use GpuShare::{All, Some};
        assert_eq!(gpus(2, 2, 4), [All, All]);
        assert_eq!(gpus(2, 1, 4), [Some(vec![0, 1]), Some(vec![2, 3])]);
        assert_eq!(
            gpus(3, 1, 4),
            [Some(vec![0, 1]), Some(vec![2]), Some(vec![3])]
        );
        assert_eq!(gpus(3, 2, 2), [Some(vec![0]), All, Some(vec![1])]);
        assert_eq!(gpus(2, 1, 0), [All, All]);
    }

    #[test]
    fn more_workers_than_gpus_are_refused() {
        let failure = plan(&settings(5, 1), Form::Chief, &allocation(2, 2)).unwrap_err();
        let PlanFailure::Unsuitable(reason) = failure else {
            panic!("{failure:?}")
        };
        assert!(
            reason.contains("3 workers") && reason.contains("can be 4"),
            "{reason}"
        );
    }

    #[test]
    fn parameter_servers_serve_without_gpus() {
        let plan = plan(&settings(2, 2), Form::Chief, &allocation(2, 1)).unwrap();
        let supporting: Vec<_> = plan
            .processes
            .iter()
            .filter(|p| p.part == Part::Supporting)
            .collect();
        let outputs: Vec<_> = supporting.iter().map(|p| p.output.as_deref()).collect();
        assert_eq!(outputs, [Some("ps-0"), Some("ps-1")]);
        assert!(supporting.iter().all(|p| p.gpus == GpuShare::None));
    }

    /// What the script finds, through a real shell.
    #[test]
    fn the_shell_puts_the_variable_together() {
        let plan = plan(&settings(2, 1), Form::Chief, &allocation(2, 0)).unwrap();
        let tasks: Vec<Value> = plan.processes[1..]
            .iter()
            .map(|process| {
                let Command::Shell(line) = &process.command else {
                    panic!("{process:?}")
                };
                let variables = plan.variables.iter().map(|v| (&v.name, &v.value));
                let output = Program::new("bash")
                    .args(["-c", line])
                    .envs(variables)
                    .output()
                    .unwrap();
                let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(shown["cluster"]["chief"], json!(["10.0.0.4:2223"]));
                assert_eq!(shown["environment"], "cloud");
                shown["task"].clone()
            })
            .collect();
        assert_eq!(
            tasks,
            [
                json!({"type": "chief", "index": 0}),
                json!({"type": "worker", "index": 0})
            ]
        );
    }
}
