//! Checks a launch plan as if an enemy had written it.
//!
//! Pure: a plan and the allocation it is for go in, a [`CheckedPlan`] or a list of
//! findings comes out. What runs processes takes a [`CheckedPlan`] only.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::plan::{
    AllocationInput, Command, FinishStep, GpuShare, LaunchPlan, OnFailure, Part, PlanFile, Process,
    Variable,
};

/// Twice what 1,000 nodes of 8 GPUs need with one process per GPU.
pub const MAX_PROCESSES: usize = 16_384;
/// A host file and a few configuration files are usual; data belongs in mounts.
pub const MAX_FILES: usize = 64;
/// A host file of 10,000 lines has a third of this.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Variables in one list. A large job description has tens.
pub const MAX_VARIABLES: usize = 1_024;
/// The kernel refuses a single argument or variable of 128 KiB (`MAX_ARG_STRLEN`).
/// A variable's name, its `=` and the ending NUL count too, hence the margin.
pub const MAX_TEXT_BYTES: usize = 127 << 10;
/// Arguments and environment of one process together. The kernel allows 2 MiB with
/// the usual stack limit; half of it is left to the runtime's and the user's variables.
pub const MAX_PROCESS_BYTES: usize = 1 << 20;
/// All texts of a plan together: 8,000 processes of 500 bytes. The plan is stored,
/// read by every node of the job and shown to the user.
pub const MAX_PLAN_BYTES: usize = 4 << 20;
/// A longer list of arguments belongs in a file.
pub const MAX_ARGUMENTS: usize = 4_096;
/// A process that fails at once must not keep a node busy for ever.
pub const MAX_RESTARTS: u32 = 100;
/// Clean-up is a few commands per node.
pub const MAX_FINISH_STEPS: usize = 4_096;
/// Longest path the kernel takes, with the scratch folder in front of it.
pub const MAX_PATH_BYTES: usize = 1_024;
/// Names become folders, cgroups and parts of file names.
pub const MAX_NAME_BYTES: usize = 64;
/// Nobody reads more, and an enemy could ask for millions.
pub const MAX_FINDINGS: usize = 32;

/// `AZ_BATCHAI_…` variables that belong to a framework; all others are the runtime's.
const FRAMEWORK_VARIABLES: [&str; 4] = [
    "AZ_BATCHAI_MPI_HOST_FILE",
    "AZ_BATCHAI_TASK_INDEX",
    "AZ_BATCHAI_PS_HOSTS",
    "AZ_BATCHAI_WORKER_HOSTS",
];
/// Beginnings of the names that the runtime alone sets.
const RESERVED_PREFIXES: [&str; 3] = ["AZ_BATCHAI_", "AZ_BATCH_", "LOTE_"];
/// Names that the runtime alone sets: the identity of the job's user, its private
/// folders, and the GPUs it may see.
const RESERVED_VARIABLES: [&str; 8] = [
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "CCP_NODES",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
];
/// Output names that would collide with the runtime's own files in the same folder.
const RESERVED_OUTPUT: &str = "job_prep";

/// One thing that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// JSON pointer into the plan: `/processes/3/gpus`.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// A plan that [`check`] found nothing against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CheckedPlan(LaunchPlan);

impl CheckedPlan {
    /// Takes back a plan that was checked before it was stored. Only for what
    /// comes out of the cluster's own store; everything else goes through [`check`].
    pub fn trusted_from_store(plan: LaunchPlan) -> Self {
        Self(plan)
    }

    /// The plan.
    pub fn plan(&self) -> &LaunchPlan {
        &self.0
    }

    /// The plan, given away; it is no longer known to be checked.
    pub fn into_plan(self) -> LaunchPlan {
        self.0
    }
}

impl std::ops::Deref for CheckedPlan {
    type Target = LaunchPlan;

    fn deref(&self) -> &LaunchPlan {
        &self.0
    }
}

/// Checks a plan against the nodes it is for.
///
/// # Errors
/// What is wrong with it, at most [`MAX_FINDINGS`] items.
pub fn check(plan: LaunchPlan, allocation: &AllocationInput) -> Result<CheckedPlan, Vec<Finding>> {
    let mut checker = Checker {
        allocation,
        findings: Vec::new(),
        bytes: 0,
    };
    checker.plan(&plan);
    if checker.findings.is_empty() {
        Ok(CheckedPlan(plan))
    } else {
        Err(checker.findings)
    }
}

/// Whether the runtime keeps this variable to itself.
pub fn is_reserved_variable(name: &str) -> bool {
    let framework = FRAMEWORK_VARIABLES.contains(&name) || name.starts_with("AZ_BATCHAI_PYTORCH_");
    !framework
        && (RESERVED_VARIABLES.contains(&name)
            || RESERVED_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix)))
}

struct Checker<'a> {
    allocation: &'a AllocationInput,
    findings: Vec<Finding>,
    bytes: usize,
}

