//! `properties.lote` of a job: what Batch AI has no word for.

use utoipa::ToSchema;

use super::error::BatchAIError;

/// Lote's own settings of a job.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteJobSettings {
    /// A share of each node, so that several jobs can be on it; whole nodes when absent.
    resources: Option<LoteResources>,
    /// Where the processes start; the job's scratch directory when absent.
    working_directory: Option<String>,
    /// The time between SIGTERM and SIGKILL, as `PT30S`; at most an hour.
    #[schema(format = Duration)]
    grace_period: Option<String>,
    /// How often the job is started in all when nodes are lost or its cluster is made smaller; starts that a withdrawal ended do not count.
    #[schema(minimum = 1, maximum = 1_000)]
    attempts_max: Option<i32>,
    /// What becomes of the job when a node is lost under it; `requeue` when absent.
    on_node_loss: Option<LoteOnNodeLoss>,
    /// A version of the plugin that the framework's member chooses, as in `pytorch@0.1.0`; the highest when absent.
    plugin: Option<String>,
}

/// What becomes of a job that loses a node.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LoteOnNodeLoss {
    /// It waits again, unless it has been started often enough.
    Requeue,
    /// It has failed, with the code `NodeLost`.
    Fail,
}

/// What a job takes of each of its nodes.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteResources {
    /// Whole GPUs.
    #[schema(minimum = 0, maximum = 1_024)]
    gpus_per_node: Option<i32>,
    /// Processors, in fractions if wanted.
    #[schema(minimum = 0.001, maximum = 100_000.0)]
    cpus_per_node: Option<f64>,
    /// Memory such as `8g` or `512m`.
    memory: Option<String>,
    /// The most processes and threads at once.
    #[schema(minimum = 1, format = "int64")]
    processes: Option<i64>,
}

/// Lote's own settings of a job, and what Lote says about it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteJobStatus {
    /// A share of each node, so that several jobs can be on it; whole nodes when absent.
    resources: Option<LoteResources>,
    /// Where the processes start; the job's scratch directory when absent.
    working_directory: Option<String>,
    /// The time between SIGTERM and SIGKILL, as `PT30S`; at most an hour.
    #[schema(format = Duration)]
    grace_period: Option<String>,
    /// How often the job is started in all when nodes are lost or its cluster is made smaller; starts that a withdrawal ended do not count.
    #[schema(minimum = 1, maximum = 1_000)]
    attempts_max: Option<i32>,
    /// What becomes of the job when a node is lost under it; `requeue` when absent.
    on_node_loss: Option<LoteOnNodeLoss>,
    /// The version of the plugin that was asked for.
    plugin: Option<String>,
    /// The plugin that accepted it.
    framework: Option<LoteChosenPlugin>,
    /// Unique over all jobs that ever bore the name.
    uid: String,
    /// How often it was given nodes; 0 while it never was.
    attempt: i32,
    /// Its nodes in rank order.
    nodes: Option<Vec<String>>,
    /// Why it waits, once it has waited a while.
    waiting: Option<String>,
    /// What nodes do that are not prepared yet, if it takes long; only when one job is asked for.
    preparing: Option<Vec<LotePreparing>>,
    /// Why the attempt before was given up, once there was one: `NodeLost`, `ClusterScaledDown`, `Preempted` or `BudgetSpent`.
    requeued: Option<BatchAIError>,
    /// What it used, once it has ended.
    account: Option<LoteAccount>,
    /// Where its output directories lie, once it has ended.
    directories: Option<Vec<LoteDirectory>>,
}

/// What a node does before the processes of a job start.
#[derive(ToSchema)]
pub(crate) struct LotePreparing {
    /// The node.
    node: String,
    /// What it does, in words: it pulls an image, mounts a file system, runs the preparation command.
    doing: String,
    /// When it said so.
    #[schema(format = DateTime)]
    at: String,
}

/// A plugin.
#[derive(ToSchema)]
pub(crate) struct LoteChosenPlugin {
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// The SHA-256 of the component.
    digest: String,
}

/// What a job used, all nodes of its last attempt together.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteAccount {
    /// Processor time.
    cpu_seconds: f64,
    /// The highest memory use of one node.
    memory_peak_bytes: i64,
    /// Seconds times nodes.
    node_seconds: f64,
    /// Seconds times GPUs.
    gpu_seconds: f64,
    /// Read from disks, where the kernel counts it.
    read_bytes: Option<i64>,
    /// Written to disks, where the kernel counts it.
    written_bytes: Option<i64>,
    /// Each GPU.
    gpus: Option<Vec<LoteGpuAccount>>,
}

/// What a job did with one GPU. What its driver does not tell is absent.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteGpuAccount {
    /// Where it is.
    node: String,
    /// The driver's id of it.
    uuid: String,
    /// The model's name.
    model: String,
    /// How long the job held it.
    seconds: f64,
    /// How much of that time something ran on it, in percent.
    utilization_mean: Option<f64>,
    /// The highest utilisation seen, in percent.
    utilization_peak: Option<i32>,
    /// Mean memory in use, in bytes.
    memory_mean_bytes: Option<i64>,
    /// The most memory seen in use, in bytes.
    memory_peak_bytes: Option<i64>,
    /// Energy that it drew meanwhile.
    energy_joules: Option<f64>,
    /// How long heat or power held its clocks back.
    throttled_seconds: Option<f64>,
}

/// Where a directory of a job lies.
#[derive(ToSchema)]
pub(crate) struct LoteDirectory {
    /// `stdouterr`, or the id of an output directory.
    id: String,
    /// The node whose daemon can read it.
    node: String,
    /// The path there.
    path: String,
    /// What it lies in, if that is an export or a mounted file system.
    root: Option<String>,
    /// Whether it can be listed only while the job has its file systems mounted.
    while_mounted: Option<bool>,
}
