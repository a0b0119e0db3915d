//! The members of the daemon's answers that are shown. Others are ignored, so
//! that a newer daemon can say more.

mod cluster_lote;
mod file_server;
mod sample;

use std::collections::BTreeMap;

use jiff::Timestamp;
use lote_model::accounting::Account;
use lote_model::gpu::{Gpu, GpuDistance, GpuDriver, NumaNode};
use lote_model::job::{DirectoryLocation, ErrorRecord, ResourceReference};
use lote_model::node::{Capability, Condition};
use lote_model::state::ExecutionState;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;

pub use cluster_lote::{ClusterExtensions, ClusterSpending};
pub use file_server::{
    Disks, FileServer, FileServerExtensions, FileServerLimit, FileServerMembers, Login, ServerFile,
    ServerFileKind, Usage, UsageName,
};

pub use sample::{JobSamples, NodeSeries, WorkspaceDay};

/// Reads one answer.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, serde_json::Error> {
    T::deserialize(value)
}

/// For members that may be `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What all resources have.
#[derive(Clone, Debug, Deserialize)]
pub struct Resource<T> {
    /// Its name.
    pub name: String,
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// The region of a workspace.
    #[serde(default)]
    pub location: Option<String>,
    /// The tags of a workspace.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: BTreeMap<String, String>,
    /// What is its own.
    pub properties: T,
}

/// A job.
pub type Job = Resource<JobMembers>;

/// `properties` of a job.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobMembers {
    /// Its experiment.
    #[serde(default)]
    pub experiment_name: Option<String>,
    /// Its cluster.
    pub cluster: ResourceReference,
    /// How many nodes.
    pub node_count: u32,
    /// Its framework.
    #[serde(default)]
    pub tool_type: String,
    /// Where it is in its life.
    pub execution_state: ExecutionState,
    /// Since when.
    #[serde(default)]
    pub execution_state_transition_time: Option<Timestamp>,
    /// `deleting` while it is being removed.
    #[serde(default)]
    pub provisioning_state: Option<String>,
    /// When it was accepted.
    #[serde(default)]
    pub creation_time: Option<Timestamp>,
    /// Its run, once there is one.
    #[serde(default, deserialize_with = "or_default")]
    pub execution_info: ExecutionInfo,
    /// What Batch AI has no word for.
    #[serde(default, deserialize_with = "or_default")]
    pub lote: JobExtensions,
}

/// `executionInfo`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecutionInfo {
    /// When it got its nodes.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// Its exit code, if it has one.
    pub exit_code: Option<i64>,
    /// Why it failed.
    #[serde(deserialize_with = "or_default")]
    pub errors: Vec<ErrorRecord>,
}

/// `lote` of a job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobExtensions {
    /// Why it waits.
    pub waiting: Option<String>,
    /// What nodes do that are not prepared yet.
    pub preparing: Vec<Preparing>,
    /// Why the attempt before was given up.
    pub requeued: Option<ErrorRecord>,
    /// Its nodes in rank order.
    pub nodes: Vec<String>,
    /// How often it was given nodes.
    pub attempt: u32,
    /// Where its directories are.
    pub directories: Vec<DirectoryLocation>,
    /// What it used.
    pub account: Option<Account>,
    /// Where its processes start.
    pub working_directory: Option<String>,
}

/// What a node does before the processes of a job start.
#[derive(Clone, Debug, Deserialize)]
pub struct Preparing {
    /// The node.
    pub node: String,
    /// What it does, in words.
    pub doing: String,
}

/// A workspace or an experiment.
pub type Container = Resource<ContainerMembers>;

/// `properties` of a workspace or an experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerMembers {
    /// When it was created.
    #[serde(default)]
    pub creation_time: Option<Timestamp>,
    /// How far it is with coming to be or going away.
    #[serde(default)]
    pub provisioning_state: String,
}

/// A cluster.
pub type Cluster = Resource<ClusterMembers>;

/// `properties` of a cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterMembers {
    /// The size label of its nodes.
    pub vm_size: String,
    /// `dedicated` or `lowpriority`.
    #[serde(default)]
    pub vm_priority: Option<String>,
    /// `succeeded`, `deleting`.
    #[serde(default)]
    pub provisioning_state: String,
    /// `steady` or `resizing`.
    #[serde(default)]
    pub allocation_state: String,
    /// How many nodes it holds.
    #[serde(default)]
    pub current_node_count: u32,
    /// What they do.
    #[serde(default)]
    pub node_state_counts: NodeStateCounts,
    /// How it grows and shrinks.
    #[serde(default, deserialize_with = "or_default")]
    pub scale_settings: Scale,
    /// When it was created.
    #[serde(default)]
    pub creation_time: Option<Timestamp>,
    /// What is wrong with its nodes.
    #[serde(default, deserialize_with = "or_default")]
    pub errors: Vec<ErrorRecord>,
    /// What Batch AI has no word for.
    #[serde(default, deserialize_with = "or_default")]
    pub lote: ClusterExtensions,
}

