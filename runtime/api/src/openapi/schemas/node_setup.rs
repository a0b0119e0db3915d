//! What is done on each node of a cluster before it takes jobs.

use utoipa::ToSchema;

use super::mounts::MountVolumes;
use super::resource::ResourceId;
use super::secret::{
    EnvironmentVariable, EnvironmentVariableWithSecretValue, KeyVaultSecretReference,
};

/// What is done on each node of a cluster before it takes jobs.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct NodeSetup {
    /// A command to run.
    setup_task: Option<SetupTask>,
    /// File systems that all jobs of the cluster see.
    mount_volumes: Option<MountVolumes>,
    /// Where the nodes' counters shall be sent.
    performance_counters_settings: Option<PerformanceCountersSettings>,
}

/// A command that is run on each node of a cluster, as root.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct SetupTask {
    /// A line for `bash`. It runs again after each start of the node.
    command_line: String,
    /// Its variables.
    environment_variables: Option<Vec<EnvironmentVariable>>,
    /// Its secret variables.
    secrets: Option<Vec<EnvironmentVariableWithSecretValue>>,
    /// Below which path its output goes.
    std_out_err_path_prefix: String,
    /// The rest of that path, made by the service.
    #[schema(read_only)]
    std_out_err_path_suffix: Option<String>,
}

/// Where the nodes' counters shall be sent.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct PerformanceCountersSettings {
    /// The account that takes them.
    app_insights_reference: AppInsightsReference,
}

/// An account for counters.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct AppInsightsReference {
    /// The account.
    component: ResourceId,
    /// Its key; either this or the reference. Never answered.
    instrumentation_key: Option<String>,
    /// Where the key is kept.
    instrumentation_key_secret_reference: Option<KeyVaultSecretReference>,
}
