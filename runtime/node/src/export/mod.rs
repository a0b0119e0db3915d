//! The node as a file server: what the leader wants exported is exported, and reported.
//!
//! ```text
//! exports/{node}/ ──following──▶ manager ──▶ directory, disk, quota   the place of the files
//!                                   │   └──▶ ganesha | kernel         who serves them
//!                     measure ◀─────┤
//! exported/{node}/ ◀──reports◀──────┘
//! ```
//!
//! * `following` — the exports of this node, as they are in the store.
//! * `manager` — brings about what is wanted, again and again.
//! * `ledger` — what must not change over restarts: numbers of exports, their places.
//! * `ability` — whether and how this node serves, for its record.
//! * `shares` — directories that jobs share, which no leader stores.
//! * `choice` — which NFS server there is; pure.
//! * `directory` — the directory of an export, inside what the operator set aside.
//! * `disk`, `disk_plan` — disks that the operator set aside; the plan is pure.
//! * `at_boot` — mounts them before the kernel's server starts.
//! * `quota` — project quotas, which hold a directory to its size.
//! * `ganesha`, `ganesha_config` — NFS-Ganesha as a process that outlives the daemon; its
//!   configuration is pure.
//! * `helper` — the process that becomes Ganesha, in a root and with an `rpcbind` of its own.
//! * `places` — what Ganesha sees of this machine's files: a mount for each export.
//! * `kernel` — the kernel's server, told by `exportfs`.
//! * `probe` — asks the server for an export as a client would; how it is known to be served.
//! * `measure` — how full exports are.
//! * `reports` — writes what has become of the exports.
//! * `tool`, `files` — commands of the system, and files that must survive a power failure.
//!
//! What must stay true here: nothing is served that is neither in the store nor asked for by a job
//! that is here; a disk that the operator
//! did not list is never opened for writing; nothing outside the export's directory is removed; the
//! server goes on without the daemon, and the next daemon finds it.

mod ability;
mod at_boot;
mod choice;
mod directory;
mod disk;
mod disk_plan;
mod following;
mod ganesha;
mod ganesha_config;
mod helper;
mod kernel;
mod ledger;
mod manager;
mod measure;
mod mount_table;
mod places;
mod probe;
mod quota;
mod reports;
mod shares;
mod tool;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lote_model::export::{ExportPoint, NfsAbility, NfsServer, NfsService, SharePlace};
use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;
use lote_model::node::Capability;
use lote_model::problem::explain;
use lote_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use probe::Answer;

use crate::directories::PathError;

pub(crate) use ability::{Asked, ability};
pub use at_boot::{MOUNT_EXPORTS_SUBCOMMAND, mount_exports_main};
pub use helper::{NFS_SERVER_SUBCOMMAND, RPCBIND_SUBCOMMAND, nfs_server_main, rpcbind_main};
pub(crate) use shares::Shares;

/// The port of NFS, unless told otherwise.
pub const NFS_PORT_DEFAULT: u16 = 2049;

/// The port of version 3's MOUNT service, unless told otherwise; the one that is registered for
/// it.
pub const MOUNT_PORT_DEFAULT: u16 = 20_048;

/// Where exports go if the operator names no place, in the data directory.
const EXPORTS: &str = "exports";

/// Where disks of exports are mounted, in the data directory.
const DISKS: &str = "export-disks";

/// What belongs to the server itself, in the data directory.
const SERVER: &str = "nfs";

/// What the operator sets for file servers on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// Which NFS server.
    pub server: ServerChoice,
    /// The TCP port of NFS.
    pub nfs_port: u16,
    /// The TCP port of the MOUNT service.
    pub mount_port: u16,
    /// The directories that are set aside; `exports` in the data directory if there are none.
    pub directories: Vec<PathBuf>,
    /// The block devices that are set aside.
    pub disks: Vec<PathBuf>,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            server: ServerChoice::Auto,
            nfs_port: NFS_PORT_DEFAULT,
            mount_port: MOUNT_PORT_DEFAULT,
            directories: Vec::new(),
            disks: Vec::new(),
        }
    }
}

/// `--nfs-server`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerChoice {
    /// The kernel's where it runs, else Ganesha.
    #[default]
    Auto,
    /// The kernel's.
    Kernel,
    /// NFS-Ganesha.
    Ganesha,
}

/// All that serving needs of the node.
#[derive(Clone)]
pub(crate) struct ExportNode {
    pub(crate) name: NodeName,
    /// The address that clients reach it by.
    pub(crate) address: String,
    pub(crate) data_directory: PathBuf,
    pub(crate) config: ExportConfig,
    /// The executable with the hidden subcommands of [`helper`].
    pub(crate) executable: PathBuf,
    pub(crate) store: Arc<dyn Store>,
    /// What jobs share.
    pub(crate) shares: Arc<Shares>,
}

impl ExportNode {
    /// Where the directories of exports may be, in the order in which they are used.
    fn directories(&self) -> Vec<PathBuf> {
        match self.config.directories.as_slice() {
            [] => vec![self.data_directory.join(EXPORTS)],
            given => given.to_vec(),
        }
    }

    fn server_directory(&self) -> PathBuf {
        server_directory(&self.data_directory)
    }

    fn disks_directory(&self) -> PathBuf {
        disks_directory(&self.data_directory)
    }