impl Checker<'_> {
    fn plan(&mut self, plan: &LaunchPlan) {
        // Counts first: what follows then does a bounded amount of work.
        self.count("/processes", plan.processes.len(), MAX_PROCESSES);
        self.count("/files", plan.files.len(), MAX_FILES);
        self.count("/finish", plan.finish.len(), MAX_FINISH_STEPS);
        if !self.findings.is_empty() {
            return;
        }
        let shared_bytes = self.variables("/variables", &plan.variables);
        self.files(&plan.files);
        self.processes(&plan.processes, shared_bytes);
        for (i, step) in plan.finish.iter().enumerate() {
            self.finish_step(&format!("/finish/{i}"), step);
        }
        if self.bytes > MAX_PLAN_BYTES {
            self.add(
                "",
                format!(
                    "holds {} bytes of text, at most {MAX_PLAN_BYTES} are allowed",
                    self.bytes
                ),
            );
        }
    }

    fn add(&mut self, path: &str, message: impl Into<String>) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding {
                path: path.to_owned(),
                message: message.into(),
            });
        }
    }

    fn count(&mut self, path: &str, count: usize, max: usize) {
        if count > max {
            self.add(
                path,
                format!("has {count} items, at most {max} are allowed"),
            );
        }
    }

    /// Checks a text and counts it; returns its length.
    fn text(&mut self, path: &str, text: &str, max_bytes: usize) -> usize {
        self.bytes = self.bytes.saturating_add(text.len());
        if text.len() > max_bytes {
            self.add(
                path,
                format!(
                    "is {} bytes long, at most {max_bytes} are allowed",
                    text.len()
                ),
            );
        }
        if text.contains('\0') {
            self.add(path, "contains a NUL character");
        }
        text.len()
    }

    fn node(&mut self, path: &str, node: u32) {
        let nodes = self.allocation.nodes.len();
        if node as usize >= nodes {
            self.add(
                path,
                format!("names node {node}, but the job has {nodes}, counted from 0"),
            );
        }
    }

    /// Returns the bytes these variables take in an environment.
    fn variables(&mut self, path: &str, variables: &[Variable]) -> usize {
        self.count(path, variables.len(), MAX_VARIABLES);
        let mut names = HashSet::new();
        let mut bytes = 0;
        for (i, variable) in variables.iter().take(MAX_VARIABLES).enumerate() {
            let path = format!("{path}/{i}");
            if !names.insert(variable.name.as_str()) {
                self.add(&path, "is given twice");
            }
            bytes += self.variable(&path, variable);
        }
        bytes
    }

    fn variable(&mut self, path: &str, variable: &Variable) -> usize {
        if !is_variable_name(&variable.name) {
            self.add(
                path,
                "has a name that is no variable name: a letter or `_`, then letters, digits or `_`",
            );
        } else if is_reserved_variable(&variable.name) {
            self.add(
                path,
                format!("sets {}, which only the runtime sets", variable.name),
            );
        }
        self.text(path, &variable.name, MAX_TEXT_BYTES)
            + self.text(path, &variable.value, MAX_TEXT_BYTES)
            + 2
    }

    fn files(&mut self, files: &[PlanFile]) {
        let mut written: BTreeMap<&str, BTreeSet<Option<u32>>> = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            let path = format!("/files/{i}");
            self.file(&path, file);
            let nodes = written.entry(&file.path).or_default();
            let overlaps = match file.node {
                None => !nodes.is_empty(),
                Some(_) => nodes.contains(&None) || nodes.contains(&file.node),
            };
            if overlaps {
                self.add(&path, "is written twice on the same node");
            }
            nodes.insert(file.node);
        }
    }

    fn file(&mut self, path: &str, file: &PlanFile) {
        if let Some(node) = file.node {
            self.node(&format!("{path}/node"), node);
        }
        let path_path = format!("{path}/path");
        self.text(&path_path, &file.path, MAX_PATH_BYTES);
        if !is_relative_path(&file.path) {
            self.add(&path_path, "is no path inside the job's scratch folder: it must be relative, without `.`, `..`, empty parts or control characters");
        }
        self.text(&format!("{path}/contents"), &file.contents, MAX_FILE_BYTES);
    }

    fn processes(&mut self, processes: &[Process], shared_bytes: usize) {
        if !processes
            .iter()
            .any(|process| process.part == Part::Primary)
        {
            self.add(
                "/processes",
                "has no primary process, so the job would never end",
            );
        }
        let mut names = HashSet::new();
        let mut outputs = HashSet::new();
        for (i, process) in processes.iter().enumerate() {
            let path = format!("/processes/{i}");
            self.process(&path, process, shared_bytes);
            if !names.insert(process.name.as_str()) {
                self.add(&format!("{path}/name"), "is the name of two processes");
            }
            if !outputs.insert(process.output.as_deref()) {
                self.add(&format!("{path}/output"), "is the output of two processes");
            }
        }
        self.stages(processes);
        self.gpus(processes);
    }

    fn process(&mut self, path: &str, process: &Process, shared_bytes: usize) {
        self.node(&format!("{path}/node"), process.node);
        self.bytes = self.bytes.saturating_add(process.name.len());
        if !is_process_name(&process.name) {
            self.add(&format!("{path}/name"), format!("is no process name: 1 to {MAX_NAME_BYTES} lower-case letters, digits or `-`, not starting with `-`"));
        }
        self.output(&format!("{path}/output"), process.output.as_deref());
        if let Some(directory) = &process.working_directory {
            self.working_directory(&format!("{path}/workingDirectory"), directory);
        }
        if matches!(process.on_failure, OnFailure::Restart(n) if n > MAX_RESTARTS) {
            self.add(
                &format!("{path}/onFailure"),
                format!("asks for more than {MAX_RESTARTS} restarts"),
            );
        }
        let bytes = shared_bytes
            + self.variables(&format!("{path}/variables"), &process.variables)
            + self.command(&format!("{path}/command"), &process.command);
        if bytes > MAX_PROCESS_BYTES {
            self.add(path, format!("has {bytes} bytes of arguments and variables, at most {MAX_PROCESS_BYTES} can be started"));
        }
    }

    fn output(&mut self, path: &str, output: Option<&str>) {
        let Some(output) = output else { return };
        self.bytes = self.bytes.saturating_add(output.len());
        if !is_output_name(output) {
            self.add(
                path,
                format!(
                    "is no part of a file name: 1 to {MAX_NAME_BYTES} letters, digits, `-` or `_`"
                ),
            );
        } else if output.starts_with(RESERVED_OUTPUT) {
            self.add(
                path,
                format!("starts with {RESERVED_OUTPUT}, which only the runtime's files do"),
            );
        }
    }

    fn working_directory(&mut self, path: &str, directory: &str) {
        self.text(path, directory, MAX_PATH_BYTES);
        if !directory.starts_with('/') {
            self.add(path, "is no absolute path");
        }
    }

    fn command(&mut self, path: &str, command: &Command) -> usize {
        match command {
            Command::Shell(line) => {
                if line.trim().is_empty() {
                    self.add(path, "is an empty command");
                }
                self.text(path, line, MAX_TEXT_BYTES)
            }
            Command::Argv(arguments) => self.arguments(path, arguments),
        }
    }

    fn arguments(&mut self, path: &str, arguments: &[String]) -> usize {
        if arguments.first().is_none_or(String::is_empty) {
            self.add(path, "is a command without a program");
        }
        self.count(path, arguments.len(), MAX_ARGUMENTS);
        arguments
            .iter()
            .map(|argument| self.text(path, argument, MAX_TEXT_BYTES) + 1)
            .sum()
    }

    fn stages(&mut self, processes: &[Process]) {
        let stages: BTreeSet<u32> = processes.iter().map(|process| process.stage).collect();
        if stages
            .iter()
            .zip(0..)
            .any(|(&stage, expected)| stage != expected)
        {
            self.add("/processes", "has stages with a gap: they count 0, 1, 2, …");
        }
    }

    fn gpus(&mut self, processes: &[Process]) {
        let mut given = HashSet::new();
        let sharing: HashSet<u32> = processes
            .iter()
            .filter(|process| process.gpus == GpuShare::All)
            .map(|process| process.node)
            .collect();
        for (i, process) in processes.iter().enumerate() {
            let GpuShare::Some(gpus) = &process.gpus else {
                continue;
            };
            let path = format!("/processes/{i}/gpus");
            if sharing.contains(&process.node) {
                self.add(
                    &path,
                    "are given to one process while another on the node gets all",
                );
            }
            if gpus.is_empty() {
                self.add(&path, "are an empty list; `none` says so");
            }
            for &gpu in gpus {
                self.gpu(&path, process.node, gpu, given.insert((process.node, gpu)));
                if self.findings.len() == MAX_FINDINGS {
                    return;
                }
            }
        }
    }

    fn gpu(&mut self, path: &str, node: u32, gpu: u32, first_use: bool) {
        let nodes = &self.allocation.nodes;
        let leased = nodes.get(node as usize).map_or(0, |node| node.gpus.len());
        if gpu as usize >= leased {
            self.add(path, format!("names GPU {gpu} of node {node}, where {leased} are leased to the job, counted from 0"));
        } else if !first_use {
            self.add(
                path,
                format!("gives GPU {gpu} of node {node} a second time"),
            );
        }
    }

    fn finish_step(&mut self, path: &str, step: &FinishStep) {
        self.node(&format!("{path}/node"), step.node);
        self.command(&format!("{path}/command"), &step.command);
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Without dots: a cgroup folder holds files such as `cgroup.procs`.
fn is_process_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_output_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_relative_path(path: &str) -> bool {
    !path.chars().any(char::is_control)
        && path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

#[cfg(test)]
mod tests;
