//! `properties.lote` of a file server: what Batch AI has no word for.

use utoipa::ToSchema;

use super::error::BatchAIError;

/// Where the files of a file server are to lie.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteFileServerSettings {
    /// The node that is to serve it, of the size that was asked for; the one of that size with the fewest file servers when absent.
    node: Option<String>,
    /// An absolute path on that node, one that its operator set aside or below one. Not together with disks.
    #[schema(max_length = 4095)]
    directory: Option<String>,
    /// Paths of block devices on that node that its operator listed; several are striped (RAID 0).
    #[schema(max_items = 1000)]
    disks: Option<Vec<String>>,
    /// Whether a file system that is on one of the disks may be erased; needs disks.
    #[schema(default = false)]
    erase_disks: Option<bool>,
}

/// Where the files of a file server lie, and what Lote says about it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteFileServerStatus {
    /// The node that serves it, or is to; none until one was found.
    node: Option<String>,
    /// The directory that was asked for.
    directory: Option<String>,
    /// The disks that were asked for.
    disks: Option<Vec<String>>,
    /// Whether a file system that is on one of the disks may be erased.
    erase_disks: Option<bool>,
    /// Unique over all file servers that ever bore the name.
    #[schema(read_only)]
    uid: String,
    /// Why it could not be made, or what is wrong with it now.
    #[schema(read_only)]
    errors: Vec<BatchAIError>,
    /// Who answers its clients, while it is served.
    #[schema(read_only)]
    server: Option<LoteNfsServer>,
    /// The TCP port of the NFS service.
    #[schema(read_only)]
    nfs_port: Option<i32>,
    /// The TCP port of the MOUNT service that version 3 needs.
    #[schema(read_only)]
    mount_port: Option<i32>,
    /// The protocol versions that are served, newest first.
    #[schema(read_only)]
    versions: Option<Vec<String>>,
    /// A line that mounts it at `/mnt` on a machine that may.
    #[schema(read_only)]
    mount_command: Option<String>,
    /// How much its files may take.
    #[schema(read_only)]
    size_limit: Option<LoteSizeLimit>,
    /// How full it is, if there is telling.
    #[schema(read_only)]
    usage: Option<LoteStorageUsage>,
}

/// Who answers the clients of a file server: its node's kernel, or NFS-Ganesha.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LoteNfsServer {
    Kernel,
    Ganesha,
}

/// How much the files of a file server may take.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteSizeLimit {
    /// How much, in bytes: disks times their size, a GB being 2^30 bytes.
    bytes: u64,
    /// Whether writing more fails; absent until its node has said.
    in_force: Option<bool>,
    /// How, or why not.
    note: Option<String>,
}

/// How full a file server is.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteStorageUsage {
    /// What its files take, in bytes.
    used_bytes: u64,
    /// What can still be written, in bytes.
    free_bytes: u64,
}
