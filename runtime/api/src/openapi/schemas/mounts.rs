//! File systems of clusters and jobs.

use utoipa::ToSchema;

use super::resource::ResourceId;
use super::secret::KeyVaultSecretReference;

/// File systems to mount, each below the mount root of the cluster or job.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct MountVolumes {
    /// Shares of a storage account.
    azure_file_shares: Option<Vec<AzureFileShareReference>>,
    /// Containers of a storage account.
    azure_blob_file_systems: Option<Vec<AzureBlobFileSystemReference>>,
    /// File servers of Lote.
    file_servers: Option<Vec<FileServerReference>>,
    /// Anything else that a command can mount.
    unmanaged_file_systems: Option<Vec<UnmanagedFileSystemReference>>,
}

/// The key of a storage account: one of the two. Answers hold an empty object.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct AzureStorageCredentialsInfo {
    /// The key.
    account_key: Option<String>,
    /// Where the key is kept.
    account_key_secret_reference: Option<KeyVaultSecretReference>,
}

/// A share of a storage account.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct AzureFileShareReference {
    /// The account.
    account_name: String,
    /// The URL of the share.
    azure_file_url: String,
    /// The key.
    credentials: AzureStorageCredentialsInfo,
    /// Where below the mount root it is mounted.
    relative_mount_path: String,
    /// The mode of its files.
    #[schema(default = "0777")]
    file_mode: Option<String>,
    /// The mode of its directories.
    #[schema(default = "0777")]
    directory_mode: Option<String>,
}

/// A container of a storage account.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct AzureBlobFileSystemReference {
    /// The account.
    account_name: String,
    /// The container.
    container_name: String,
    /// The key.
    credentials: AzureStorageCredentialsInfo,
    /// Where below the mount root it is mounted.
    relative_mount_path: String,
    /// Options of the mount.
    mount_options: Option<String>,
}

/// A file server of Lote.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct FileServerReference {
    /// The file server.
    file_server: ResourceId,
    /// Which directory of it; all of it when absent.
    source_directory: Option<String>,
    /// Where below the mount root it is mounted.
    relative_mount_path: String,
    /// Options of the mount.
    mount_options: Option<String>,
}

/// Anything that a command can mount.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct UnmanagedFileSystemReference {
    /// The command; the path of the mount is appended to it.
    mount_command: String,
    /// Where below the mount root it is mounted.
    relative_mount_path: String,
}
