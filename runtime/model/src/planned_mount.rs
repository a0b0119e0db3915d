//! File systems that a node mounts for a job: what is planned for [`MountVolumes`], with all
//! that the cluster knows of it filled in.
//!
//! [`MountVolumes`]: crate::mount_volumes::MountVolumes

use serde::{Deserialize, Serialize};

use crate::export::ExportPoint;
use crate::id::{FileServerUid, NodeName};
use crate::mount_volumes::{FileServerMount, MountVolumes};
use crate::plan::Mount;

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
    /// What the nodes of a gang share that mounts no file server to write to.
    #[serde(default, skip_serializing_if = "GangShare::is_none")]
    pub share: GangShare,
}

/// What the nodes of a gang share beside file servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GangShare {
    /// Nothing, because they need nothing: there is one node only, or a file server.
    #[default]
    None,
    /// Nothing, although they need it, and why.
    Lacks(String),
    /// A directory that the first node serves to the others for as long as the job is there.
    Directory(Box<FileServerSource>),
}

impl GangShare {
    /// Whether there is none and needs to be none.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl PlannedMounts {
    /// Whether there is nothing to mount.
    pub fn is_empty(&self) -> bool {
        self.cluster.is_empty() && self.job.is_empty() && self.share().is_none()
    }

    /// Whether there is nothing to mount, and nothing to say about that.
    pub fn says_nothing(&self) -> bool {
        self.is_empty() && self.share.is_none()
    }

    /// The directory that the first node serves to the others, if there is one.
    pub fn share(&self) -> Option<&FileServerSource> {
        match &self.share {
            GangShare::Directory(source) => Some(source.as_ref()),
            GangShare::None | GangShare::Lacks(_) => None,
        }
    }

    /// Below which mount the nodes of a job share what they write: the first file server
    /// that can be written to, of the cluster's before the job's. Its root, and its path below it.
    pub fn shared_between_nodes(&self) -> Option<(MountRoot, &str)> {
        let of = |root: MountRoot| {
            let mounts = match root {
                MountRoot::Cluster => &self.cluster,
                MountRoot::Job => &self.job,
                MountRoot::Own => return None,
            };
            let found = mounts
                .iter()
                .find(|mount| mount.is_writable_file_server())?;
            Some((root, found.relative_path.trim_matches('/')))
        };
        of(MountRoot::Cluster).or_else(|| of(MountRoot::Job))
    }
}

/// Below which root a file system is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MountRoot {
    /// `AZ_BATCHAI_MOUNT_ROOT`.
    Cluster,
    /// `AZ_BATCHAI_JOB_MOUNT_ROOT`.
    Job,
    /// The job's own directory on the node: what its nodes share.
    Own,
}

/// Plans the mounts of `volumes`: first what comes from the operator's table, then file servers,
/// which `file_server` looks up, then what the user's own commands mount. The first file server
/// that cannot be mounted ends it.
pub fn plan_mounts<E>(
    volumes: &MountVolumes,
    mut file_server: impl FnMut(&FileServerMount) -> Result<FileServerSource, E>,
) -> Result<Vec<PlannedMount>, E> {
    let shares = volumes.azure_file_shares.iter().map(|share| {
        let source = MountSource::FileShare(FileShareSource {
            account: share.account_name.clone(),
            url: share.azure_file_url.clone(),
            file_mode: share.file_mode.clone(),
            directory_mode: share.directory_mode.clone(),
        });
        PlannedMount::new(&share.relative_mount_path, source)
    });
    let containers = volumes.azure_blob_file_systems.iter().map(|container| {
        let source = MountSource::Blobs(BlobsSource {
            account: container.account_name.clone(),
            container: container.container_name.clone(),
            options: container.mount_options.clone(),
        });
        PlannedMount::new(&container.relative_mount_path, source)
    });
    let mut planned: Vec<_> = shares.chain(containers).collect();
    for mount in &volumes.file_servers {
        let source = MountSource::FileServer(file_server(mount)?);
        planned.push(PlannedMount::new(&mount.relative_mount_path, source));
    }
    let commands = volumes.unmanaged_file_systems.iter();
    planned.extend(commands.map(|mount| {
        let source = MountSource::Command(mount.mount_command.clone());
        PlannedMount::new(&mount.relative_mount_path, source)
    }));
    Ok(planned)
}

/// The mounts as a plugin sees them: `paths` below a mount root. Whatever can be mounted shows
/// the same files on all nodes of a job.
pub fn mounts_for_plugin<'a>(
    mount_root: &str,
    paths: impl IntoIterator<Item = &'a str>,
) -> Vec<Mount> {
    let mount = |path: &str| {
        let name = direct(path);
        Mount {
            path: format!("{mount_root}/{name}"),
            name,
            shared: true,
        }
    };
    paths.into_iter().map(mount).collect()
}

