//! File servers.

use utoipa::ToSchema;

use super::account::UserAccountSettings;
use super::file_server_lote::{LoteFileServerSettings, LoteFileServerStatus};
use super::resource::{ProxyResource, ResourceId};

/// A file server: directories of one node that jobs on others can mount.
#[derive(ToSchema)]
pub(crate) struct FileServer {
    #[serde(flatten)]
    resource: ProxyResource,
    /// What was asked for, and how it fares.
    properties: Option<FileServerProperties>,
}

/// A file server to be created.
#[derive(ToSchema)]
pub(crate) struct FileServerCreateParameters {
    /// What is asked for. Members that the service sets are accepted and ignored, others that are unknown are refused.
    properties: FileServerBaseProperties,
}

/// What is asked for of a file server.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct FileServerBaseProperties {
    /// The size of its node; compared without case.
    vm_size: String,
    /// Who may log in.
    ssh_configuration: SshConfiguration,
    /// Its disks.
    data_disks: DataDisks,
    /// A subnet; recorded, the network is the site's own.
    subnet: Option<ResourceId>,
    /// Where its files are to lie.
    lote: Option<LoteFileServerSettings>,
}

/// What was asked for of a file server, and how it fares.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct FileServerProperties {
    /// The size of its node, in upper case.
    vm_size: Option<String>,
    /// Who may log in.
    ssh_configuration: Option<SshConfiguration>,
    /// Its disks.
    data_disks: Option<DataDisks>,
    /// A subnet.
    subnet: Option<ResourceId>,
    /// Where it can be mounted from, once it can.
    #[schema(read_only)]
    mount_settings: Option<MountSettings>,
    /// Since when it is in its state.
    #[schema(read_only, format = DateTime)]
    provisioning_state_transition_time: Option<String>,
    /// When it was created.
    #[schema(read_only, format = DateTime)]
    creation_time: Option<String>,
    /// How far it is with coming to be or going away.
    #[schema(read_only)]
    provisioning_state: Option<FileServerProvisioningState>,
    /// What Batch AI has no word for.
    lote: Option<LoteFileServerStatus>,
}

/// How far a file server is with coming to be, changing or going away.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum FileServerProvisioningState {
    Creating,
    Updating,
    Deleting,
    Succeeded,
    Failed,
}

/// Who may log in at a file server.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct SshConfiguration {
    /// From which addresses; from all when absent.
    #[schema(rename = "publicIPsToAllow", max_items = 400)]
    public_ips_to_allow: Option<Vec<String>>,
    /// The administrator's account.
    user_account_settings: UserAccountSettings,
}

/// The disks of a file server.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct DataDisks {
    /// The size of each.
    #[schema(rename = "diskSizeInGB", minimum = 1)]
    disk_size_in_gb: i32,
    /// How they keep what was read or is to be written.
    #[schema(default = "none")]
    caching_type: Option<CachingType>,
    /// How many there are.
    #[schema(minimum = 1)]
    disk_count: i32,
    /// Their kind.
    storage_account_type: StorageAccountType,
}

/// How a disk keeps what was read or is to be written.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum CachingType {
    None,
    ReadOnly,
    ReadWrite,
}

/// A kind of disk.
#[derive(ToSchema)]
pub(crate) enum StorageAccountType {
    #[schema(rename = "Standard_LRS")]
    Standard,
    #[schema(rename = "Premium_LRS")]
    Premium,
}

/// Where a file server can be mounted from.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct MountSettings {
    /// The exported directory.
    mount_point: Option<String>,
    /// Its address from outside.
    #[schema(rename = "fileServerPublicIP")]
    file_server_public_ip: Option<String>,
    /// Its address for the nodes.
    #[schema(rename = "fileServerInternalIP")]
    file_server_internal_ip: Option<String>,
}

/// One page of file servers.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct FileServerListResult {
    /// The file servers.
    value: Option<Vec<FileServer>>,
    /// The whole URL of the next page, if there is one.
    #[schema(read_only)]
    next_link: Option<String>,
}
