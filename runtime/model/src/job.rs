//! Jobs: the request as accepted, and the records kept of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::accounting::Account;
use crate::container::ContainerSettings;
use crate::duration::Seconds;
use crate::framework::{ChosenPlugin, PLUGIN_SETTINGS, PluginName, PluginRequest};
use crate::id::{JobUid, NodeName};
use crate::mount_volumes::MountVolumes;
use crate::path::{ChildPath, JobPath};
use crate::plan::Variable;
use crate::state::{ExecutionState, Priority};

/// The limit when the user set none, also the service's maximum (capabilities §3.5).
pub const WALL_CLOCK_DEFAULT: Seconds = Seconds::days(7);

/// How long processes have between SIGTERM and SIGKILL unless the job says otherwise.
pub const GRACE_PERIOD_DEFAULT: Seconds = Seconds(30);

/// The `properties` of a job that a user sets, without the framework's own
/// settings object, defaults filled in (capabilities §3.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobProperties {
    /// The cluster it runs on.
    pub cluster: ResourceReference,
    /// How many nodes, all at once or none.
    pub node_count: u32,
    /// Its place in the queue.
    #[serde(default)]
    pub scheduling_priority: Priority,
    /// File systems of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_volumes: Option<MountVolumes>,
    /// The container it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_settings: Option<ContainerSettings>,
    /// Runs on every node before any process starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_preparation: Option<JobPreparation>,
    /// Below which path the output of the processes goes.
    pub std_out_err_path_prefix: String,
    /// Names for paths that the job reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_directories: Vec<InputDirectory>,
    /// Directories made for the job to write to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_directories: Vec<OutputDirectory>,
    /// Variables of every process of the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_variables: Vec<Variable>,
    /// The names of its variables with secret values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretVariable>,
    /// Limits on the whole job.
    #[serde(default)]
    pub constraints: Constraints,
    /// What Batch AI has no word for.
    #[serde(default, skip_serializing_if = "LoteJobProperties::is_default")]
    pub lote: LoteJobProperties,
}

/// `{"id": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceReference {
    /// The full resource id, under either prefix.
    pub id: String,
}

/// What is left of a variable with a secret value: its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretVariable {
    /// The variable's name.
    pub name: String,
}

/// `jobPreparation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobPreparation {
    /// A shell line.
    pub command_line: String,
}

/// A name for a path: sets `AZ_BATCHAI_INPUT_<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InputDirectory {
    /// Part of a variable's name.
    pub id: String,
    /// The path; variables in it are expanded.
    pub path: String,
}

/// A directory made for the job: sets `AZ_BATCHAI_OUTPUT_<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputDirectory {
    /// Part of a variable's name.
    pub id: String,
    /// Below which path it is made; variables in it are expanded.
    pub path_prefix: String,
    /// Its last part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_suffix: Option<String>,
}

/// `constraints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Constraints {
    /// After this time from its start the job is ended and has failed.
    #[serde(default = "wall_clock_default")]
    pub max_wall_clock_time: Seconds,
}

impl Default for Constraints {
    fn default() -> Self {
        Self {
            max_wall_clock_time: WALL_CLOCK_DEFAULT,
        }
    }
}

fn wall_clock_default() -> Seconds {
    WALL_CLOCK_DEFAULT
}

/// `properties.lote` of a job: Lote's own extensions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoteJobProperties {
    /// A share of each node; whole nodes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequest>,
    /// Where the processes start; the job's scratch directory when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Time between SIGTERM and SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Seconds>,
    /// How many times the job is started in all when nodes are lost; default 3. Starts that
    /// ended because nodes were withdrawn from its cluster do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// What becomes of it when a node is lost under it.
    #[serde(default, skip_serializing_if = "OnNodeLoss::is_default")]
    pub on_node_loss: OnNodeLoss,
    /// A version of the plugin that its settings member chooses; the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginName>,
}

