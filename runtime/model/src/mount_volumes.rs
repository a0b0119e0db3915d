//! File systems that a job or a cluster mounts (capabilities §3.9).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::job::ResourceReference;
use crate::path::ChildPath;
use crate::planned_mount::is_writable;
use crate::problem::Problem;
use crate::request_check::{length, optional_text, text};

/// The longest relative mount path: with the roots of a node before it, a path
/// below it still fits into what the kernel takes.
pub const MOUNT_PATH_LENGTH_MAX: usize = 255;

/// `mountVolumes`: four lists, all optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MountVolumes {
    /// SMB shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub azure_file_shares: Vec<AzureFileShare>,
    /// Containers of blobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub azure_blob_file_systems: Vec<AzureBlobFileSystem>,
    /// File servers of Lote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file_servers: Vec<FileServerMount>,
    /// Whatever a command of the user's mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmanaged_file_systems: Vec<UnmanagedFileSystem>,
}

/// `credentials` without its secret: an empty object, which clients rely on,
/// because they write the key back into it before they submit an answer again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageCredentials {}

/// An element of `azureFileShares`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureFileShare {
    /// The storage account.
    pub account_name: String,
    /// The URL of the share.
    pub azure_file_url: String,
    /// What is left of the credentials.
    pub credentials: StorageCredentials,
    /// Where it is mounted, below the mount root.
    pub relative_mount_path: String,
    /// The mode of files, octal.
    #[serde(default = "mode_default")]
    pub file_mode: String,
    /// The mode of directories, octal.
    #[serde(default = "mode_default")]
    pub directory_mode: String,
}

fn mode_default() -> String {
    "0777".to_owned()
}

/// An element of `azureBlobFileSystems`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureBlobFileSystem {
    /// The storage account.
    pub account_name: String,
    /// The container.
    pub container_name: String,
    /// What is left of the credentials.
    pub credentials: StorageCredentials,
    /// Where it is mounted, below the mount root.
    pub relative_mount_path: String,
    /// Options of the mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_options: Option<String>,
}

/// An element of `fileServers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileServerMount {
    /// The file server.
    pub file_server: ResourceReference,
    /// Which directory of it; the whole when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_directory: Option<String>,
    /// Where it is mounted, below the mount root.
    pub relative_mount_path: String,
    /// Options of the mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_options: Option<String>,
}

impl FileServerMount {
    /// Whether jobs can write to it.
    pub fn is_writable(&self) -> bool {
        is_writable(self.mount_options.as_deref())
    }
}

/// An element of `unmanagedFileSystems`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnmanagedFileSystem {
    /// The command; the absolute mount path is appended to it.
    pub mount_command: String,
    /// Where it is mounted, below the mount root.
    pub relative_mount_path: String,
}

impl MountVolumes {
    /// Whether there is nothing to mount.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The places of all mounts below the mount root, as the user wrote them.
    pub fn mount_paths(&self) -> impl Iterator<Item = &str> {
        self.paths().map(|(_, _, path)| path)
    }

    /// What is wrong, with targets below `base`.
    pub(crate) fn check(&self, base: &str) -> Vec<Problem> {
        let mut findings = self.check_shares(&format!("{base}/azureFileShares"));
        findings.extend(self.check_containers(&format!("{base}/azureBlobFileSystems")));
        findings.extend(self.check_file_servers(&format!("{base}/fileServers")));
        findings.extend(self.check_unmanaged(&format!("{base}/unmanagedFileSystems")));
        findings.extend(self.check_paths(base));
        findings
    }

    fn check_shares(&self, base: &str) -> Vec<Problem> {
        let mut findings: Vec<Problem> = Vec::new();
        findings.extend(length(base, self.azure_file_shares.len(), "file shares"));
        for (index, share) in self.azure_file_shares.iter().enumerate() {
            let at = |member: &str| format!("{base}/{index}/{member}");
            findings.extend(text(&at("accountName"), &share.account_name));
            findings.extend(url(&at("azureFileUrl"), &share.azure_file_url));
            findings.extend(mode(&at("fileMode"), &share.file_mode));
            findings.extend(mode(&at("directoryMode"), &share.directory_mode));
        }
        findings
    }