    /// Whether the operator named no directory, so that the daemon makes its own.
    fn makes_directory(&self, path: &Path) -> bool {
        self.config.directories.is_empty() && path == self.data_directory.join(EXPORTS)
    }
}

/// Serves what the store says until `stop` is cancelled. The NFS server goes on after that.
pub(crate) async fn serve(node: ExportNode, stop: CancellationToken) {
    let (wanted, wanted_now) = watch::channel(None);
    let (outcome, outcome_now) = watch::channel(reports::Outcome::default());
    let (measured, measured_now) = watch::channel(Vec::new());
    let (usage, usage_now) = watch::channel(measure::Usages::default());
    let work = async {
        tokio::join!(
            following::follow(&node, wanted),
            manager::manage(&node, wanted_now, outcome, measured),
            measure::measure(measured_now, usage),
            reports::write(&node, outcome_now, usage_now),
        );
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// Where disks of exports are mounted, as the kernel names it in its table of mounts.
fn disks_directory(data_directory: &Path) -> PathBuf {
    let real = std::fs::canonicalize(data_directory);
    let data = real.unwrap_or_else(|_| data_directory.to_owned());
    data.join(DISKS)
}

/// What belongs to the server itself.
pub(crate) fn server_directory(data_directory: &Path) -> PathBuf {
    data_directory.join(SERVER)
}

/// How long a client waits until the first node of its gang serves what they share: that one may
/// still be busy with the end of an earlier attempt.
const SHARED_MAX: Duration = Duration::from_mins(3);

/// Pause between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(200);

/// Waits until a node serves this. `false` if it does not in time.
pub(crate) async fn wait_until_served(address: &str, point: &ExportPoint) -> bool {
    if !point
        .versions
        .iter()
        .any(|version| version.starts_with('4'))
    {
        // It cannot be asked so; whoever mounts it tries for a while.
        return true;
    }
    let (host, port) = (address.trim_matches(['[', ']']).to_owned(), point.nfs_port);
    let asked = async {
        loop {
            let found = tokio::net::lookup_host((host.as_str(), port)).await;
            let found = found.ok().and_then(|mut found| found.next());
            if let Some(server) = found
                && let Ok(Answer::Served) = probe::ask(server, point.path.as_ref()).await
            {
                return;
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
    };
    tokio::time::timeout(SHARED_MAX, asked).await.is_ok()
}

/// What a node says of its ability.
pub(crate) fn capability(ability: &NfsAbility) -> Capability {
    let (in_force, note) = match ability {
        NfsAbility::Serves(service) => (true, describe(service)),
        NfsAbility::Lacks(lack) => (false, lack.clone()),
    };
    Capability {
        name: "NFS server".into(),
        in_force,
        note,
    }
}

fn describe(service: &NfsService) -> String {
    let who = match (service.server, service.mount_port) {
        (NfsServer::Kernel, _) => "file servers are exported by the kernel's NFS server".to_owned(),
        (NfsServer::Ganesha, Some(mount_port)) => format!(
            "file servers are served by NFS-Ganesha, versions 3 and 4, ports {} and {mount_port}",
            service.nfs_port
        ),
        (NfsServer::Ganesha, None) => format!(
            "file servers are served by NFS-Ganesha, version 4 only, port {}: version 3 needs \
             rpcbind, which is not installed",
            service.nfs_port
        ),
    };
    match &service.shares {
        SharePlace::Below(_) => who,
        SharePlace::Lacks(lack) => {
            format!("{who}; it shares no directories with other nodes of a job: {lack}")
        }
    }
}

/// What keeps an export from being served.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    NoServer(#[from] choice::NoServer),
    #[error(transparent)]
    Directory(#[from] directory::DirectoryError),
    #[error(transparent)]
    Disk(#[from] disk::DiskError),
    #[error(transparent)]
    Ganesha(#[from] ganesha::GaneshaError),
    #[error(transparent)]
    Kernel(#[from] kernel::KernelError),
    #[error("cannot remember the export in the daemon's data directory")]
    Ledger(#[from] PathError),
}

impl ExportError {
    /// As it is reported.
    fn record(&self) -> ErrorRecord {
        let code = match self {
            Self::NoServer(_) => "NfsServerMissing",
            Self::Directory(error) => error.code(),
            Self::Disk(error) => error.code(),
            Self::Ganesha(_) | Self::Kernel(_) => "NfsServerFailed",
            Self::Ledger(_) => "DataDirectory",
        };
        let record = ErrorRecord::new(code, explain(self));
        match self {
            Self::Ganesha(error) if !error.log().is_empty() => {
                record.with("the server's log", error.log())
            }
            _ => record,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rpcbind_the_node_says_what_is_missing() {
        let mut service = NfsService {
            server: NfsServer::Ganesha,
            nfs_port: 2049,
            mount_port: None,
            versions: vec!["4.2".into()],
            shares: SharePlace::Below("/d/work/shared".into()),
        };
        let said = |service: &NfsService| capability(&NfsAbility::Serves(service.clone())).note;
        let note = said(&service);
        assert!(note.contains("version 4 only, port 2049"), "{note}");
        service.shares = SharePlace::Lacks("it lies on overlay".into());
        let note = said(&service);
        assert!(note.ends_with("it lies on overlay"), "{note}");
        let lack = capability(&NfsAbility::Lacks("install it".into()));
        assert!(!lack.in_force && lack.note == "install it");
    }
}
