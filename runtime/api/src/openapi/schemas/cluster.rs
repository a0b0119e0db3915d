//! Clusters.

use utoipa::ToSchema;

use super::account::UserAccountSettings;
use super::cluster_lote::{LoteClusterSettings, LoteClusterStatus};
use super::error::BatchAIError;
use super::node_setup::NodeSetup;
use super::resource::{ProvisioningState, ProxyResource, ResourceId};
use super::scale::ScaleSettings;

/// A cluster: so many nodes of one size, held for the jobs that name it.
#[derive(ToSchema)]
pub(crate) struct Cluster {
    #[serde(flatten)]
    resource: ProxyResource,
    /// What was asked for, and how it fares.
    properties: Option<ClusterProperties>,
}

/// A cluster to be created.
#[derive(ToSchema)]
pub(crate) struct ClusterCreateParameters {
    /// What is asked for. Members that the service sets are accepted and ignored, others that are unknown are refused.
    properties: ClusterBaseProperties,
}

/// What is asked for of a cluster.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ClusterBaseProperties {
    /// The size of its nodes, such as `cpu`; compared without case.
    vm_size: String,
    /// Whether its nodes may be taken away.
    #[schema(default = "dedicated")]
    vm_priority: Option<VmPriority>,
    /// How many nodes; none when absent.
    scale_settings: Option<ScaleSettings>,
    /// What its nodes run; recorded.
    virtual_machine_configuration: Option<VirtualMachineConfiguration>,
    /// What is done on each node before it takes jobs.
    node_setup: Option<NodeSetup>,
    /// The administrator's account.
    user_account_settings: UserAccountSettings,
    /// A subnet; recorded, the network is the site's own.
    subnet: Option<ResourceId>,
    /// What Batch AI has no word for.
    lote: Option<LoteClusterSettings>,
}

/// A change of a cluster.
#[derive(ToSchema)]
pub(crate) struct ClusterUpdateParameters {
    /// What is to change.
    properties: ClusterUpdateProperties,
}

/// What can be changed of a cluster; at least one of the two.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ClusterUpdateProperties {
    /// How many nodes it shall have from now on.
    scale_settings: Option<ScaleSettings>,
    /// What is to change of Lote's own settings: absent members stay, `null` takes one back.
    lote: Option<LoteClusterSettings>,
}

/// What was asked for of a cluster, and how it fares.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ClusterProperties {
    /// The size of its nodes, in upper case.
    vm_size: Option<String>,
    /// Whether its nodes may be taken away.
    #[schema(default = "dedicated")]
    vm_priority: Option<VmPriority>,
    /// How many nodes it shall have.
    scale_settings: Option<ScaleSettings>,
    /// What its nodes run.
    virtual_machine_configuration: Option<VirtualMachineConfiguration>,
    /// What is done on each node before it takes jobs.
    node_setup: Option<NodeSetup>,
    /// The administrator's account, without the password.
    user_account_settings: Option<UserAccountSettings>,
    /// A subnet.
    subnet: Option<ResourceId>,
    /// When it was created.
    #[schema(read_only, format = DateTime)]
    creation_time: Option<String>,
    /// How far it is with coming to be or going away.
    #[schema(read_only)]
    provisioning_state: Option<ProvisioningState>,
    /// Since when it is so.
    #[schema(read_only, format = DateTime)]
    provisioning_state_transition_time: Option<String>,
    /// Whether it has the nodes it wants.
    #[schema(read_only)]
    allocation_state: Option<AllocationState>,
    /// Since when it is so.
    #[schema(read_only, format = DateTime)]
    allocation_state_transition_time: Option<String>,
    /// What went wrong with its nodes, or why it has fewer than it wants.
    #[schema(read_only)]
    errors: Option<Vec<BatchAIError>>,
    /// How many nodes it has.
    #[schema(read_only)]
    current_node_count: Option<i32>,
    /// What they do; all five counts are there.
    #[schema(read_only)]
    node_state_counts: Option<NodeStateCounts>,
    /// What Batch AI has no word for.
    lote: Option<LoteClusterStatus>,
}

/// Whether nodes may be taken away for others.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum VmPriority {
    Dedicated,
    LowPriority,
}

/// Whether a cluster has the nodes it wants.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum AllocationState {
    Steady,
    Resizing,
}

/// How many nodes of a cluster do what.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct NodeStateCounts {
    /// Nodes that wait for jobs.
    #[schema(read_only)]
    idle_node_count: Option<i32>,
    /// Nodes that run jobs.
    #[schema(read_only)]
    running_node_count: Option<i32>,
    /// Nodes that are being set up.
    #[schema(read_only)]
    preparing_node_count: Option<i32>,
    /// Nodes that can take no jobs; the cluster's errors and `/v1/nodes` say why.
    #[schema(read_only)]
    unusable_node_count: Option<i32>,
    /// Nodes on their way out.
    #[schema(read_only)]
    leaving_node_count: Option<i32>,
}

/// What nodes run; recorded, because nodes of one's own have the system they have.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct VirtualMachineConfiguration {
    /// The image.
    image_reference: Option<ImageReference>,
}

/// A machine image.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ImageReference {
    /// Who published it.
    publisher: String,
    /// The product.
    offer: String,
    /// The edition.
    sku: String,
    /// The version.
    version: Option<String>,
    /// The id of an image of one's own.
    virtual_machine_image_id: Option<String>,
}

/// One page of clusters.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ClusterListResult {
    /// The clusters.
    #[schema(read_only)]
    value: Option<Vec<Cluster>>,
    /// The whole URL of the next page, if there is one.
    #[schema(read_only)]
    next_link: Option<String>,
}