    fn check_containers(&self, base: &str) -> Vec<Problem> {
        let mut findings: Vec<Problem> = Vec::new();
        findings.extend(length(
            base,
            self.azure_blob_file_systems.len(),
            "containers",
        ));
        for (index, container) in self.azure_blob_file_systems.iter().enumerate() {
            let at = |member: &str| format!("{base}/{index}/{member}");
            findings.extend(text(&at("accountName"), &container.account_name));
            findings.extend(text(&at("containerName"), &container.container_name));
            let options = container.mount_options.as_ref();
            findings.extend(optional_text(&at("mountOptions"), options));
        }
        findings
    }

    fn check_file_servers(&self, base: &str) -> Vec<Problem> {
        let mut findings: Vec<Problem> = Vec::new();
        findings.extend(length(base, self.file_servers.len(), "file servers"));
        for (index, mount) in self.file_servers.iter().enumerate() {
            let at = |member: &str| format!("{base}/{index}/{member}");
            let id = ChildPath::parse_id(&mount.file_server.id, "fileServers");
            findings.extend(id.err().map(|problem| problem.at(at("fileServer/id"))));
            let directory = mount.source_directory.as_ref();
            findings.extend(optional_text(&at("sourceDirectory"), directory));
            if directory.is_some_and(|path| path.split('/').any(|part| part == "..")) {
                let message = "sourceDirectory must stay on the file server: no '..'";
                findings.push(Problem::invalid(at("sourceDirectory"), message));
            }
            let options = mount.mount_options.as_ref();
            findings.extend(optional_text(&at("mountOptions"), options));
        }
        findings
    }

    fn check_unmanaged(&self, base: &str) -> Vec<Problem> {
        let mut findings: Vec<Problem> = Vec::new();
        findings.extend(length(
            base,
            self.unmanaged_file_systems.len(),
            "file systems",
        ));
        for (index, mount) in self.unmanaged_file_systems.iter().enumerate() {
            let target = format!("{base}/{index}/mountCommand");
            findings.extend(text(&target, &mount.mount_command));
        }
        findings
    }

    /// Every mount has a place of its own.
    fn check_paths(&self, base: &str) -> Vec<Problem> {
        let mut findings = Vec::new();
        let mut seen = BTreeSet::new();
        for (list, index, path) in self.paths() {
            let target = || format!("{base}/{list}/{index}/relativeMountPath");
            let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
            let is_relative = !path.starts_with('/')
                && !parts.is_empty()
                && parts.iter().all(|part| !matches!(*part, "." | ".."));
            if !is_relative || path.chars().any(char::is_control) {
                let message = "relativeMountPath is a path below the mount root: not empty, no leading '/', no '.' or '..'";
                findings.push(Problem::invalid(target(), message));
            } else if path.len() > MOUNT_PATH_LENGTH_MAX {
                let message =
                    format!("relativeMountPath has at most {MOUNT_PATH_LENGTH_MAX} bytes");
                findings.push(Problem::invalid(target(), message));
            } else if !seen.insert(parts) {
                let message = format!("two file systems would be mounted at '{path}'");
                findings.push(Problem::invalid(target(), message));
            }
        }
        findings
    }

    /// Every mount path, with its list and its place there.
    fn paths(&self) -> impl Iterator<Item = (&'static str, usize, &str)> {
        let shares = numbered("azureFileShares", &self.azure_file_shares, |mount| {
            &mount.relative_mount_path
        });
        let containers = &self.azure_blob_file_systems;
        let containers = numbered("azureBlobFileSystems", containers, |mount| {
            &mount.relative_mount_path
        });
        let servers = numbered("fileServers", &self.file_servers, |mount| {
            &mount.relative_mount_path
        });
        let unmanaged = &self.unmanaged_file_systems;
        let unmanaged = numbered("unmanagedFileSystems", unmanaged, |mount| {
            &mount.relative_mount_path
        });
        shares.chain(containers).chain(servers).chain(unmanaged)
    }
}

fn numbered<'a, T>(
    list: &'static str,
    mounts: &'a [T],
    path: fn(&'a T) -> &'a str,
) -> impl Iterator<Item = (&'static str, usize, &'a str)> {
    let mounts = mounts.iter().enumerate();
    mounts.map(move |(index, mount)| (list, index, path(mount)))
}

