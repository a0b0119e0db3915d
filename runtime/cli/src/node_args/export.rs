//! How a machine exports file servers.

use std::path::{Component, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;

/// The port of NFS.
const NFS_PORT: u16 = 2049;

/// The port that is registered for the MOUNT service.
const MOUNT_PORT: u16 = 20_048;

/// The options about file servers on this machine; the TOML file has them in a table
/// `[export]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExportArgs {
    /// Which NFS server exports file servers on this machine [default: auto]
    #[arg(long, value_enum)]
    pub nfs_server: Option<NfsServer>,
    /// The TCP port that NFS-Ganesha serves at [default: 2049]
    #[arg(long, value_name = "PORT")]
    pub nfs_port: Option<u16>,
    /// The TCP port of the MOUNT service that NFS version 3 needs [default: 20048]
    #[arg(long, value_name = "PORT")]
    pub nfs_mount_port: Option<u16>,
    /// A directory in which file servers may have their files; may be repeated. Those that ask for
    /// none get a directory in the first [default: exports in the data directory]
    #[arg(long, value_name = "DIR")]
    pub export_directory: Vec<PathBuf>,
    /// A block device that file servers may have whole; may be repeated
    #[arg(long, value_name = "DEVICE")]
    pub export_disk: Vec<PathBuf>,
}

/// `--nfs-server`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NfsServer {
    /// The kernel's where it runs, else NFS-Ganesha
    #[default]
    Auto,
    /// The kernel's
    Kernel,
    /// NFS-Ganesha
    Ganesha,
}

/// How file servers are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSettings {
    /// By which NFS server.
    pub server: NfsServer,
    /// The port of NFS.
    pub nfs_port: u16,
    /// The port of the MOUNT service.
    pub mount_port: u16,
    /// The directories that are set aside; none for one in the data directory.
    pub directories: Vec<PathBuf>,
    /// The block devices that are set aside.
    pub disks: Vec<PathBuf>,
}

/// One of these options makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// `--export-directory` is relative, or everything.
    #[error("--export-directory '{}' must be an absolute path below / and without '..'", .0.display())]
    Directory(PathBuf),
    /// `--export-disk` leads elsewhere.
    #[error("--export-disk '{}' is no block device; give a path below /dev", .0.display())]
    Disk(PathBuf),
    /// Both services at one port, or none.
    #[error("--nfs-port and --nfs-mount-port must be two different ports, from 1 to 65535")]
    Ports,
}

impl ExportArgs {
    /// These options, then those of the file, then the defaults; directories and disks of both.
    pub(super) fn resolve(self, file: Self) -> Result<ExportSettings, ExportError> {
        let mut directories = file.export_directory;
        directories.extend(self.export_directory);
        let is_no_place = |path: &&PathBuf| {
            let mut parts = path.components().skip(1).peekable();
            let is_root = parts.peek().is_none();
            is_root || !path.is_absolute() || parts.any(|part| part == Component::ParentDir)
        };
        if let Some(path) = directories.iter().find(is_no_place) {
            return Err(ExportError::Directory(path.clone()));
        }
        let mut disks = file.export_disk;
        disks.extend(self.export_disk);
        let is_outside = |path: &&PathBuf| {
            !path.starts_with("/dev") || path.components().any(|part| part == Component::ParentDir)
        };
        if let Some(path) = disks.iter().find(is_outside) {
            return Err(ExportError::Disk(path.clone()));
        }
        let nfs_port = self.nfs_port.or(file.nfs_port).unwrap_or(NFS_PORT);
        let mount_port = self.nfs_mount_port.or(file.nfs_mount_port);
        let mount_port = mount_port.unwrap_or(MOUNT_PORT);
        if nfs_port == mount_port || nfs_port == 0 || mount_port == 0 {
            return Err(ExportError::Ports);
        }
        Ok(ExportSettings {
            server: self.nfs_server.or(file.nfs_server).unwrap_or_default(),
            nfs_port,
            mount_port,
            directories,
            disks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_args::NodeArgs;

    fn settings(text: &str) -> Result<ExportSettings, ExportError> {
        let file: NodeArgs = toml::from_str(text).unwrap();
        ExportArgs::default().resolve(file.export)
    }

    #[test]
    fn nothing_has_to_be_said() {
        let export = settings("").unwrap();
        assert_eq!(export.server, NfsServer::Auto);
        assert_eq!((export.nfs_port, export.mount_port), (2049, 20_048));
        assert!(export.directories.is_empty() && export.disks.is_empty());
    }

    #[test]
    fn places_of_the_line_join_those_of_the_file() {
        let text = "[export]\nnfs-server = 'ganesha'\nnfs-port = 12049\n\
                    export-directory = ['/srv/a']\nexport-disk = ['/dev/sdb']";
        let file: NodeArgs = toml::from_str(text).unwrap();
        let line = ExportArgs {
            nfs_server: Some(NfsServer::Kernel),
            export_directory: vec!["/srv/b".into()],
            ..ExportArgs::default()
        };
        let export = line.resolve(file.export).unwrap();
        let expected = ExportSettings {
            server: NfsServer::Kernel,
            nfs_port: 12_049,
            mount_port: 20_048,
            directories: vec!["/srv/a".into(), "/srv/b".into()],
            disks: vec!["/dev/sdb".into()],
        };
        assert_eq!(export, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let said = |text: &str| {
            settings(&format!("[export]\n{text}"))
                .unwrap_err()
                .to_string()
        };
        for bad in ["/", "srv", "/srv/../etc"] {
            assert!(
                said(&format!("export-directory = ['{bad}']")).contains("below /"),
                "{bad}"
            );
        }
        for bad in ["/srv/disk", "sdb", "/dev/../srv/disk"] {
            assert!(
                said(&format!("export-disk = ['{bad}']")).contains("/dev"),
                "{bad}"
            );
        }
        assert!(said("nfs-port = 20048").contains("different"));
        assert!(said("nfs-port = 0").contains("different"));
    }
}
