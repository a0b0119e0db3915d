//! Nodes.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// A machine that runs the daemon.
#[derive(ToSchema)]
pub(crate) struct LoteNode {
    /// Its path.
    id: String,
    /// Its name.
    name: String,
    /// The kind of the resource.
    #[schema(rename = "type")]
    kind: String,
    /// What it is and what it does.
    properties: LoteNodeProperties,
}

/// What a node is and what it does.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteNodeProperties {
    /// Its size, which clusters ask for.
    vm_size: String,
    /// Whether it takes jobs.
    state: LoteNodeState,
    /// Since when it is in that state, if that is known.
    #[schema(format = DateTime)]
    state_since: Option<String>,
    /// The cluster that holds it, as `group/workspace/cluster`.
    cluster: Option<String>,
    /// Since when its daemon leads, if it is the one that was elected.
    #[schema(format = DateTime)]
    leads_since: Option<String>,
    /// That it is to take no new jobs.
    drain: Option<LoteDrain>,
    /// What was done about its power.
    power: Option<LoteNodePower>,
    /// Where its daemon answers other daemons.
    peer_address: Option<String>,
    /// The hardware address that wakes it.
    mac_address: Option<String>,
    /// Whether it is never switched off.
    always_on: Option<bool>,
    /// How many jobs it runs.
    jobs: i64,
    /// The address other nodes reach it by.
    address: String,
    /// The port of its SSH server.
    ssh_port: i32,
    /// What the operator says of its place and kind: `rack`, `switch` and whatever else.
    labels: Option<BTreeMap<String, String>>,
    /// The version of its daemon.
    version: String,
    /// Changes when the machine is started again.
    boot_id: String,
    /// When its daemon started.
    #[schema(format = DateTime)]
    started_at: String,
    /// Processors that jobs may use.
    cpu_cores: i64,
    /// Memory that jobs may use.
    memory_bytes: i64,
    /// Its GPUs.
    gpus: Vec<LoteGpu>,
    /// How far each GPU is from each, in their order and in the words of `nvidia-smi topo -m`: `X`, `NV12`, `PIX`,
    /// `PXB`, `PHB`, `NODE` or `SYS`.
    gpu_distances: Option<Vec<Vec<String>>>,
    /// The driver of its GPUs.
    gpu_driver: Option<LoteGpuDriver>,
    /// Its NUMA nodes, if it has several.
    numa_nodes: Option<Vec<LoteNumaNode>>,
    /// The first of the ports that are lent to jobs.
    ports_first: i32,
    /// How many ports there are to lend.
    ports_count: i32,
    /// Where scratch directories and local output of jobs lie.
    work_directory: String,
    /// What keeps jobs apart there.
    isolation: Vec<LoteCapability>,
    /// What is wrong with it.
    conditions: Vec<LoteCondition>,
}

/// That a node is to take no new jobs.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteDrain {
    /// Why, in the operator's words.
    reason: Option<String>,
    /// Since when.
    #[schema(format = DateTime)]
    requested_at: String,
}

/// What was done about a machine's power.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteNodePower {
    /// What was done last.
    state: LotePowerState,
    /// When.
    #[schema(format = DateTime)]
    since: String,
    /// When the daemon started that was told to switch its machine off.
    #[schema(format = DateTime)]
    told_daemon_of: String,
    /// How often the same was tried without success.
    failures: Option<i32>,
    /// Why it did not work, if it did not.
    error: Option<String>,
}

/// Whether a machine was switched off, or on and has not come back yet, or could not be switched off and is in use.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LotePowerState {
    Off,
    Starting,
    On,
}

/// How a node is drained.
#[derive(ToSchema)]
pub(crate) struct LoteDrainParameters {
    /// What there is to say about it.
    properties: LoteDrainRequest,
}

/// What there is to say about a drain.
#[derive(ToSchema)]
pub(crate) struct LoteDrainRequest {
    /// Why.
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// Whether a node takes jobs: `unhealthy` for the reasons in its conditions, `draining` and `drained` when an operator
/// wants it to take no new ones, `lost` when its daemon is silent, `off` and `starting` when that was to be expected.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum LoteNodeState {
    Ready,
    Draining,
    Drained,
    Unhealthy,
    Lost,
    Off,
    Starting,
}

/// A GPU of a node.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteGpu {
    /// The driver's id of it.
    uuid: String,
    /// The model's name.
    model: String,
    /// The minor number of its device file.
    minor: i64,
    /// Its memory in MiB.
    memory_mib: i64,
    /// Where it is on the PCI bus.
    bus_id: Option<String>,
    /// The NUMA node it is attached to.
    numa_node: Option<i64>,
    /// Which part of which GPU it is, if it is none of its own.
    mig: Option<LoteMigInstance>,
    /// What is wrong with it. One that keeps jobs away keeps them from this GPU only.
    conditions: Option<Vec<LoteCondition>>,
}

/// A part of a GPU that MIG divides.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteMigInstance {
    /// The driver's id of the GPU.
    parent: String,
    /// The GPU instance.
    gpu_instance: i64,
    /// The compute instance in it.
    compute_instance: i64,
    /// How large it is: `1g.10gb`.
    profile: String,
}

/// The driver of a node's GPUs.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteGpuDriver {
    /// Its version.
    version: String,
    /// The newest CUDA that it runs.
    cuda_version: String,
}

/// Processors and memory that are near each other.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteNumaNode {
    /// The kernel's number of it.
    id: i64,
    /// Its processors that jobs may use.
    cpu_cores: i64,
    /// Its memory that jobs may use.
    memory_bytes: i64,
}

/// A means of isolation or measurement.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteCapability {
    /// What it is.
    name: String,
    /// Whether jobs get it here.
    in_force: bool,
    /// How, or why not.
    note: String,
}

/// Something wrong with a node.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteCondition {
    /// A word for programs.
    code: String,
    /// A sentence that says what to do.
    message: String,
    /// Whether it keeps jobs away.
    blocks_jobs: bool,
    /// Since when it is so.
    #[schema(format = DateTime)]
    since: String,
}

/// One page of nodes.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteNodeListResult {
    /// The nodes.
    value: Vec<LoteNode>,
    /// The whole URL of the next page, if there is one.
    next_link: Option<String>,
}
