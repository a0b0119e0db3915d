//! What goes into a framework plugin and what comes out: the job, the nodes it
//! was granted, and the launch plan made of the two.
//!
//! These are the runtime's own types. The plugin host converts the generated
//! types of each contract version to them, so nothing else knows how a plugin
//! is called. The JSON form (camel case) is what the store keeps, what
//! `GET …/jobs/{job}/plan` answers and what the plugins' test cases hold.
//!
//! A [`LaunchPlan`] is data from a stranger. Only a
//! [`CheckedPlan`](crate::plan_check::CheckedPlan) may reach a node.

use serde::{Deserialize, Serialize};

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The framework's short name, the API's `toolType`: `pytorch`, `custom`.
    pub name: String,
    /// The member of a job's properties that selects this plugin, such as
    /// `pyTorchSettings`. Compared exactly.
    pub settings_member: String,
    /// One sentence for lists.
    pub summary: String,
    /// The plugin's own version.
    pub version: String,
    /// JSON schema of the settings object, as text.
    pub settings_schema: String,
    /// Whether its processes start others on the job's other nodes.
    pub starts_peers: bool,
}

/// The job as a plugin sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobInput {
    /// The job's id, for messages and for names that must differ between jobs.
    pub id: String,
    /// How many nodes the job asked for, at least 1.
    pub node_count: u32,
    /// The settings object the user sent, the value of the settings member.
    pub settings: serde_json::Value,
    /// What is mounted on every node of the job.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// The user's plain environment variables. Never secrets.
    #[serde(default)]
    pub variables: Vec<Variable>,
}

/// A file system mounted for the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Its name below the mount root.
    pub name: String,
    /// Absolute path on the nodes.
    pub path: String,
    /// Whether all nodes of the job see the same files there.
    pub shared: bool,
}

/// An environment variable. In a plan the value is literal: nobody expands it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Variable {
    /// A variable of this name and value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// The nodes a job was granted, with everything leased to it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationInput {
    /// In rank order: `nodes[i].rank == i`. Node numbers in a plan index this.
    pub nodes: Vec<AllocatedNode>,
    /// Absolute path of the scratch folder that all nodes share, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_scratch: Option<String>,
    /// Absolute path of the job's scratch folder, the same on every node and
    /// local to each. Paths of [`PlanFile`]s are relative to it.
    pub local_scratch: String,
    /// Absolute path of the program that starts a command on another node of the
    /// job, used as `PROGRAM ADDRESS COMMAND…`. None: this cluster has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_launcher: Option<String>,
    /// Which start of the job this is, from 1. A requeued job gets the next one.
    pub attempt: u32,
}

/// One node of an allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocatedNode {
    /// Its position in the allocation, from 0.
    pub rank: u32,
    /// The node's name in the cluster.
    pub name: String,
    /// The address the job's other nodes reach it by.
    pub address: String,
    /// The GPUs leased to the job on this node, in local order.
    #[serde(default)]
    pub gpus: Vec<AllocatedGpu>,
    /// How many processor cores are leased to the job on this node.
    pub cpu_cores: u32,
    /// TCP ports that only this job may use on this node.
    #[serde(default)]
    pub ports: Vec<u16>,
}

/// One leased GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocatedGpu {
    /// The driver's id of the GPU or of the MIG instance.
    pub uuid: String,
    /// Minor number of the device file.
    pub minor: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// Which processes run where. Enough to run and to end a job without asking its
/// plugin again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchPlan {
    /// Variables of every process, set after the runtime's own and the user's.
    pub variables: Vec<Variable>,
    /// Files written before the first process starts.
    pub files: Vec<PlanFile>,
    /// The processes. The job ends when its last primary process has ended.
    pub processes: Vec<Process>,
    /// Clean-up, run in this order after the last process is gone, however the
    /// job ended. A failure here is reported and changes nothing.
    pub finish: Vec<FinishStep>,
}

/// A small text file, relative to the job's scratch folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanFile {
    /// The node to write it on; none means every node of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// Path relative to [`AllocationInput::local_scratch`].
    pub path: String,
    /// The whole content.
    pub contents: String,
    /// Whether the job's user may execute it.
    pub executable: bool,
}

/// One process of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its name, unique in the plan: lower-case letters, digits, `-`.
    pub name: String,
    /// The node it runs on, an index into [`AllocationInput::nodes`].
    pub node: u32,
    /// What to run.
    pub command: Command,
    /// Variables of this process only; they win over the plan's.
    pub variables: Vec<Variable>,
    /// Absolute path; none leaves the choice to the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// The part of its output files' names, unique in the plan: `"0"` gives
    /// `stdout-0.txt` and `stderr-0.txt`, none gives `stdout.txt` and `stderr.txt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Which of the node's leased GPUs it sees.
    pub gpus: GpuShare,
    /// Whether the job waits for its end.
    pub part: Part,
    /// What an end with an error means.
    pub on_failure: OnFailure,
    /// Processes of a stage start when all of the stage before have been started.
    pub stage: u32,
}

/// What a process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// A program and its arguments, literal.
    Argv(Vec<String>),
    /// A line for the node's `bash`, which expands it with the job's environment.
    Shell(String),
}

/// Which of its node's leased GPUs a process sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GpuShare {
    /// All of them, shared with every other process that asks for all.
    All,
    /// None.
    None,
    /// These, as indices into [`AllocatedNode::gpus`], for this process alone.
    Some(Vec<u32>),
}

/// What the end of a process means for its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// The job waits for it.
    Primary,
    /// It serves the others and is stopped when the last primary process has ended.
    Supporting,
}

/// What an end with an error (a signal, or an exit code other than 0) means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Stop every process; the job has failed with this exit code.
    FailJob,
    /// As if it had ended well.
    Ignore,
    /// Start it again, at most this many times; then as `FailJob`.
    Restart(u32),
}

/// One step of the clean-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FinishStep {
    /// The node it runs on.
    pub node: u32,
    /// What to run, with the plan's variables.
    pub command: Command,
}

/// Something wrong with the settings a user sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issue {
    /// JSON pointer into the settings object: `/processCount`, or empty for all of it.
    pub path: String,
    /// What is wrong, as a sentence.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Why a plugin made no plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlanFailure {
    /// The job can never run like this.
    Invalid(Vec<Issue>),
    /// The job is well, this allocation is not; the sentence says why.
    Unsuitable(String),
}
