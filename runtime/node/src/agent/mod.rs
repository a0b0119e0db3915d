//! The node's side of the one-way street: allocations in, reports out.
//!
//! * [`inventory`](self) — what this machine is: processors, memory, GPUs, means of isolation.
//! * `registration` — the node's record and its lease of life.
//! * `fence` — ends everything in time when the node is cut off.
//! * `allocations` — follows the allocations of this node, one task for each.
//! * `mounts` — the file systems of a job, before and after its processes.
//! * `container` — the root of a job in a container, before and after its processes.
//! * `task` — one job's part on this node, from preparation to the last report.
//! * `processes` — launching, following and restarting the processes of a plan.
//! * `power` — switches this machine off when nobody needs it.
//! * `preparation` — directories, files and control group of a job.
//! * `cgroup_record` — remembers where a job's control group is.
//! * `host_names` — `/etc/hosts` as a gang sees it; pure.
//! * `inside` — what is different for a process in a container; pure.
//! * `process_spec` — from a plan to what the shim is told; pure.
//! * `output` — the output of a job that is spooled, see [`spool`](crate::spool).
//! * `late_output` — what of it had not arrived when its job ended.
//! * `ending` — from exit records to outcomes and errors; pure.
//! * `reporter` — writes reports, each only while the allocation is ours.
//! * `secrets` — the secret variables of a job, opened for its allocation.
//! * `sweep` — at the start, removes what no allocation asks for.
//!
//! What this module must never do: start a process for which no plan is
//! stored, start one twice, say that the node lives while something runs there that belongs to
//! no allocation, or report an end while anything of the job is left.

mod allocations;
mod cgroup_record;
mod container;
mod ending;
mod fence;
mod host_names;
mod inside;
mod inventory;
mod late_output;
mod mounts;
mod output;
mod power;
mod preparation;
mod process_spec;
mod processes;
mod progress;
mod registration;
mod reporter;
mod room;
mod secrets;
mod sweep;
mod task;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use lote_model::id::NodeName;
use lote_model::node::NodeRecord;
use lote_store::Store;
use lote_vault::SealingKey;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

pub use crate::gpu::{GpuCheck, Telemetry};
pub use fence::FencingConfig;

use allocations::Tasks;
use fence::Fence;
use inventory::Nfs;
use registration::KnownRecord;

use crate::cgroup::{CgroupError, CgroupLayout};
use crate::container::{ContainerConfig, Images};
use crate::devices::DeviceConfig;
use crate::export::{self, ExportConfig, ExportNode, Shares};
use crate::gpu::{self, GpuConfig, Gpus, Sysfs};
use crate::isolation::Identity;
use crate::launch::{LaunchError, Launcher, SpawnerCommand};
use crate::mount::MountConfig;
use crate::numa::Topology;
use crate::peer::{self, Members, PeerCalls, RemoteStarts};
use crate::power::OperatorCommand;
use crate::spool::{SpoolConfig, spools};

/// The directory of run records, in the data directory.
const RUNS: &str = "run";

/// How jobs are kept apart on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Control groups, a private view of the file system, an unprivileged user
    /// for each workspace. Needs root; without it the node takes no jobs.
    Full,
    /// None at all: jobs run as the daemon's own user. For trying things out.
    None,
}

/// What the operator sets for a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Unique in the cluster.
    pub name: NodeName,
    /// The address other nodes reach this one by.
    pub address: String,
    /// Where people reach its SSH server, which is not the daemon's.
    pub ssh_port: u16,
    /// The size label; derived from the GPUs when absent.
    pub size: Option<String>,
    /// Everything the daemon keeps; `work/` below it belongs to jobs.
    pub data_directory: PathBuf,
    /// Where the NVML library is, if not where the system looks.
    pub nvml_library: Option<PathBuf>,
    /// What is looked at on its GPUs before a job, if anything is.
    pub gpu_check: Option<GpuCheck>,
    /// `/sys`, or what stands in for it.
    pub sysfs_root: PathBuf,
    /// How jobs are kept apart.
    pub isolation: Isolation,
    /// Files and directories that jobs must not read, beside the daemon's own.
    pub hidden: Vec<PathBuf>,
    /// Opens the secrets of jobs; without it jobs with secrets fail.
    pub sealing_key: Option<SealingKey>,
    /// The operator's table of secrets that jobs only refer to.
    pub secrets_file: Option<PathBuf>,
    /// What the operator says of its place and kind; checked by [`lote_model::label`].
    pub labels: BTreeMap<String, String>,
    /// When jobs end here because the node is cut off; `None` where no other machine shares
    /// the store.
    pub fencing: Option<FencingConfig>,
    /// Where this daemon answers other daemons, `host:port`, if it does.
    pub peer_address: Option<String>,
    /// Which device files jobs get.
    pub devices: DeviceConfig,
    /// What is kept free of jobs.
    pub reserved: Reserved,
    /// The hardware address of the interface that wakes the machine, if it is known.
    pub mac_address: Option<String>,
    /// Whether the machine is never switched off.
    pub always_on: bool,
    /// What switches this machine off, where the leader leaves that to the node.
    pub power_off: Option<OperatorCommand>,
    /// How much output of jobs may wait for a file system that is away.
    pub spool: SpoolConfig,
    /// How the file systems of jobs are mounted.
    pub mounts: MountConfig,
    /// Where the images of containers come from.
    pub containers: ContainerConfig,
    /// How file servers are exported.
    pub export: ExportConfig,
}

