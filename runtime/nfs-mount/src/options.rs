//! The command line.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use clap::Parser;

/// Mounts a directory of an NFS server in user space.
#[derive(Clone, Debug, Parser)]
#[command(name = "lote nfs-mount")]
pub(crate) struct Options {
    /// The server's address
    #[arg(long)]
    pub(crate) server: IpAddr,
    /// Where it serves NFS version 3
    #[arg(long, default_value_t = 2049, value_name = "PORT")]
    pub(crate) port: u16,
    /// Where it serves the mount protocol
    #[arg(long, value_name = "PORT")]
    pub(crate) mount_port: u16,
    /// The exported directory, as the server names it
    #[arg(long, value_name = "PATH")]
    pub(crate) export: String,
    /// A directory below the export, which is mounted in its place
    #[arg(long, value_name = "PATH", value_parser = below)]
    pub(crate) directory: Option<String>,
    /// Refuses every change
    #[arg(long)]
    pub(crate) read_only: bool,
    /// How long the server may take to answer the first time, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// An existing directory
    pub(crate) mountpoint: PathBuf,
}

impl Options {
    /// Reads the command line of the hidden subcommand; the program's name, and the subcommand if it is there, are passed over.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        if arguments
            .get(1)
            .is_some_and(|argument| argument == crate::NFS_MOUNT_SUBCOMMAND)
        {
            arguments.remove(1);
        }
        Self::try_parse_from(arguments)
    }

    pub(crate) fn nfs_address(&self) -> SocketAddr {
        SocketAddr::new(self.server, self.port)
    }

    pub(crate) fn mount_address(&self) -> SocketAddr {
        SocketAddr::new(self.server, self.mount_port)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The mounted directory as the server names it.
    pub(crate) fn path(&self) -> String {
        match &self.directory {
            Some(directory) => format!("{}/{directory}", self.export.trim_end_matches('/')),
            None => self.export.clone(),
        }
    }

    /// What stands in `/proc/mounts`.
    pub(crate) fn source(&self) -> String {
        match self.server {
            IpAddr::V4(address) => format!("{address}:{}", self.path()),
            IpAddr::V6(address) => format!("[{address}]:{}", self.path()),
        }
    }
}

/// A path that stays below the export.
fn below(text: &str) -> Result<String, String> {
    let path = Path::new(text);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if text.is_empty() || !plain {
        return Err("it must be a relative path without '..'".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, clap::Error> {
        Options::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_directory_is_joined_to_the_export() {
        let options = read(
            "lote nfs-mount --server 10.0.0.1 --mount-port 20048 --export /srv/x/ --directory a/b/ /mnt",
        );
        let options = options.unwrap();
        assert_eq!(options.path(), "/srv/x/a/b");
        assert_eq!(options.source(), "10.0.0.1:/srv/x/a/b");
        assert_eq!(options.nfs_address().port(), 2049);
    }

    #[test]
    fn a_directory_outside_the_export_is_refused() {
        for directory in ["../x", "a/../../x", "/x", "./a"] {
            let line = format!(
                "lote --server ::1 --mount-port 1 --export /srv --directory {directory} /mnt"
            );
            assert!(read(&line).is_err(), "{directory}");
        }
    }
}
