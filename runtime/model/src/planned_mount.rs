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

    /// Below which mount the nodes of a job share what they write: the first file server
    /// that can be written to, of the cluster's before the job's. Its root, and its path below it.
    pub fn shared_between_nodes(&self) -> Option<(MountRoot, &str)> {
        let of = |root: MountRoot| {
            let mounts = match root {
                MountRoot::Cluster => &self.cluster,
                MountRoot::Job => &self.job,
            };
            let found = mounts
                .iter()
                .find(|mount| mount.is_writable_file_server())?;
            Some((root, found.relative_path.trim_matches('/')))
        };
        of(MountRoot::Cluster).or_else(|| of(MountRoot::Job))
    }
}

/// Below which of the two roots a file system is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MountRoot {
    /// `AZ_BATCHAI_MOUNT_ROOT`.
    Cluster,
    /// `AZ_BATCHAI_JOB_MOUNT_ROOT`.
    Job,
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

impl PlannedMount {
    fn is_writable_file_server(&self) -> bool {
        let MountSource::FileServer(source) = &self.source else {
            return false;
        };
        let mut options = source.options.as_deref().unwrap_or_default().split(',');
        !options.any(|option| option.trim() == "ro")
    }
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

/// The code of a file share that was not mounted.
pub const FILE_SHARE_ERROR: &str = "AZFMountError";
/// The code of a container of blobs that was not mounted.
pub const BLOBS_ERROR: &str = "BFSMountError";
/// The code of a file server that was not mounted.
pub const FILE_SERVER_ERROR: &str = "FileServerMountError";
/// The code of a file system of the user's own that was not mounted.
pub const COMMAND_ERROR: &str = "UnmanagedFileSystemMountError";

/// The exit code of a job whose file systems could not be mounted (capabilities §5.1).
pub const MOUNT_EXIT_CODE: i32 = -1;

impl MountSource {
    /// The code of the error if it cannot be mounted.
    pub fn error_code(&self) -> &'static str {
        match self {
            Self::FileServer(_) => FILE_SERVER_ERROR,
            Self::FileShare(_) => FILE_SHARE_ERROR,
            Self::Blobs(_) => BLOBS_ERROR,
            Self::Command(_) => COMMAND_ERROR,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{NfsServer, SizeLimit};

    fn server(path: &str, options: Option<&str>) -> PlannedMount {
        PlannedMount {
            relative_path: path.into(),
            source: MountSource::FileServer(FileServerSource {
                name: "f".into(),
                uid: FileServerUid::new("f1"),
                node: NodeName::new("n1"),
                address: "10.0.0.1".into(),
                point: ExportPoint {
                    server: NfsServer::Kernel,
                    path: "/srv".into(),
                    nfs_port: 2049,
                    mount_port: None,
                    versions: vec!["4.2".into()],
                    size_limit: SizeLimit {
                        in_force: false,
                        note: String::new(),
                    },
                },
                directory: None,
                options: options.map(str::to_owned),
            }),
        }
    }

    fn command(path: &str) -> PlannedMount {
        PlannedMount {
            relative_path: path.into(),
            source: MountSource::Command("mount x".into()),
        }
    }

    #[test]
    fn what_nodes_share_is_the_first_file_server_that_can_be_written_to() {
        let mut mounts = PlannedMounts {
            cluster: vec![command("a"), server("b", Some("noatime, ro"))],
            job: vec![server("c/", Some("rw"))],
        };
        assert_eq!(mounts.shared_between_nodes(), Some((MountRoot::Job, "c")));
        mounts.cluster.push(server("d", None));
        assert_eq!(
            mounts.shared_between_nodes(),
            Some((MountRoot::Cluster, "d"))
        );
        assert_eq!(PlannedMounts::default().shared_between_nodes(), None);
    }
}