fn url(target: &str, value: &str) -> Option<Problem> {
    let has_host = value.split_once("://").is_some_and(|(scheme, rest)| {
        matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.starts_with('/')
    });
    text(target, value).or_else(|| {
        let message = "azureFileUrl must be a URL, such as https://ACCOUNT.file.HOST/SHARE";
        (!has_host).then(|| Problem::invalid(target, message))
    })
}

fn mode(target: &str, value: &str) -> Option<Problem> {
    let is_octal =
        (3..=4).contains(&value.len()) && value.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    (!is_octal)
        .then(|| Problem::invalid(target, "a mode is three or four octal digits, such as 0777"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::body;

    fn findings(list: &str, element: &Value) -> Vec<String> {
        let volumes: MountVolumes = body::typed(json!({list: [element]}), "/m").unwrap();
        let problems = volumes.check("/m").into_iter();
        problems.filter_map(|problem| problem.target).collect()
    }

    fn with(mut element: Value, member: &str, value: &str) -> Value {
        element[member] = json!(value);
        element
    }

    fn share() -> Value {
        json!({"accountName": "a", "azureFileUrl": "https://a.file.example/s",
            "credentials": {}, "relativeMountPath": "logs"})
    }

    #[test]
    fn defaults_are_written_back() {
        let volumes: MountVolumes =
            body::typed(json!({"azureFileShares": [share()]}), "/m").unwrap();
        assert_eq!(volumes.check("/m"), []);
        insta::assert_json_snapshot!(volumes);
    }

    #[test]
    fn every_slip_is_pointed_at() {
        for (member, value) in [
            ("accountName", ""),
            ("azureFileUrl", "a.file.example/s"),
            ("azureFileUrl", "https:///s"),
            ("fileMode", "777x"),
            ("fileMode", "7"),
            ("directoryMode", "0888"),
            ("relativeMountPath", ""),
            ("relativeMountPath", "/logs"),
            ("relativeMountPath", "a/../b"),
            ("relativeMountPath", "."),
            ("relativeMountPath", "a\0"),
        ] {
            let found = findings("azureFileShares", &with(share(), member, value));
            assert_eq!(
                found,
                [format!("/m/azureFileShares/0/{member}")],
                "{member} {value:?}"
            );
        }
        let server = json!({"fileServer": {"id": "/v1/groups/g/workspaces/w/fileServers/f"},
            "relativeMountPath": "nfs", "sourceDirectory": "a/..", "mountOptions": "rw"});
        assert_eq!(
            findings("fileServers", &server),
            ["/m/fileServers/0/sourceDirectory"]
        );
        let other = json!({"fileServer": {"id": "/v1/groups/g/workspaces/w/clusters/f"},
            "relativeMountPath": "nfs"});
        assert_eq!(
            findings("fileServers", &other),
            ["/m/fileServers/0/fileServer/id"]
        );
        let unmanaged = json!({"mountCommand": " ", "relativeMountPath": "gluster"});
        assert_eq!(
            findings("unmanagedFileSystems", &unmanaged),
            ["/m/unmanagedFileSystems/0/mountCommand"]
        );
    }

    #[test]
    fn two_mounts_have_two_places() {
        let blob = json!({"accountName": "a", "containerName": "c", "credentials": {},
            "relativeMountPath": "logs/"});
        let both = json!({"azureFileShares": [share()], "azureBlobFileSystems": [blob]});
        let volumes: MountVolumes = body::typed(both, "/m").unwrap();
        let found = volumes.check("/m");
        assert_eq!(
            found[0].target.as_deref(),
            Some("/m/azureBlobFileSystems/0/relativeMountPath")
        );
    }

    #[test]
    fn what_is_required_is_missed() {
        for member in [
            "accountName",
            "azureFileUrl",
            "credentials",
            "relativeMountPath",
        ] {
            let mut share = share();
            share.as_object_mut().unwrap().remove(member);
            let error = body::typed::<MountVolumes>(json!({"azureFileShares": [share]}), "/m");
            assert!(error.unwrap_err().message.contains(member));
        }
    }
}
