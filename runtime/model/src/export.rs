//! From the leader to the node that serves a file server, and back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{FileServerUid, UnixId};
use crate::job::ErrorRecord;
use crate::path::ChildPath;

/// What a node is to export: `exports/{node}/{file server uid}`. It exists from the
/// choice of the node until the file server is erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// The file server.
    pub file_server: ChildPath,
    /// Its unique id.
    pub uid: FileServerUid,
    /// Whose the exported directory is: the user of its workspace.
    pub owner: UnixId,
    /// Where its files lie.
    pub storage: ExportStorage,
    /// How much its files may take together, in bytes.
    pub size_limit_bytes: u64,
    /// The addresses that may mount it, sorted: those of the nodes.
    pub clients: Vec<String>,
    /// What the node shall do with it.
    pub phase: ExportPhase,
}

/// Where the files of a file server lie on its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExportStorage {
    /// In a directory of its own, below the first one that the operator set aside.
    Own,
    /// In this directory, which must be one that the operator set aside, or below one.
    Directory(String),
    /// On these block devices, which must be among those that the operator listed; several are
    /// striped (RAID 0).
    Disks {
        /// Their paths, such as `/dev/disk/by-id/…`.
        paths: Vec<String>,
        /// Whether a file system that is on one of them may be erased.
        erase: bool,
    },
}

/// What a node shall do with an export; only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExportPhase {
    /// Make it and keep it up.
    Serve,
    /// Serve it no more; no node has it mounted by now.
    Withdraw {
        /// Whether its files are removed too.
        erase: bool,
    },
}

/// What has become of an export: `exported/{node}/{file server uid}`, written by that node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportReport {
    /// The file server.
    pub uid: FileServerUid,
    /// How far it is.
    pub state: ExportState,
    /// How full it is; none if there is no telling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<StorageUsage>,
    /// When it was written.
    pub reported_at: Timestamp,
}

/// How far an export is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExportState {
    /// It can be mounted.
    Serving(ExportPoint),
    /// It cannot be served; the node tries again.
    Failed(ErrorRecord),
    /// It is served no more, and erased if that was asked for.
    Withdrawn,
}

/// What a client needs to mount an export, beside the node's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportPoint {
    /// Who answers.
    pub server: NfsServer,
    /// The exported directory: on its node, and as clients name it.
    pub path: String,
    /// The TCP port of the NFS service.
    pub nfs_port: u16,
    /// The TCP port of the MOUNT service that version 3 needs; none without version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_port: Option<u16>,
    /// The protocol versions, newest first: `4.2`, `4.1`, `3`.
    pub versions: Vec<String>,
    /// Whether the kernel holds it to its size limit, and how, or why not.
    pub size_limit: SizeLimit,
}

/// Who answers the clients of a file server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NfsServer {
    /// The server of the node's kernel.
    Kernel,
    /// NFS-Ganesha, where the kernel has none.
    Ganesha,
}

/// Whether a size limit is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SizeLimit {
    /// Whether writing more fails.
    pub in_force: bool,
    /// How, or why not.
    pub note: String,
}

/// How full a file server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageUsage {
    /// What its files take, in bytes.
    pub used_bytes: u64,
    /// What can still be written, in bytes.
    pub free_bytes: u64,
}
