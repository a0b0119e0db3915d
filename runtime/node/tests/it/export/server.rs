//! A node that exports what a test puts into its store.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lote_model::export::{
    Export, ExportPhase, ExportPoint, ExportReport, ExportState, ExportStorage,
};
use lote_model::id::{FileServerUid, NodeName, UnixId};
use lote_model::job::ErrorRecord;
use lote_model::key;
use lote_model::name::{GroupName, ResourceName};
use lote_model::path::WorkspacePath;
use lote_node::agent::{Agent, Isolation, NodeConfig, Reserved};
use lote_node::devices::DeviceConfig;
use lote_node::export::{ExportConfig, ServerChoice};
use lote_store::{EmbeddedOptions, EmbeddedStore, Store, Transaction, get_json};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::support::{directory, new_user, spawner};
use crate::switched::Switched;

/// A node with a data directory and a store.
pub struct FileServerNode {
    directory: TempDir,
    pub store: Arc<Switched>,
    pub config: ExportConfig,
    pub address: String,
    /// To whom the exports belong.
    pub owner: UnixId,
}

/// A daemon of the node; its end is as sudden as that of a killed one.
pub struct Daemon(Option<Runtime>);

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl FileServerNode {
    pub fn new() -> Self {
        let directory = directory();
        let store = directory.path().join("store");
        std::fs::create_dir(&store).unwrap();
        let store = EmbeddedStore::open(&store, &EmbeddedOptions::default()).unwrap();
        let config = ExportConfig {
            server: ServerChoice::Ganesha,
            nfs_port: free_port(),
            mount_port: free_port(),
            ..ExportConfig::default()
        };
        Self {
            directory,
            store: Arc::new(Switched::new(Arc::new(store))),
            config,
            address: "127.0.0.1".into(),
            owner: UnixId(new_user().uid),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a daemon.
    pub fn start(&self) -> Daemon {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let config = NodeConfig {
            name: name(),
            address: self.address.clone(),
            ssh_port: 22,
            size: None,
            data_directory: self.path("data"),
            nvml_library: None,
            gpu_check: None,
            sysfs_root: "/sys".into(),
            isolation: Isolation::None,
            hidden: Vec::new(),
            sealing_key: None,
            secrets_file: None,
            labels: std::collections::BTreeMap::new(),
            fencing: None,
            peer_address: None,
            devices: DeviceConfig::default(),
            reserved: Reserved::default(),
            mac_address: None,
            always_on: false,
            power_off: None,
            containers: lote_node::container::ContainerConfig::default(),
            export: self.config.clone(),
            mounts: lote_node::mount::MountConfig::default(),
            spool: lote_node::SpoolConfig::default(),
        };
        let store: Arc<dyn Store> = Arc::clone(&self.store) as _;
        runtime.spawn(async move {
            let agent = Agent::start(config, store, spawner()).unwrap();
            Box::pin(agent.run(CancellationToken::new())).await;
        });
        Daemon(Some(runtime))
    }

    /// An export in a directory of its own, for this machine.
    pub fn export(&self, uid: &str) -> Export {
        let name = |text: &str| ResourceName::new(text).unwrap();
        let workspace = WorkspacePath {
            group: GroupName::new("g").unwrap(),
            workspace: name("w"),
        };
        Export {
            file_server: workspace.child(name(uid)),
            uid: FileServerUid::new(uid),
            owner: self.owner,
            storage: ExportStorage::Own,
            size_limit_bytes: 1 << 40,
            clients: vec![self.address.clone()],
            phase: ExportPhase::Serve,
        }
    }

    /// As the leader does.
    pub async fn want(&self, export: &Export) {
        let key = key::export(&name(), &export.uid);
        let transaction = Transaction::new().put_json(key, export).unwrap();
        self.store.inner.commit(transaction).await.unwrap();
    }

    /// As the leader does when the file server is gone.
    pub async fn want_no_more(&self, uid: &str) {
        let key = key::export(&name(), &FileServerUid::new(uid));
        let transaction = Transaction::new().delete(key);
        self.store.inner.commit(transaction).await.unwrap();
    }

    pub async fn report(&self, uid: &str) -> Option<ExportReport> {
        let key = key::exported(&name(), &FileServerUid::new(uid));
        let entry = get_json::<ExportReport>(&*self.store.inner, &key).await;
        entry.unwrap().map(|entry| entry.value)
    }

    /// Waits for a report that is as wanted.
    pub async fn reported<T>(&self, uid: &str, wanted: impl Fn(&ExportReport) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.report(uid).await.as_ref().and_then(&wanted) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn served(&self, uid: &str) -> ExportPoint {
        let point = |report: &ExportReport| match &report.state {
            ExportState::Serving(point) => Some(point.clone()),
            _ => None,
        };
        self.reported(uid, point).await
    }

    pub async fn failed(&self, uid: &str) -> ErrorRecord {
        let error = |report: &ExportReport| match &report.state {
            ExportState::Failed(error) => Some(error.clone()),
            _ => None,
        };
        self.reported(uid, error).await
    }

    pub async fn withdrawn(&self, uid: &str) {
        let is_withdrawn =
            |report: &ExportReport| (report.state == ExportState::Withdrawn).then_some(());
        self.reported(uid, is_withdrawn).await;
    }

    /// Exports it and waits until it can be mounted.
    pub async fn serve(&self, export: &Export) -> ExportPoint {
        self.want(export).await;
        self.served(export.uid.as_str()).await
    }

    /// The process id of Ganesha, as it wrote it down.
    pub fn ganesha(&self) -> Option<Pid> {
        ganesha(&self.path("data"))
    }

    /// Kills Ganesha as a fault would.
    pub fn kill_ganesha(&self) -> Pid {
        let pid = self.ganesha().unwrap();
        kill(pid, Signal::SIGKILL).unwrap();
        pid
    }

    /// An URL for `libnfs`.
    pub fn url(&self, point: &ExportPoint, path: &str, more: &str) -> String {
        format!(
            "nfs://{}{}{path}?version=3&nfsport={}&mountport={}{more}",
            self.address,
            point.path,
            point.nfs_port,
            point.mount_port.unwrap()
        )
    }

    /// The same for version 4.
    pub fn url_4(&self, point: &ExportPoint, path: &str) -> String {
        let (address, port) = (&self.address, point.nfs_port);
        format!(
            "nfs://{address}{}{path}?version=4&nfsport={port}",
            point.path
        )
    }
}

impl Drop for FileServerNode {
    fn drop(&mut self) {
        leave(&self.path("data"));
    }
}

/// The process id of the Ganesha of a data directory, as it wrote it down.
fn ganesha(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join("nfs/ganesha.pid")).ok()?;
    let pid = text.trim().parse().ok()?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    name.starts_with("ganesha").then_some(Pid::from_raw(pid))
}

/// Ends the NFS server of a data directory, and all that is mounted for it.
pub fn leave(data: &Path) {
    // It outlives daemons on purpose, and one that is just ending may start another.
    for _ in 0..3 {
        if let Some(pid) = ganesha(data) {
            kill(pid, Signal::SIGKILL).ok();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (disks, places) = (data.join("export-disks"), data.join("nfs/exports"));
    let mounted = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let mounted: Vec<PathBuf> = mounted(&places)
        .chain(mounted(&disks))
        .map(|entry| entry.path())
        .collect();
    for path in mounted.iter().chain([&places]) {
        let mut unmount = Command::new("umount");
        unmount.arg("--lazy").arg(path).stderr(Stdio::null());
        unmount.status().ok();
    }
}

pub fn name() -> NodeName {
    NodeName::new("n1")
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs a command of `libnfs`.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.output().expect(program)
}

/// The same, to success, and its standard output.
pub fn said(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a file whose contents depend on `seed`.
pub fn write_file(path: &Path, bytes: usize, seed: u32) {
    std::fs::write(path, contents(bytes, seed)).unwrap();
}

/// Bytes that depend on a seed.
pub fn contents(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    let mut text: Vec<u8> = std::iter::repeat_with(&mut next)
        .flatten()
        .take(bytes)
        .collect();
    text.shrink_to_fit();
    text
}