/// A relative path without empty parts and detours; empty for the place itself.
fn direct(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

/// Which directory of its file server a mount asks for, as [`FileServerSource`] has it.
pub fn source_directory(mount: &FileServerMount) -> Option<String> {
    let directory = mount.source_directory.as_deref().map(direct)?;
    (!directory.is_empty()).then_some(directory)
}

impl PlannedMount {
    fn new(path: &str, source: MountSource) -> Self {
        Self {
            relative_path: direct(path),
            source,
        }
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

impl PlannedMount {
    fn is_writable_file_server(&self) -> bool {
        let MountSource::FileServer(source) = &self.source else {
            return false;
        };
        is_writable(source.options.as_deref())
    }
}

/// Whether these options of a file server leave it writable.
pub(crate) fn is_writable(options: Option<&str>) -> bool {
    let mut options = options.unwrap_or_default().split(',');
    !options.any(|option| option.trim() == "ro")
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
    /// The directory that the first node of a gang serves to the others.
    GangShare(FileServerSource),
}

/// The code of a file share that was not mounted.
pub const FILE_SHARE_ERROR: &str = "AZFMountError";
/// The code of a container of blobs that was not mounted.
pub const BLOBS_ERROR: &str = "BFSMountError";
/// The code of a file server that was not mounted.
pub const FILE_SERVER_ERROR: &str = "FileServerMountError";
/// The code of a file system of the user's own that was not mounted.
pub const COMMAND_ERROR: &str = "UnmanagedFileSystemMountError";

/// The code of the directory of a gang that was not served, or not mounted.
pub const GANG_SHARE_ERROR: &str = "SharedDirectoryMountError";

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
            Self::GangShare(_) => GANG_SHARE_ERROR,
        }
    }
}

/// A file server of Lote, or the shared directory of a gang, as its clients need it.
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

impl FileServerSource {
    /// What clients mount: `ADDRESS:PATH`, down to the directory that was asked for.
    pub fn remote(&self) -> String {
        let export = self.point.remote(&self.address);
        match &self.directory {
            Some(directory) => format!("{export}/{directory}"),
            None => export,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::export::{NfsServer, SizeLimit};

    fn volumes() -> MountVolumes {
        serde_json::from_value(json!({
            "azureFileShares": [{"accountName": "a", "azureFileUrl": "https://a/s", "credentials": {},
                "relativeMountPath": "afs"}],
            "azureBlobFileSystems": [{"accountName": "a", "containerName": "c", "credentials": {},
                "relativeMountPath": "bfs", "mountOptions": "ro"}],
            "fileServers": [{"fileServer": {"id": "f"}, "relativeMountPath": "nfs//data/",
                "sourceDirectory": "/in/"}],
            "unmanagedFileSystems": [{"mountCommand": "mount -t x y", "relativeMountPath": "x"}],
        }))
        .unwrap()
    }

    fn source(mount: &FileServerMount) -> FileServerSource {
        FileServerSource {
            name: mount.file_server.id.clone(),
            uid: FileServerUid::new("u"),
            node: NodeName::new("n"),
            address: "10.0.0.4".into(),
            point: ExportPoint {
                server: NfsServer::Kernel,
                path: "/srv/f".into(),
                nfs_port: 2049,
                mount_port: None,
                versions: vec!["4.2".into()],
                size_limit: SizeLimit {
                    in_force: true,
                    note: "project quota".into(),
                },
            },
            directory: source_directory(mount),
            options: mount.mount_options.clone(),
        }
    }

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
    fn all_four_kinds_are_planned_in_order() {
        let planned = plan_mounts(&volumes(), |mount| Ok::<_, ()>(source(mount))).unwrap();
        insta::assert_json_snapshot!(planned);
        let MountSource::FileServer(server) = &planned[2].source else {
            panic!("{planned:?}")
        };
        assert_eq!(server.remote(), "10.0.0.4:/srv/f/in");
    }

    #[test]
    fn the_whole_file_server_has_no_directory() {
        let mut mount = volumes().file_servers.remove(0);
        for whole in [None, Some("/"), Some("./"), Some("")] {
            mount.source_directory = whole.map(str::to_owned);
            assert_eq!(source_directory(&mount), None, "{whole:?}");
        }
    }

    #[test]
    fn a_file_server_that_cannot_be_mounted_ends_it() {
        assert_eq!(plan_mounts(&volumes(), |_| Err("gone")), Err("gone"));
    }

    #[test]
    fn plugins_are_told_names_and_paths() {
        let mounts = mounts_for_plugin("/m", volumes().mount_paths());
        let told: Vec<_> = mounts.iter().map(|it| (&*it.name, &*it.path)).collect();
        assert_eq!(
            told,
            [
                ("afs", "/m/afs"),
                ("bfs", "/m/bfs"),
                ("nfs/data", "/m/nfs/data"),
                ("x", "/m/x")
            ]
        );
    }

    #[test]
    fn what_nodes_share_is_the_first_file_server_that_can_be_written_to() {
        let mut mounts = PlannedMounts {
            cluster: vec![command("a"), server("b", Some("noatime, ro"))],
            job: vec![server("c/", Some("rw"))],
            ..PlannedMounts::default()
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
