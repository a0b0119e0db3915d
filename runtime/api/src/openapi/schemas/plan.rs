//! Plans: what a job would run, or runs.

use utoipa::ToSchema;

use super::secret::EnvironmentVariable;

/// What a job would run, or runs: which processes on which nodes, with which variables and files.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LotePlan {
    /// The id of the job.
    job: String,
    /// Which start of the job it is for, from 1.
    attempt: i64,
    /// Whether nothing of it is stored, because it was only asked what would be.
    imagined: bool,
    /// Name, version and digest of the plugin that made it.
    plugin: String,
    /// The nodes in rank order.
    nodes: Vec<LotePlanNode>,
    /// What runs on every node before any process.
    #[schema(required)]
    preparation: Option<String>,
    /// Where the processes start.
    #[schema(required)]
    working_directory: Option<String>,
    /// What every node mounts before anything else is done.
    mounts: Vec<LotePlanMount>,
    /// What the nodes of a gang share that mounts no file server to write to; none for other jobs.
    #[schema(required)]
    shared_directory: Option<LoteSharedDirectory>,
    /// The variables of the job.
    user_variables: Vec<EnvironmentVariable>,
    /// The names of the job's secret variables; their values are in no plan.
    secret_variables: Vec<String>,
    /// The variables of the plugin, for every process.
    variables: Vec<EnvironmentVariable>,
    /// Files that are written before any process starts.
    files: Vec<LotePlanFile>,
    /// The processes.
    processes: Vec<LotePlanProcess>,
    /// What is run after the last process.
    finish: Vec<LoteFinishStep>,
}

/// A node of a plan.
#[derive(ToSchema)]
pub(crate) struct LotePlanNode {
    /// Its number in the plan, from 0.
    rank: i64,
    /// Its name.
    name: String,
    /// The address the other nodes reach it by.
    address: String,
}

/// A file system that every node of a job mounts.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LotePlanMount {
    /// Whether the cluster has it for all its jobs, or the job has it for itself.
    level: LoteMountLevel,
    /// Where, below the variable with the mount root.
    path: String,
    /// What it is.
    kind: LoteMountKind,
    /// The name of the file server, the URL of the share, account and container, or the command.
    source: String,
    /// From where a file server is mounted; none if it is not served now.
    #[schema(required)]
    address: Option<String>,
    /// Options of the mount.
    #[schema(required)]
    options: Option<String>,
}

/// The directory that the nodes of a gang share: `AZ_BATCHAI_SHARED_JOB_TEMP`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteSharedDirectory {
    /// From where the other nodes mount it; none if there is no such directory.
    #[schema(required)]
    address: Option<String>,
    /// Why there is none.
    #[schema(required)]
    lacks: Option<String>,
}

/// Whose a mount is.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LoteMountLevel {
    Cluster,
    Job,
}

/// What is mounted.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LoteMountKind {
    FileServer,
    FileShare,
    Blobs,
    Command,
}

/// A file that is written before any process starts.
#[derive(ToSchema)]
pub(crate) struct LotePlanFile {
    /// The number of its node; all nodes when absent.
    node: Option<i64>,
    /// Its path below the scratch directory of the job.
    path: String,
    /// All of its content.
    contents: String,
    /// Whether it can be executed.
    executable: bool,
}

/// A process of a plan.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LotePlanProcess {
    /// Its name.
    name: String,
    /// The number of its node.
    node: i64,
    /// What it runs.
    command: LoteCommand,
    /// Variables of this process alone.
    variables: Vec<EnvironmentVariable>,
    /// Where it starts.
    working_directory: Option<String>,
    /// The label of its output files.
    output: Option<String>,
    /// Which GPUs of its node it sees.
    gpus: LoteGpuShare,
    /// Whether the job waits for it.
    part: LotePart,
    /// What its failure means.
    on_failure: LoteOnFailure,
    /// Processes of one stage start together, after those of the stages before.
    stage: i64,
}

/// What a process runs.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LoteCommand {
    /// A program with its arguments.
    Argv(Vec<String>),
    /// A line for `bash`.
    Shell(String),
}

/// Which GPUs of its node a process sees: all, none, or some by number.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LoteGpuShare {
    All,
    None,
    Some(Vec<i64>),
}

/// Whether a job waits for a process.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LotePart {
    Primary,
    Supporting,
}

/// What the failure of a process means: the job's, nothing, or so many new starts.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LoteOnFailure {
    FailJob,
    Ignore,
    Restart(i64),
}

/// What is run after the last process.
#[derive(ToSchema)]
pub(crate) struct LoteFinishStep {
    /// The number of its node.
    node: i64,
    /// What to run.
    command: LoteCommand,
}
