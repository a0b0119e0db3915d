//! Jobs.

use utoipa::ToSchema;

use super::container::ContainerSettings;
use super::error::BatchAIError;
use super::frameworks::{
    Caffe2Settings, CaffeSettings, ChainerSettings, CntkSettings, CustomMpiSettings,
    CustomToolkitSettings, HorovodSettings, LotePluginSettings, PyTorchSettings,
    TensorFlowSettings,
};
use super::job_lote::{LoteJobSettings, LoteJobStatus};
use super::mounts::MountVolumes;
use super::resource::{ProvisioningState, ProxyResource, ResourceId};
use super::secret::{EnvironmentVariable, EnvironmentVariableWithSecretValue};

/// A job: what to run, on how many nodes of which cluster.
#[derive(ToSchema)]
pub(crate) struct Job {
    #[serde(flatten)]
    resource: ProxyResource,
    /// What was asked for, and how it fares.
    properties: Option<JobProperties>,
}

/// A job to be created.
#[derive(ToSchema)]
pub(crate) struct JobCreateParameters {
    /// What is asked for. Members that the service sets are accepted and ignored, others that are unknown are refused.
    properties: JobBaseProperties,
}

/// What is asked for of a job. It has exactly one member of a framework.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct JobBaseProperties {
    /// Its place in the queue.
    #[schema(default = "normal")]
    scheduling_priority: Option<JobPriority>,
    /// The cluster it runs on.
    cluster: ResourceId,
    /// File systems of this job.
    mount_volumes: Option<MountVolumes>,
    /// How many nodes, all at once or none.
    #[schema(minimum = 1, maximum = 10_000)]
    node_count: i32,
    /// The container it runs in; the node itself when absent.
    container_settings: Option<ContainerSettings>,
    /// CNTK.
    cntk_settings: Option<CntkSettings>,
    /// PyTorch.
    py_torch_settings: Option<PyTorchSettings>,
    /// TensorFlow.
    tensor_flow_settings: Option<TensorFlowSettings>,
    /// Caffe.
    caffe_settings: Option<CaffeSettings>,
    /// Caffe2.
    caffe2_settings: Option<Caffe2Settings>,
    /// Chainer.
    chainer_settings: Option<ChainerSettings>,
    /// A command line on the first node.
    custom_toolkit_settings: Option<CustomToolkitSettings>,
    /// A command line that `mpirun` starts.
    custom_mpi_settings: Option<CustomMpiSettings>,
    /// Horovod.
    horovod_settings: Option<HorovodSettings>,
    /// Any other plugin.
    plugin_settings: Option<LotePluginSettings>,
    /// What runs on every node before the framework starts.
    job_preparation: Option<JobPreparation>,
    /// Below which path the output of the processes goes.
    std_out_err_path_prefix: String,
    /// Names for paths that the job reads.
    #[schema(max_items = 1_000)]
    input_directories: Option<Vec<InputDirectory>>,
    /// Directories made for the job to write to.
    #[schema(max_items = 1_000)]
    output_directories: Option<Vec<OutputDirectory>>,
    /// Variables of every process.
    #[schema(max_items = 1_000)]
    environment_variables: Option<Vec<EnvironmentVariable>>,
    /// Secret variables of every process.
    secrets: Option<Vec<EnvironmentVariableWithSecretValue>>,
    /// Limits on the whole job.
    #[schema(inline)]
    constraints: Option<JobConstraints>,
    /// What Batch AI has no word for.
    lote: Option<LoteJobSettings>,
}