/// What becomes of a job that loses a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnNodeLoss {
    /// It waits again, unless it has been started often enough.
    #[default]
    Requeue,
    /// It has failed: to start it twice would do harm.
    Fail,
}

impl OnNodeLoss {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl LoteJobProperties {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How many starts the job has in all.
    pub fn attempts(&self) -> u32 {
        self.attempts_max.unwrap_or(3)
    }
}

/// `properties.lote.resources`: what the job takes of each of its nodes, so
/// that several jobs can share a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceRequest {
    /// Whole GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_per_node: Option<u32>,
    /// Processors; fractions allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus_per_node: Option<f64>,
    /// Memory as `8g`, or a number of bytes as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// The most processes and threads at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
}

impl ResourceRequest {
    /// Processors per node in thousandths; one processor when not given.
    pub fn cpu_millis(&self) -> u32 {
        // Checked to be within 0.001 ..= 100_000 before anything is stored.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded by the check"
        )]
        let millis = (self.cpus_per_node.unwrap_or(1.0) * 1000.0).round() as u32;
        millis
    }

    /// Memory per node in bytes, if limited.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.memory
            .as_deref()
            .and_then(crate::quantity::parse_bytes)
    }
}

/// The one framework settings object of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrameworkSettings {
    /// The member's name, which chose the plugin: `customToolkitSettings`.
    pub member: String,
    /// The plugin's short name, the API's `toolType`.
    pub tool_type: String,
    /// The settings with the plugin's defaults written in.
    pub settings: Value,
    /// The plugin as the job asks for it, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<PluginName>,
    /// The plugin that accepted it. Jobs of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<ChosenPlugin>,
    /// Whether the plugin's processes start others on the job's other nodes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub starts_peers: bool,
}

impl FrameworkSettings {
    /// What the job asks for.
    pub fn request(&self) -> PluginRequest {
        PluginRequest {
            member: self.member.clone(),
            plugin: self.asked.clone(),
        }
    }

    /// Whether both ask for the same, whichever plugin accepted it.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.member == other.member
            && self.tool_type == other.tool_type
            && self.settings == other.settings
            && self.asked == other.asked
    }

    /// The settings as the API shows them, below their member.
    fn shown(&self) -> Value {
        match &self.asked {
            Some(name) if self.member == PLUGIN_SETTINGS => {
                json!({"name": name, "settings": self.settings})
            }
            _ => self.settings.clone(),
        }
    }
}

/// A job as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// Where it stands, as spelled at creation.
    pub path: JobPath,
    /// Unique over all jobs that ever bore the name.
    pub uid: JobUid,
    /// The cluster that `properties.cluster` names.
    pub cluster: ChildPath,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The API's `jobOutputDirectoryPathSegment` (capabilities §7.3).
    pub output_segment: String,
    /// Under whose user and group id it runs.
    pub unix_id: crate::id::UnixId,
    /// What the user wants.
    pub properties: JobProperties,
    /// Its framework.
    pub framework: FrameworkSettings,
    /// Set once the user asked to terminate it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminate_requested_at: Option<Timestamp>,
    /// Set once the user asked to delete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_requested_at: Option<Timestamp>,
}

impl JobRecord {
    /// Time between SIGTERM and SIGKILL.
    pub fn grace_period(&self) -> Seconds {
        self.properties
            .lote
            .grace_period
            .unwrap_or(GRACE_PERIOD_DEFAULT)
    }

    /// The properties as the API shows them: with the framework's settings.
    pub fn properties_with_settings(&self) -> Map<String, Value> {
        let mut members = match serde_json::to_value(&self.properties) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        members.insert(self.framework.member.clone(), self.framework.shown());
        members
    }
}