/// What of a machine is kept for the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Processors.
    pub cpus: u32,
    /// Memory; `None` is a twentieth of it, at most 4 GiB.
    pub memory_bytes: Option<u64>,
}

/// The node could not start its work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A directory of the daemon cannot be made or read.
    #[error("cannot {action} {path}; check the daemon's data directory")]
    Directory {
        /// What was tried.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The control groups of this machine cannot be used.
    #[error("the control groups of this machine cannot be used; --isolation none does without")]
    Cgroups(#[from] CgroupError),
    /// The thread that talks to the driver of the GPUs cannot be started.
    #[error("cannot start a thread for the GPUs")]
    Gpus(#[source] std::io::Error),
    /// More is kept free of jobs than there is.
    #[error("nothing is left for jobs; see --reserve-cpus and --reserve-memory")]
    Reserved(#[from] inventory::NothingLeft),
    /// The process that starts processes cannot be started.
    #[error(transparent)]
    Launcher(#[from] LaunchError),
}

/// A node at work. Dropping it leaves running jobs alone.
#[derive(Debug)]
pub struct Agent {
    node: Arc<Node>,
    registered: watch::Sender<bool>,
}

/// What every task of the node needs.
pub(crate) struct Node {
    config: NodeConfig,
    /// As the daemon found the machine when it started.
    record: NodeRecord,
    /// The record as it is in the store, once it is there.
    known: Mutex<Option<KnownRecord>>,
    gpus: Arc<Gpus>,
    store: Arc<dyn Store>,
    launcher: Arc<Launcher>,
    /// The jobs whose processes may be started from other nodes.
    members: Arc<Members>,
    /// The way to other daemons, once it is known.
    peer_calls: Arc<OnceLock<Arc<dyn PeerCalls>>>,
    /// What jobs share with other nodes.
    shares: Arc<Shares>,
    /// What was seen of NFS since the daemon started, if anything changed.
    nfs: watch::Sender<Option<Nfs>>,
    /// `None` without isolation.
    cgroups: Option<CgroupLayout>,
    fence: Fence,
    tasks: Tasks,
    images: Images,
    /// Which processors and which memory are near each other.
    topology: Topology,
    /// How many files a process of a job may open.
    open_files_max: u64,
    /// What the processes that outlive the daemon are started from.
    executable: PathBuf,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// The record as it is now.
    fn current_record(&self) -> NodeRecord {
        let record = inventory::with_gpus(&self.record, &self.gpus.view().borrow());
        match &*self.nfs.borrow() {
            Some(nfs) => nfs.noted(&record),
            None => record,
        }
    }

    /// Whom a job runs as here: the workspace's user, or nobody else.
    fn identity(&self, unix_id: lote_model::id::UnixId) -> Option<Identity> {
        (self.config.isolation == Isolation::Full).then_some(Identity {
            uid: unix_id.0,
            gid: unix_id.0,
        })
    }

    /// What of this node file servers need.
    fn export_node(&self) -> ExportNode {
        ExportNode {
            name: self.config.name.clone(),
            address: self.config.address.clone(),
            data_directory: self.config.data_directory.clone(),
            config: self.config.export.clone(),
            executable: self.executable.clone(),
            store: Arc::clone(&self.store),
            shares: Arc::clone(&self.shares),
        }
    }

    /// Run records: readable by the daemon alone.
    fn run_directory(&self) -> PathBuf {
        self.config.data_directory.join(RUNS)
    }

    /// Whether output of a run has not arrived yet, so that its mounts are still needed.
    fn has_spool(&self, run: &str) -> bool {
        spools(&self.config.data_directory).join(run).exists()
    }

    /// What a run sees of remote starts.
    fn peer_directory(&self, run: &str) -> PathBuf {
        self.config.data_directory.join(peer::PEERS).join(run)
    }

    /// What the programs in a job find in `/etc/passwd` and `/etc/group`.
    fn identity_directory(&self) -> PathBuf {
        self.config.data_directory.join("identity")
    }
}

impl Agent {
    /// Detects what this machine is. Nothing is asked of the store yet. `spawner` is how the
    /// process that forks shims is started. Needs a tokio runtime.
    pub fn start(
        config: NodeConfig,
        store: Arc<dyn Store>,
        spawner: SpawnerCommand,
    ) -> Result<Self, AgentError> {
        preparation::node_directories(&config)?;
        let cgroups = match config.isolation {
            Isolation::Full if nix::unistd::geteuid().is_root() => Some(prepared_cgroups()?),
            _ => None,
        };
        if peer::offers(cgroups.is_some(), config.peer_address.is_some()) {
            let data = &config.data_directory;
            peer::install(data).map_err(|source| AgentError::Directory {
                action: "write",
                path: data.join(peer::PEERS),
                source,
            })?;
        }
        let topology = inventory::topology(&config)?;
        let gpus = Gpus::start(gpu_config(&config)).map_err(AgentError::Gpus)?;
        let view = gpus.view();
        let record = inventory::describe(&config, cgroups.as_ref(), &topology, &view.borrow())?;
        let executable = spawner.program.clone();
        let launcher = Arc::new(Launcher::start(spawner)?);
        let fence = Fence::new(config.fencing, config.data_directory.join("fence"))?;
        let data = &config.data_directory;
        let shares = Shares::open(data, &export::server_directory(data));
        let images = Images::new(&config.data_directory, &config.containers);
        let node = Arc::new(Node {
            open_files_max: inventory::open_files_max(),
            executable,
            config,
            record,
            known: Mutex::default(),
            gpus,
            store,
            launcher,
            shares: Arc::new(shares),
            nfs: watch::Sender::new(None),
            members: Arc::default(),
            peer_calls: Arc::default(),
            cgroups,
            fence,
            tasks: Tasks::default(),
            images,
            topology,
        });
        Ok(Self {
            node,
            registered: watch::Sender::new(false),
        })
    }

    /// Gives the processes of gangs the way to other nodes.
    pub fn call_peers_by(&self, calls: Arc<dyn PeerCalls>) {
        self.node.peer_calls.set(calls).ok();
    }

    /// What other daemons ask for on behalf of their jobs' processes.
    pub fn remote_starts(&self) -> RemoteStarts {
        RemoteStarts {
            node: self.node.config.name.clone(),
            store: Arc::clone(&self.node.store),
            members: Arc::clone(&self.node.members),
        }
    }

    /// Becomes true once the node is known to the cluster.
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registered.subscribe()
    }

    /// What the GPUs and the jobs of this node do, for as long as the daemon runs.
    pub fn telemetry(&self) -> Telemetry {
        self.node.gpus.telemetry()
    }

    /// The node's record as the daemon starts with it.
    pub fn record(&self) -> &NodeRecord {
        &self.node.record
    }

    /// Makes the node known to the cluster and works until `stop` is cancelled. While the store
    /// is away it waits for it. Jobs go on without the daemon.
    pub async fn run(self, stop: CancellationToken) {
        let (is_registered, is_known) = (self.registered(), self.registered());
        let node = self.node;
        let heartbeat = registration::stay_alive(Arc::clone(&node), self.registered, stop.clone());
        let late = late_output::deliver(Arc::clone(&node), is_known, stop.clone());
        let work = allocations::follow(Arc::clone(&node), is_registered, stop.clone());
        let record = registration::keep_record(Arc::clone(&node), stop.clone());
        let gpus = gpu::monitor(Arc::clone(&node.gpus), stop.clone());
        let power = power::obey(Arc::clone(&node), stop.clone());
        let exports = export::serve(node.export_node(), stop.clone());
        let fence = node.fence.keep(stop);
        tokio::join!(heartbeat, fence, work, late, record, gpus, power, exports);
    }
}

fn gpu_config(config: &NodeConfig) -> GpuConfig {
    GpuConfig {
        node: config.name.clone(),
        library: config.nvml_library.clone(),
        sysfs: Sysfs::at(&config.sysfs_root),
        runs: config.data_directory.join(RUNS),
        memory: config.data_directory.join("gpus.json"),
        boot_id: inventory::boot_id(),
        check: config.gpu_check.clone(),
    }
}

fn prepared_cgroups() -> Result<CgroupLayout, CgroupError> {
    let layout = CgroupLayout::detect(&crate::cgroup::LayoutSource::host()?)?;
    layout.prepare()?;
    Ok(layout.with_device_filter())
}

#[cfg(test)]
pub(crate) mod testing {
    //! For the tests of what is beside the agent.

    use lote_model::path::JobPath;

    /// The path of some job.
    pub(crate) fn job_path() -> JobPath {
        super::process_spec::tests::job_path()
    }
}
