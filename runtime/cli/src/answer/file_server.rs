//! File servers, logins and usages.

use jiff::Timestamp;
use lote_model::export::StorageUsage;
use lote_model::file_server::MountSettings;
use lote_model::job::ErrorRecord;
use serde::Deserialize;

use super::{Resource, or_default};
use crate::transfer::Stamp;

/// A file server.
pub type FileServer = Resource<FileServerMembers>;

/// `properties` of a file server.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileServerMembers {
    /// The size label of its node.
    pub vm_size: String,
    /// Its disks.
    #[serde(default, deserialize_with = "or_default")]
    pub data_disks: Disks,
    /// How far it is with coming to be or going away.
    #[serde(default)]
    pub provisioning_state: String,
    /// When it was asked for.
    #[serde(default)]
    pub creation_time: Option<Timestamp>,
    /// Where it is mounted from, once it is ready.
    #[serde(default)]
    pub mount_settings: Option<MountSettings>,
    /// What Batch AI has no word for.
    #[serde(default, deserialize_with = "or_default")]
    pub lote: FileServerExtensions,
}

/// `dataDisks`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Disks {
    /// How many.
    pub disk_count: u32,
    /// The size of each in GB.
    #[serde(rename = "diskSizeInGB")]
    pub disk_size_in_gb: u32,
    /// The kind of storage behind them.
    pub storage_account_type: String,
    /// How they are cached.
    pub caching_type: String,
}

/// `lote` of a file server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileServerExtensions {
    /// Why it failed, or what it waits for.
    #[serde(deserialize_with = "or_default")]
    pub errors: Vec<ErrorRecord>,
    /// The node that serves it.
    pub node: Option<String>,
    /// The directory that was asked for.
    pub directory: Option<String>,
    /// The disks that were asked for.
    #[serde(deserialize_with = "or_default")]
    pub disks: Vec<String>,
    /// Who answers its clients, while it is served.
    pub server: Option<String>,
    /// The protocol versions that are served.
    #[serde(deserialize_with = "or_default")]
    pub versions: Vec<String>,
    /// The TCP port of the NFS service.
    pub nfs_port: Option<u16>,
    /// A line that mounts it.
    pub mount_command: Option<String>,
    /// How much its files may take.
    pub size_limit: Option<FileServerLimit>,
    /// How full it is.
    pub usage: Option<StorageUsage>,
}

/// How much the files of a file server may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileServerLimit {
    /// How much, in bytes.
    pub bytes: u64,
    /// Whether writing more fails; none until its node has said.
    pub in_force: Option<bool>,
    /// How, or why not.
    pub note: Option<String>,
}

/// A file, directory or link on a file server.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerFile {
    /// Its name in its directory.
    pub name: String,
    /// Whether the name is only shown, because it is not UTF-8.
    #[serde(default)]
    pub name_is_not_utf8: bool,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ServerFileKind,
    /// The length of a file in bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// When it was last written.
    pub modified: Timestamp,
    /// Its permissions in octal digits.
    pub mode: String,
    /// What tells its state from others.
    #[serde(default)]
    pub etag: Option<String>,
    /// Where a link leads.
    #[serde(default)]
    pub target: Option<String>,
}

impl ServerFile {
    /// Size and time of a file; none of anything else.
    pub fn stamp(&self) -> Option<Stamp> {
        let (size, modified) = (self.size?, self.modified);
        Some(Stamp { size, modified })
    }
}

/// What a name on a file server stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerFileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Something that cannot be fetched.
    #[serde(other)]
    Other,
}

/// Where to log in to a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// The node.
    pub node_id: String,
    /// Its address.
    #[serde(default)]
    pub ip_address: String,
    /// The port of its SSH server.
    #[serde(default)]
    pub port: u16,
}

/// How much there is of something.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// How much there is.
    pub current_value: u64,
    /// How much there can be.
    pub limit: u64,
    /// Of what.
    pub name: UsageName,
}

/// `name` of a usage.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageName {
    /// For people.
    pub localized_value: String,
}