/// What was asked for of a job, with the defaults filled in, and how it fares.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct JobProperties {
    /// The experiment it is in.
    #[schema(read_only)]
    experiment_name: Option<String>,
    /// Its place in the queue.
    #[schema(default = "normal")]
    scheduling_priority: Option<JobPriority>,
    /// The cluster it runs on.
    cluster: Option<ResourceId>,
    /// File systems of this job.
    mount_volumes: Option<MountVolumes>,
    /// How many nodes it has, all at once or none.
    node_count: Option<i32>,
    /// The container it runs in.
    container_settings: Option<ContainerSettings>,
    /// The framework: `caffe`, `caffe2`, `chainer`, `cntk`, `custom`, `custommpi`, `horovod`, `pytorch`, `tensorflow`, or the name of another plugin.
    tool_type: Option<String>,
    /// CNTK.
    cntk_settings: Option<CntkSettings>,
    /// PyTorch.
    py_torch_settings: Option<PyTorchSettings>,
    /// TensorFlow.
    tensor_flow_settings: Option<TensorFlowSettings>,
    /// Caffe.
    caffe_settings: Option<CaffeSettings>,
    /// Caffe2.
    caffe2_settings: Option<Caffe2Settings>,
    /// Chainer.
    chainer_settings: Option<ChainerSettings>,
    /// A command line on the first node.
    custom_toolkit_settings: Option<CustomToolkitSettings>,
    /// A command line that `mpirun` starts.
    custom_mpi_settings: Option<CustomMpiSettings>,
    /// Horovod.
    horovod_settings: Option<HorovodSettings>,
    /// Any other plugin.
    plugin_settings: Option<LotePluginSettings>,
    /// What runs on every node before the framework starts.
    job_preparation: Option<JobPreparation>,
    /// The part of output paths that is this job's alone.
    #[schema(read_only)]
    job_output_directory_path_segment: Option<String>,
    /// Below which path the output of the processes goes.
    std_out_err_path_prefix: Option<String>,
    /// Names for paths that the job reads.
    input_directories: Option<Vec<InputDirectory>>,
    /// Directories made for the job to write to.
    output_directories: Option<Vec<OutputDirectory>>,
    /// Variables of every process.
    environment_variables: Option<Vec<EnvironmentVariable>>,
    /// Secret variables of every process, by name only.
    secrets: Option<Vec<EnvironmentVariableWithSecretValue>>,
    /// Limits on the whole job.
    #[schema(inline)]
    constraints: Option<JobConstraints>,
    /// When it was accepted.
    #[schema(read_only, format = DateTime)]
    creation_time: Option<String>,
    /// How far it is with coming to be or going away.
    #[schema(read_only)]
    provisioning_state: Option<ProvisioningState>,
    /// Since when it is so.
    #[schema(read_only, format = DateTime)]
    provisioning_state_transition_time: Option<String>,
    /// Where it is in its life.
    #[schema(read_only)]
    execution_state: Option<ExecutionState>,
    /// Since when it is there.
    #[schema(read_only, format = DateTime)]
    execution_state_transition_time: Option<String>,
    /// How it ran; absent while it waits.
    #[schema(inline)]
    execution_info: Option<JobExecutionInfo>,
    /// What Batch AI has no word for.
    lote: Option<LoteJobStatus>,
}

/// A place in the queue.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum JobPriority {
    Low,
    Normal,
    High,
}

/// Where a job is in its life.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum ExecutionState {
    Queued,
    Running,
    Terminating,
    Succeeded,
    Failed,
}

/// What runs on every node of a job before the framework starts.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct JobPreparation {
    /// A line for `bash`.
    command_line: String,
}

/// A name for a path: sets `AZ_BATCHAI_INPUT_` with the id.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct InputDirectory {
    /// Letters, digits and `_`, no digit first.
    id: String,
    /// The path; variables in it are expanded.
    path: String,
}

/// A directory made for a job: sets `AZ_BATCHAI_OUTPUT_` with the id.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct OutputDirectory {
    /// Letters, digits and `_`, no digit first; not `stdouterr`.
    id: String,
    /// Below which path it is made; variables in it are expanded.
    path_prefix: String,
    /// Its last part.
    path_suffix: Option<String>,
}

/// Limits on a job.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct JobConstraints {
    /// The longest it may run, as `P7D` or `PT2H30M`; `7.00:00:00` is understood as well.
    #[schema(format = Duration, default = "P7D")]
    max_wall_clock_time: Option<String>,
}

/// How a job ran.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct JobExecutionInfo {
    /// When it last got its nodes.
    #[schema(read_only, format = DateTime)]
    start_time: Option<String>,
    /// When it ended.
    #[schema(read_only, format = DateTime)]
    end_time: Option<String>,
    /// The exit code that decided, if a process gave one.
    #[schema(read_only)]
    exit_code: Option<i32>,
    /// Why it failed; there once the job has ended, and empty when it went well.
    #[schema(read_only)]
    errors: Option<Vec<BatchAIError>>,
}

/// One page of jobs.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct JobListResult {
    /// The jobs.
    #[schema(read_only)]
    value: Option<Vec<Job>>,
    /// The whole URL of the next page, if there is one.
    #[schema(read_only)]
    next_link: Option<String>,
}
