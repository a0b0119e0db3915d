//! From the leader to the nodes: what is granted, and what to run with it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container::PlannedContainer;
use crate::duration::Seconds;
use crate::id::{JobUid, NodeName, UnixId};
use crate::job::{InputDirectory, OutputDirectory};
use crate::path::JobPath;
use crate::plan::{AllocatedGpu, FinishStep, LaunchPlan, Variable};
use crate::planned_mount::PlannedMounts;

/// One node's part of a job: `allocations/{node}/{job uid}`. It exists from the
/// grant until the node has cleaned up and the leader has seen that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// The job.
    pub job: JobPath,
    /// Its unique id.
    pub uid: JobUid,
    /// Which start of the job this is, from 1.
    pub attempt: u32,
    /// The node's position in the gang, from 0.
    pub rank: u32,
    /// What the node shall do now.
    pub phase: AllocationPhase,
    /// What of the node belongs to the job.
    pub grant: Grant,
    /// When it was written.
    pub granted_at: Timestamp,
    /// The node's boot at that time. After another boot, whatever was started
    /// for the allocation is lost, even if no record of it survived.
    pub boot_id: String,
}

/// What a node shall do with an allocation; only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AllocationPhase {
    /// Prepare, report, and wait for the others of the gang.
    Prepare,
    /// Prepare if not done yet, then start the processes.
    Run,
    /// SIGTERM, the grace period, SIGKILL; clean up and report.
    Stop,
}

/// What of a node belongs to one job until the allocation is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// No other job may be on the node.
    pub exclusive: bool,
    /// GPUs, in local order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<AllocatedGpu>,
    /// Processors in thousandths.
    pub cpu_millis: u32,
    /// The NUMA nodes whose processors and memory the job is to use; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numa_nodes: Vec<u32>,
    /// The memory limit, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The most processes and threads, if the job set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes_max: Option<u32>,
    /// TCP ports.
    pub ports: Vec<u16>,
}

/// A member of the gang, as every node of it needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GangMember {
    /// Its name.
    pub node: NodeName,
    /// The address it is reached by.
    pub address: String,
}

/// Everything one node needs to run and to end its part of a job, stored before
/// anything runs: `plans/{job uid}/{attempt}/{rank}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePlan {
    /// The job.
    pub job: JobPath,
    /// Its unique id.
    pub uid: JobUid,
    /// Which start of the job this is, from 1.
    pub attempt: u32,
    /// The node's position in the gang, from 0.
    pub rank: u32,
    /// All nodes of the gang in rank order.
    pub gang: Vec<GangMember>,
    /// The plugin that made the plan: `pytorch 0.1.0 sha256:…`.
    pub plugin: String,
    /// The processes and files of this node, and variables of all.
    pub launch: LaunchPlan,
    /// Whether primary processes run on other nodes; if not, this node's
    /// primaries decide the end of the job.
    pub primaries_elsewhere: bool,
    /// What is mounted before anything else is done.
    #[serde(default, skip_serializing_if = "PlannedMounts::says_nothing")]
    pub mounts: PlannedMounts,
    /// The container that everything of the job runs in; the node itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<PlannedContainer>,
    /// Variables the user gave.
    pub user_variables: Vec<Variable>,
    /// The names of its variables with secret values, in the order of the request. The
    /// values are sealed under a key of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_variables: Vec<String>,
    /// A port of the first node that the job has for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_port: Option<u16>,
    /// Whether processes of the job may start others on its other nodes: all of them offer it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peer_launcher: bool,
    /// A shell line to run before any process starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preparation: Option<String>,
    /// Where output goes, unexpanded.
    pub std_out_err_path_prefix: String,
    /// Named input paths, unexpanded.
    pub input_directories: Vec<InputDirectory>,
    /// Directories to make, unexpanded.
    pub output_directories: Vec<OutputDirectory>,
    /// The API's `jobOutputDirectoryPathSegment`.
    pub output_segment: String,
    /// Where processes start unless the plan says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Under whose user and group id it runs.
    pub unix_id: UnixId,
    /// The name of the cluster, part of the mount root.
    pub cluster: String,
    /// Time between SIGTERM and SIGKILL.
    pub grace_period: Seconds,
    /// The node that had this rank in the attempt before, if there was one. That attempt's
    /// directories have the same paths, on that node or wherever both mount them from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_node: Option<NodeName>,
}

/// One node plan per node of a gang, cut from the plan of the whole job.
///
/// Every share has the variables; files and processes go to their node (a file
/// without node to all); clean-up steps likewise.
pub fn share_of(plan: &LaunchPlan, rank: u32) -> LaunchPlan {
    let here = |node: Option<u32>| node.is_none_or(|node| node == rank);
    LaunchPlan {
        variables: plan.variables.clone(),
        files: plan
            .files
            .iter()
            .filter(|file| here(file.node))
            .cloned()
            .collect(),
        processes: plan
            .processes
            .iter()
            .filter(|process| process.node == rank)
            .cloned()
            .collect(),
        finish: plan
            .finish
            .iter()
            .filter(|step: &&FinishStep| step.node == rank)
            .cloned()
            .collect(),
    }
}