/// `nodeStateCounts`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStateCounts {
    /// Without a job.
    pub idle_node_count: u32,
    /// With one.
    pub running_node_count: u32,
    /// Becoming usable.
    pub preparing_node_count: u32,
    /// Failed.
    pub unusable_node_count: u32,
    /// On their way out.
    pub leaving_node_count: u32,
}

/// `scaleSettings`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scale {
    /// A fixed number of nodes.
    pub manual: Option<lote_model::cluster::ManualScale>,
    /// Between two bounds.
    pub auto_scale: Option<lote_model::cluster::AutoScale>,
}

/// A node.
pub type Node = Resource<NodeMembers>;

/// `properties` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeMembers {
    /// Its size label.
    pub vm_size: String,
    /// What it does.
    pub state: String,
    /// Since when it does that.
    pub state_since: Option<Timestamp>,
    /// Since when its daemon leads, if it does.
    pub leads_since: Option<Timestamp>,
    /// The cluster that has it, as `group/workspace/cluster`.
    pub cluster: Option<String>,
    /// That it is to take no new jobs.
    pub drain: Option<NodeDrain>,
    /// What was done about its power.
    pub power: Option<NodePower>,
    /// What wakes it.
    pub mac_address: Option<String>,
    /// Whether it is never switched off.
    pub always_on: bool,
    /// How others reach it.
    pub address: String,
    /// Where its daemon answers other daemons.
    pub peer_address: Option<String>,
    /// What the operator says of it.
    pub labels: BTreeMap<String, String>,
    /// Its daemon.
    pub version: String,
    /// Processors for jobs.
    pub cpu_cores: u32,
    /// Memory for jobs, in bytes.
    pub memory_bytes: u64,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// How far each is from each.
    pub gpu_distances: Vec<Vec<GpuDistance>>,
    /// Their driver.
    pub gpu_driver: Option<GpuDriver>,
    /// Its NUMA nodes, if it has several.
    pub numa_nodes: Vec<NumaNode>,
    /// What separates jobs there.
    pub isolation: Vec<Capability>,
    /// What is wrong with it.
    pub conditions: Vec<Condition>,
    /// Where jobs keep their files.
    pub work_directory: String,
    /// When its daemon started.
    pub started_at: Option<Timestamp>,
    /// How many jobs have a part of it.
    pub jobs: u32,
}

/// `drain` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeDrain {
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// `power` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePower {
    /// How often the same was tried without success.
    pub failures: u32,
    /// Why it did not work.
    pub error: Option<String>,
}

/// A plugin.
pub type Plugin = Resource<PluginMembers>;

/// The plugins that are loaded, and those that are not.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PluginList {
    /// Those that are.
    pub value: Vec<Plugin>,
    /// Those that are not.
    pub rejected: Vec<RejectedPlugin>,
}

/// A component that the daemon does not use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RejectedPlugin {
    /// The file.
    pub origin: String,
    /// Why.
    pub reason: String,
}

/// `properties` of a plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginMembers {
    /// Which member of a job selects it.
    pub settings_member: String,
    /// Its own version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// The version of the contract it was built for.
    pub contract: String,
    /// The file it came from, or `built in`.
    pub origin: String,
    /// Whether a job that asks for no version gets it.
    pub is_default: bool,
}

/// A token.
pub type Token = Resource<TokenMembers>;

/// `properties` of a token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenMembers {
    /// What its maker calls it.
    pub display_name: String,
    /// What it may.
    pub role: String,
    /// How far it reaches; everywhere if absent.
    pub scope: Option<TokenScope>,
    /// `active`, `expired`, `used` or `revoked`.
    pub state: String,
    /// How many machines may still join with it; any number if absent.
    pub uses_left: Option<u32>,
    /// How its secret part ends.
    pub last_four: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// By whom.
    pub created_by: String,
    /// Until when it works.
    pub expires_at: Option<Timestamp>,
    /// The token itself, in the answer that made it.
    pub token: Option<String>,
}

/// `scope` of a token.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TokenScope {
    /// The resource group.
    pub group: String,
    /// The workspace; all of the group if absent.
    #[serde(default)]
    pub workspace: Option<String>,
}

/// A file of an output directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Its name.
    pub name: String,
    /// `file` or `directory`.
    #[serde(default)]
    pub file_type: String,
    /// A link that works without a token, for a while.
    #[serde(default)]
    pub download_url: Option<String>,
    /// Size and time; directories have none.
    #[serde(default, deserialize_with = "or_default")]
    pub properties: FileMembers,
}

/// `properties` of a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileMembers {
    /// When it was written last.
    pub last_modified: Option<Timestamp>,
    /// Its size in bytes.
    pub content_length: Option<u64>,
}

/// The last part of an id: `local` of `…/clusters/local`.
pub fn last_part(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}