/// What has become of a job, written by the leader. A job without a status is
/// queued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The job this is about; a status of an older job of the same name is void.
    pub uid: JobUid,
    /// Where it is in its life.
    pub state: ExecutionState,
    /// Since when.
    pub state_since: Timestamp,
    /// How often it was given nodes, from 1; 0 while it never was.
    pub attempt: u32,
    /// Its nodes in rank order; kept after its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeName>,
    /// The nodes of the attempt before, in rank order, once there was one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous_nodes: Vec<NodeName>,
    /// Why the attempt before was given up, once there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requeued: Option<ErrorRecord>,
    /// How many attempts ended by no fault of the job or of a node, and are not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncounted_attempts: u32,
    /// When the latest attempt got its nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Timestamp>,
    /// The exit code that decided, if a process gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it failed; empty otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorRecord>,
    /// Why the leader is ending it, while it is being ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Why it waits, once it has waited a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Where its output directories are, by id, and on which node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<DirectoryLocation>,
    /// What it used, all nodes of the last attempt together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
}

impl JobStatus {
    /// The status of a job that the leader has not spoken about.
    pub fn queued(record: &JobRecord) -> Self {
        Self {
            uid: record.uid.clone(),
            state: ExecutionState::Queued,
            state_since: record.created_at,
            attempt: 0,
            nodes: Vec::new(),
            previous_nodes: Vec::new(),
            requeued: None,
            uncounted_attempts: 0,
            start_time: None,
            end_time: None,
            exit_code: None,
            errors: Vec::new(),
            ending: None,
            waiting: None,
            directories: Vec::new(),
            account: None,
        }
    }
}

/// Why a live job is being ended before its processes are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind"
)]
pub enum Ending {
    /// The user asked for it.
    TerminatedByUser,
    /// `maxWallClockTime` is over.
    WallClockLimit,
    /// A node of the gang failed; the others are stopped. The error decides.
    NodeFailed {
        /// The exit code of the process that failed first, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// What failed.
        error: ErrorRecord,
    },
    /// It goes back to the queue: a node was lost or taken away.
    Requeue {
        /// Why, in a sentence.
        reason: String,
        /// What kind of reason that is.
        #[serde(default)]
        cause: RequeueCause,
    },
    /// All primary processes are done; what only supports them is stopped.
    PrimariesDone,
}

/// What takes nodes from under a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RequeueCause {
    /// A node was lost.
    #[default]
    NodeLost,
    /// Its cluster was made smaller.
    ScaledDown,
    /// A dedicated cluster needs nodes of its low-priority cluster.
    Preempted,
    /// Its cluster has spent its budget.
    BudgetSpent,
}

impl RequeueCause {
    /// The code that tells users and programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::NodeLost => "NodeLost",
            Self::ScaledDown => "ClusterScaledDown",
            Self::Preempted => "Preempted",
            Self::BudgetSpent => "BudgetSpent",
        }
    }

    /// Whether the attempt counts among those that a job has.
    pub fn counts(self) -> bool {
        matches!(self, Self::NodeLost | Self::ScaledDown)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An error of a resource (capabilities §3.10): details are name–value pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRecord {
    /// Machine-readable.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// Node, step, command, exit status, last lines of stderr.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<NameValue>,
}

impl ErrorRecord {
    /// An error without details.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// The same error with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.details.push(NameValue {
            name: name.into(),
            value: value.into(),
        });
        self
    }
}

/// A detail of an [`ErrorRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameValue {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Where a directory of a job lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryLocation {
    /// `stdouterr`, or the id of an output directory.
    pub id: String,
    /// The node whose daemon can read it.
    pub node: NodeName,
    /// Absolute path there.
    pub path: String,
    /// The directory that it lies in and that no link on the way to it may lead out of, where
    /// others than the node itself made that way: an export, a mounted file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Whether it is there only while the job's file systems are mounted: afterwards its files are
    /// where the job had that file system from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub while_mounted: bool,
}

/// The id of the directory that holds the output of the processes.
pub const STDOUTERR: &str = "stdouterr";

/// The id of a node's own directory with output of the processes that had not arrived in the other
/// one when the job ended. It is there until the node has delivered it.
pub const UNDELIVERED: &str = "stdouterr-undelivered";
