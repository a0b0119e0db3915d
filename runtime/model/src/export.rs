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

impl ExportPoint {
    /// What clients mount, `ADDRESS:PATH`, on a node of this address.
    pub fn remote(&self, address: &str) -> String {
        let is_ipv6 = address.contains(':');
        let (open, close) = if is_ipv6 { ("[", "]") } else { ("", "") };
        format!("{open}{address}{close}:{}", self.path)
    }

    /// The options with which a kernel mounts it, by the newest version.
    pub fn mount_options(&self) -> String {
        let version = self.versions.first().map_or("4.2", String::as_str);
        let options = format!("vers={version},port={}", self.nfs_port);
        match self.mount_port {
            Some(port) if version.starts_with('3') => {
                format!("{options},proto=tcp,mountproto=tcp,mountport={port},nolock")
            }
            _ => options,
        }
    }

    /// A line that mounts it at `/mnt`, for people.
    pub fn mount_command(&self, address: &str) -> String {
        let (options, remote) = (self.mount_options(), self.remote(address));
        let remote = shell_word(&remote);
        format!("mount -t nfs -o {options} {remote} /mnt")
    }
}

/// A word as a shell reads it literally.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
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

/// Whether a node can serve files to others, as its record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NfsAbility {
    /// It can, in this way.
    Serves(NfsService),
    /// It cannot, and why not.
    Lacks(String),
}

/// How a node serves files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NfsService {
    /// Who answers.
    pub server: NfsServer,
    /// The TCP port of the NFS service.
    pub nfs_port: u16,
    /// The TCP port of the MOUNT service that version 3 needs; none without version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_port: Option<u16>,
    /// The protocol versions, newest first.
    pub versions: Vec<String>,
    /// Where directories are that it shares with the other nodes of a gang.
    pub shares: SharePlace,
}

/// Where a node keeps directories that it shares with the other nodes of a gang.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SharePlace {
    /// Below this directory, which has no symbolic links on its way.
    Below(String),
    /// It shares none, and why not.
    Lacks(String),
}

impl NfsService {
    /// What clients need to mount the shared directory of this name, if there are such.
    pub fn share(&self, name: &str) -> Result<ExportPoint, &str> {
        match &self.shares {
            SharePlace::Below(place) => Ok(ExportPoint {
                server: self.server,
                path: format!("{place}/{name}"),
                nfs_port: self.nfs_port,
                mount_port: self.mount_port,
                versions: self.versions.clone(),
                size_limit: SizeLimit {
                    in_force: false,
                    note: "as much as the job's own directory on that node".into(),
                },
            }),
            SharePlace::Lacks(why) => Err(why),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn point(versions: &[&str], path: &str) -> ExportPoint {
        ExportPoint {
            server: NfsServer::Ganesha,
            path: path.into(),
            nfs_port: 2049,
            mount_port: Some(2050),
            versions: versions.iter().map(|it| (*it).to_owned()).collect(),
            size_limit: SizeLimit {
                in_force: false,
                note: "no quota".into(),
            },
        }
    }

    #[test]
    fn people_are_told_a_line_to_paste() {
        for (point, address, line) in [
            (
                point(&["4.2", "3"], "/srv/x"),
                "10.0.0.4",
                "mount -t nfs -o vers=4.2,port=2049 10.0.0.4:/srv/x /mnt",
            ),
            (
                point(&["3"], "/srv/x"),
                "10.0.0.4",
                "mount -t nfs -o vers=3,port=2049,proto=tcp,mountproto=tcp,mountport=2050,nolock 10.0.0.4:/srv/x /mnt",
            ),
            (
                point(&["4.1"], "/srv/a b'"),
                "fd00::4",
                r"mount -t nfs -o vers=4.1,port=2049 '[fd00::4]:/srv/a b'\''' /mnt",
            ),
        ] {
            assert_eq!(point.mount_command(address), line);
        }
    }
}
