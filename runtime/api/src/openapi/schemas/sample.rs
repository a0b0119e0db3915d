//! What jobs do and have used, moment by moment and day by day.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// What a running job does on each of its nodes.
#[derive(ToSchema)]
pub(crate) struct LoteJobSamples {
    /// Its nodes.
    value: Vec<LoteNodeSeries>,
}

/// What one node tells of a job, oldest first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteNodeSeries {
    /// The node.
    node: String,
    /// What its part of the job did; empty if it does not run there, or is not measured.
    samples: Vec<LoteJobSample>,
    /// Why nothing is told, if the node could not be asked.
    error: Option<String>,
}

/// What one node's part of a job did at one moment.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteJobSample {
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// Processor time that it has used, in seconds.
    cpu_seconds: Option<f64>,
    /// Memory in use, in bytes.
    memory_bytes: Option<i64>,
    /// Its GPUs by UUID.
    gpus: Option<BTreeMap<String, LoteGpuSample>>,
}

/// What one GPU did at one moment. What its driver does not tell is absent.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteGpuSample {
    /// How much of the last period something ran on it, in percent.
    utilization: Option<i32>,
    /// How much of the last period its memory was read or written, in percent.
    memory_utilization: Option<i32>,
    /// Memory in use, in bytes.
    memory_used_bytes: Option<i64>,
    /// Memory that is free, in bytes.
    memory_free_bytes: Option<i64>,
    /// What it draws, in milliwatts.
    power_milliwatts: Option<i64>,
    /// What it has drawn since its driver was loaded, in millijoules.
    energy_millijoules: Option<i64>,
    /// In degrees Celsius.
    temperature_celsius: Option<i32>,
    /// The clock of its multiprocessors, in MHz.
    sm_clock_mhz: Option<i32>,
    /// The clock of its memory, in MHz.
    memory_clock_mhz: Option<i32>,
    /// Whether heat or power holds its clocks back.
    throttled: Option<bool>,
    /// The last XID error since the daemon started; 0 is none.
    last_xid: Option<i64>,
    /// Errors of its memory that were corrected.
    ecc_corrected: Option<i64>,
    /// Errors of its memory that could not be corrected.
    ecc_uncorrected: Option<i64>,
}

/// What workspaces have used, by day.
#[derive(ToSchema)]
pub(crate) struct LoteDailyUsageList {
    /// Workspaces and their days; days without use are absent.
    value: Vec<LoteDailyUsage>,
}

/// What a workspace used on one day (UTC). Running jobs count when they end, on the days on which they ran.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteDailyUsage {
    /// The workspace's group, in lower case.
    group: String,
    /// The workspace, in lower case.
    workspace: String,
    /// The day.
    #[schema(format = Date)]
    day: String,
    /// Runs of jobs that ended on that day; a job that was started again has several.
    runs_ended: i64,
    /// Time that nodes were held, a part of a node counting as that part.
    node_seconds: f64,
    /// Time that GPUs were held.
    gpu_seconds: f64,
    /// Time that processors worked.
    cpu_seconds: f64,
    /// Energy that GPUs drew, if their drivers tell.
    gpu_energy_joules: Option<f64>,
}
