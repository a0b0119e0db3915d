//! The file systems of jobs: mounted before a job's processes, shown to them alone, unmounted
//! after them.
//!
//! * [`layout`] — where everything is, on the host and as the job sees it; pure.
//! * [`location`] — where a job's directories lie when its mounts are gone; pure.
//! * [`options`] — mount options that users may set; pure.
//! * [`command_line`] — the commands that mount something; pure.
//! * [`table`] — what stands for the shares and containers of the original service; pure but for
//!   its reading.
//! * [`failure`] — why something was not mounted, for people; pure.
//! * [`kernel`] — mounting, unmounting, and what is mounted.
//! * [`nfs_client`] — how this node mounts file servers of others.
//! * [`client`] — Lote's own NFS client, a process that outlives the daemon.
//! * [`state`] — what the next daemon must know.
//! * [`making`] — mounts all that a job asks for; [`leaving`] — unmounts it.
//! * [`loss`] — notices that a file system of a running job is gone.
//! * [`scratch`] — the directory that the nodes of a gang share.
//!
//! What this module must never do: mount at a place that anybody but root can replace, follow a
//! link that a user made with root's rights, wait for a file system without a limit, or remove
//! anything that is not on its own file system in memory.

mod client;
mod command_line;
mod failure;
mod kernel;
mod layout;
mod leaving;
mod location;
mod loss;
mod making;
mod nfs_client;
mod options;
pub(crate) mod scratch;
mod state;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lote_model::node::Capability;
use lote_model::problem::explain;

use table::StorageTable;

pub use client::NfsClientCommand;
pub(crate) use kernel::bounded;
pub(crate) use layout::{Layout, MOUNTS, Placed};
pub(crate) use leaving::{close as close_area, detach_below, leave, open as open_area};
pub(crate) use location::location;
pub(crate) use loss::{loss, lost};
pub(crate) use making::{Keys, Making};
pub(crate) use nfs_client::versions as nfs_client_versions;
pub(crate) use state::{Made, read as known};

/// How long a file system may take to be mounted, unless the operator says otherwise.
pub const TIME_LIMIT_DEFAULT: Duration = Duration::from_mins(1);

/// What the operator says of the file systems of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountConfig {
    /// The table of what stands for shares and containers.
    pub storage_table: Option<PathBuf>,
    /// Whether mount commands of users are run, as root.
    pub allow_commands: bool,
    /// How long each file system may take.
    pub time_limit: Duration,
    /// The NFS client for nodes whose kernel has none.
    pub nfs_client: NfsClientCommand,
}

impl Default for MountConfig {
    fn default() -> Self {
        Self {
            storage_table: None,
            allow_commands: false,
            time_limit: TIME_LIMIT_DEFAULT,
            nfs_client: NfsClientCommand::current_executable(),
        }
    }
}

/// What a node can mount for jobs, and what it cannot.
pub(crate) fn capabilities(config: &MountConfig) -> Vec<Capability> {
    let commands = Capability {
        name: "mount commands".into(),
        in_force: config.allow_commands,
        note: if config.allow_commands {
            "those of users are run, as root".into()
        } else {
            "those of users are not run without --allow-mount-commands".into()
        },
    };
    let table = config.storage_table.as_ref().map(|path| {
        let (in_force, note) = match StorageTable::read(path) {
            Ok(table) => (
                true,
                format!("{} entries for shares and containers", table.len()),
            ),
            Err(error) => (false, explain(&error)),
        };
        Capability {
            name: "storage table".into(),
            in_force,
            note,
        }
    });
    let client = nfs_client::capability();
    [client, commands].into_iter().chain(table).collect()
}

/// The directory without links on its way, as the kernel names what is mounted there.
pub(crate) fn resolved(directory: &Path) -> PathBuf {
    std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_what_it_can_mount() {
        let config = |storage_table: Option<&str>, allow_commands| MountConfig {
            storage_table: storage_table.map(PathBuf::from),
            allow_commands,
            ..MountConfig::default()
        };
        let of = |config: &MountConfig, name: &str| {
            let mut found = capabilities(config).into_iter();
            found.find(|found| found.name == name)
        };
        let plain = config(None, false);
        assert_eq!(of(&plain, "storage table"), None);
        let commands = of(&plain, "mount commands").unwrap();
        assert!(!commands.in_force && commands.note.contains("--allow-mount-commands"));
        let broken = config(Some("/none/such"), true);
        assert!(of(&broken, "mount commands").unwrap().in_force);
        let table = of(&broken, "storage table").unwrap();
        assert!(
            !table.in_force && table.note.contains("/none/such"),
            "{table:?}"
        );
    }
}
