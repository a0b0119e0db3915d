//! File systems that a node mounts for a job: what is planned for [`MountVolumes`], with all
//! that the cluster knows of it filled in.
//!
//! [`MountVolumes`]: crate::mount_volumes::MountVolumes

use serde::{Deserialize, Serialize};

use crate::export::ExportPoint;
use crate::id::{FileServerUid, NodeName};

/// All mounts of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedMounts {
    /// Those of its cluster, below `AZ_BATCHAI_MOUNT_ROOT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<PlannedMount>,
    /// Its own, below `AZ_BATCHAI_JOB_MOUNT_ROOT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub job: Vec<PlannedMount>,
}

impl PlannedMounts {
    /// Whether there is nothing to mount.
    pub fn is_empty(&self) -> bool {
        self.cluster.is_empty() && self.job.is_empty()
    }
}

/// One file system to mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedMount {
    /// Where, below the mount root: relative, without `.` and `..`.
    pub relative_path: String,
    /// What.
    pub source: MountSource,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MountSource {
    /// A file server of Lote.
    FileServer(FileServerSource),
    /// An SMB share of the original service, found in the operator's table.
    FileShare(FileShareSource),
    /// A container of blobs of the original service, found in the operator's table.
    Blobs(BlobsSource),
    /// Whatever this command mounts; the absolute path is appended to it. Run as root.
    Command(String),
}

/// A file server of Lote as its clients need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileServerSource {
    /// Its name, for messages.
    pub name: String,
    /// Its unique id.
    pub uid: FileServerUid,
    /// The node that serves it; mounts there need no network.
    pub node: NodeName,
    /// That node's address.
    pub address: String,
    /// How it is reached there.
    pub point: ExportPoint,
    /// Which directory of it; the whole when absent. Relative, without `..`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Mount options of the user's, such as `ro`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
}

/// A share: which, and with which modes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileShareSource {
    /// The storage account.
    pub account: String,
    /// The URL of the share.
    pub url: String,
    /// The mode of files, octal.
    pub file_mode: String,
    /// The mode of directories, octal.
    pub directory_mode: String,
}

/// A container of blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobsSource {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// Mount options of the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
}
