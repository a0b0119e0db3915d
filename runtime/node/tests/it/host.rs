//! A node with its data directory and a store, and daemons on it that come and go.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lote_model::accounting::Account;
use lote_model::allocation::{Allocation, AllocationPhase, GangMember, Grant, NodePlan};
use lote_model::duration::Seconds;
use lote_model::id::{JobUid, NodeName, UnixId};
use lote_model::key;
use lote_model::name::{GroupName, ResourceName};
use lote_model::node::NodeRecord;
use lote_model::path::{JobPath, WorkspacePath};
use lote_model::plan::{AllocatedGpu, Command, GpuShare, LaunchPlan, OnFailure, Part, Process};
use lote_model::planned_mount::{MountSource, PlannedMount, PlannedMounts};
use lote_model::report::{Outcome, Report, ReportPhase};
use lote_model::state::ExecutionState;
use lote_node::SpoolConfig;
use lote_node::agent::{Agent, FencingConfig, Isolation, NodeConfig, Reserved};
use lote_node::devices::DeviceConfig;
use lote_node::export::ExportConfig;
use lote_node::mount::MountConfig;
use lote_store::{EmbeddedOptions, EmbeddedStore, Store, Transaction, get_json};
use lote_vault::SealingKey;
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::support::{directory, is_alive, line_in, new_user, spawner, until};
use crate::switched::Switched;

/// What is mounted for jobs of tests, below the job's mount root.
const MOUNT: &str = "out";

/// A machine of a test.
pub struct Host {
    directory: TempDir,
    pub store: Arc<Switched>,
    fencing: Option<FencingConfig>,
    nvml_library: Option<PathBuf>,
    user: UnixId,
    /// Where its device files are.
    pub devices: DeviceConfig,
    /// What is kept free of jobs.
    pub reserved: Reserved,
    /// What jobs are granted.
    pub grant: Grant,
    /// How much output may wait.
    pub spool: SpoolConfig,
    /// How jobs are kept apart.
    pub isolation: Isolation,
    /// How their file systems are mounted.
    pub mounts: MountConfig,
    /// How it serves files.
    pub export: ExportConfig,
    /// What opens their secrets.
    pub sealing_key: SealingKey,
}

/// A running daemon of a host. In a runtime of its own, so that its end is as sudden as that
/// of a killed one.
pub struct Daemon {
    runtime: Option<Runtime>,
}

/// A job of a test, on its only node.
#[derive(Clone)]
pub struct TestJob {
    pub uid: JobUid,
    pub attempt: u32,
    pub script: String,
    pub grace: Seconds,
    pub gpus: Vec<AllocatedGpu>,
    /// Whether its output lies on the file system that is mounted for it.
    pub mounted: bool,
    /// What a second process runs, if there is one.
    pub second: Option<String>,
    /// Another node of its gang, which is nowhere.
    pub peer: Option<NodeName>,
    /// Its file systems.
    pub mounts: PlannedMounts,
    /// Where its output goes otherwise, below the mount root of its cluster.
    pub output_below: String,
}

impl Host {
    pub fn new(fencing: Option<FencingConfig>) -> Self {
        let directory = directory();
        let store = directory.path().join("store");
        std::fs::create_dir(&store).unwrap();
        let sealing_key = lote_vault::sealing_key(directory.path()).unwrap();
        let store = EmbeddedStore::open(&store, &EmbeddedOptions::default()).unwrap();
        Self {
            directory,
            store: Arc::new(Switched::new(Arc::new(store))),
            fencing,
            nvml_library: None,
            user: UnixId(new_user().uid),
            devices: DeviceConfig::default(),
            reserved: Reserved::default(),
            grant: Grant {
                exclusive: true,
                gpus: vec![],
                cpu_millis: 1000,
                numa_nodes: Vec::new(),
                memory_bytes: None,
                processes_max: None,
                ports: vec![],
            },
            spool: SpoolConfig::default(),
            isolation: Isolation::Full,
            mounts: MountConfig {
                allow_commands: true,
                ..MountConfig::default()
            },
            export: ExportConfig::default(),
            sealing_key,
        }
    }

    /// A place beside the daemon's data.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Whom jobs run as.
    pub fn user(&self) -> UnixId {
        self.user
    }

    /// A machine with the GPUs that this library tells of.
    pub fn with_gpus(library: PathBuf) -> Self {
        Self {
            nvml_library: Some(library),
            ..Self::new(None)
        }
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
            address: "127.0.0.1".into(),
            ssh_port: 22,
            size: None,
            data_directory: self.directory.path().join("data"),
            nvml_library: self.nvml_library.clone(),
            gpu_check: None,
            sysfs_root: "/sys".into(),
            isolation: self.isolation,
            hidden: Vec::new(),
            sealing_key: Some(self.sealing_key.clone()),
            secrets_file: None,
            labels: std::collections::BTreeMap::new(),
            fencing: self.fencing,
            peer_address: None,
            devices: self.devices.clone(),
            reserved: self.reserved,
            mac_address: None,
            always_on: false,
            power_off: None,
            spool: self.spool,
            mounts: self.mounts.clone(),
            containers: lote_node::container::ContainerConfig::default(),
            export: self.export.clone(),
        };
        let store: Arc<dyn Store> = Arc::clone(&self.store) as _;
        runtime.spawn(async move {
            let agent = Agent::start(config, store, spawner()).unwrap();
            Box::pin(agent.run(CancellationToken::new())).await;
        });
        Daemon {
            runtime: Some(runtime),
        }
    }

    /// Waits until the node says that it lives.
    pub async fn alive(&self) {
        let key = key::alive(&name());
        while self.store.inner.get(&key).await.unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// The node's record, once it is as wanted.
    pub async fn record(&self, mut is_wanted: impl FnMut(&NodeRecord) -> bool) -> NodeRecord {
        let key = key::node(&name());
        loop {
            let record = get_json::<NodeRecord>(&*self.store.inner, &key)
                .await
                .unwrap();
            match record.map(|record| record.value) {
                Some(record) if is_wanted(&record) => return record,
                _ => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    }

    /// Takes the node's sign of life away, as the end of its lease does.
    pub async fn not_alive(&self) {
        let transaction = Transaction::new().delete(key::alive(&name()));
        self.store.inner.commit(transaction).await.unwrap();
    }

    /// As the leader does: the plan, then the allocation.
    pub async fn allocate(&self, job: &TestJob, phase: AllocationPhase) {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let allocation = Allocation {
            job: path(),
            uid: job.uid.clone(),
            attempt: job.attempt,
            rank: 0,
            phase,
            grant: Grant {
                gpus: [self.grant.gpus.clone(), job.gpus.clone()].concat(),
                ..self.grant.clone()
            },
            granted_at: jiff::Timestamp::now(),
            boot_id: boot_id.trim().into(),
        };
        let transaction = Transaction::new()
            .put(
                key::plan(&job.uid, job.attempt, 0),
                serde_json::to_vec(&self.plan(job)).unwrap(),
            )
            .put(
                key::allocation(&name(), &job.uid),
                serde_json::to_vec(&allocation).unwrap(),
            );
        self.store.inner.commit(transaction).await.unwrap();
    }

    /// As the leader does when it has given the job to others: allocation and reports go.
    pub async fn withdraw(&self, job: &TestJob) {
        let transaction = Transaction::new()
            .delete(key::allocation(&name(), &job.uid))
            .delete_prefix(key::reports_of(&job.uid));
        self.store.inner.commit(transaction).await.unwrap();
    }

    fn plan(&self, job: &TestJob) -> NodePlan {
        let process = |name: &str, script: &str, output: Option<&str>| Process {
            name: name.into(),
            node: 0,
            command: Command::Shell(script.into()),
            variables: vec![],
            working_directory: None,
            output: output.map(str::to_owned),
            gpus: GpuShare::All,
            part: Part::Primary,
            on_failure: OnFailure::FailJob,
            stage: 0,
        };
        let mut processes = vec![process("main", &job.script, None)];
        let second = job.second.iter();
        processes.extend(second.map(|script| process("second", script, Some("second"))));
        NodePlan {
            job: path(),
            uid: job.uid.clone(),
            attempt: job.attempt,
            rank: 0,
            gang: std::iter::once(name())
                .chain(job.peer.clone())
                .map(|node| GangMember {
                    node,
                    address: "127.0.0.1".into(),
                })
                .collect(),
            plugin: "test".into(),
            launch: LaunchPlan {
                processes,
                ..LaunchPlan::default()
            },
            primaries_elsewhere: false,
            mounts: job.mounts.clone(),
            user_variables: vec![],
            secret_variables: vec![],
            master_port: None,
            container: None,
            peer_launcher: false,
            preparation: None,
            std_out_err_path_prefix: if job.mounted {
                format!("$AZ_BATCHAI_JOB_MOUNT_ROOT/{MOUNT}")
            } else {
                format!("$AZ_BATCHAI_MOUNT_ROOT/{}", job.output_below)
            },
            input_directories: vec![],
            output_directories: vec![],
            output_segment: job.uid.to_string(),
            working_directory: None,
            unix_id: self.user,
            cluster: "c".into(),
            grace_period: job.grace,
            previous_node: None,
        }
    }

    /// A directory of the test's own on this machine.
    pub fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The daemon's data directory.
    pub fn data(&self) -> PathBuf {
        self.place("data")
    }

    /// Where a job's output waits.
    pub fn spool(&self, job: &TestJob) -> PathBuf {
        let run = format!("spool/{}.{}", job.uid, job.attempt);
        self.data().join(run)
    }

    /// A file in the job's scratch directory.
    pub fn scratch(&self, job: &TestJob, name: &str) -> PathBuf {
        self.job_root(job).join("scratch").join(name)
    }

    /// The last report about a job.
    pub async fn last_report(&self, job: &TestJob) -> Option<Report> {
        let key = key::report(&job.uid, &name());
        let report = get_json::<Report>(&*self.store.inner, &key).await.unwrap();
        report.map(|report| report.value)
    }

    /// As the leader does when it has concluded, or started another attempt.
    pub async fn conclude(&self, job: &TestJob, state: ExecutionState) {
        let status = serde_json::json!({
            "uid": job.uid, "state": state, "stateSince": jiff::Timestamp::now(),
            "attempt": job.attempt,
        });
        let transaction = Transaction::new().put(
            key::job_status(&path()),
            serde_json::to_vec(&status).unwrap(),
        );
        self.store.inner.commit(transaction).await.unwrap();
    }

    fn user_root(&self) -> PathBuf {
        let users = self.directory.path().join("data/work/users");
        users.join(self.user.0.to_string())
    }

    /// A file that the job wrote beside its output.
    pub fn output(&self, job: &TestJob, name: &str) -> PathBuf {
        let job = format!("mounts/c/{}/stdouterr", job.uid);
        self.user_root().join(job).join(name)
    }

    /// The directory of a job, which is removed at its end.
    pub fn job_root(&self, job: &TestJob) -> PathBuf {
        self.user_root().join("jobs").join(job.uid.as_str())
    }

    /// The id of a process that wrote it into a file, once it has.
    pub async fn pid(&self, job: &TestJob, name: &str) -> Pid {
        let line = line_in(&self.output(job, name)).await;
        Pid::from_raw(line.trim().parse().unwrap())
    }

    /// What the node last said about an attempt, once it has said that.
    pub async fn report(
        &self,
        job: &TestJob,
        mut is_wanted: impl FnMut(&ReportPhase) -> bool,
    ) -> Report {
        let key = key::report(&job.uid, &name());
        loop {
            let report = get_json::<Report>(&*self.store.inner, &key).await.unwrap();
            let report = report.map(|report| report.value);
            match report.filter(|report| report.attempt == job.attempt) {
                Some(report) if is_wanted(&report.phase) => return report,
                _ => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    }

    /// Waits for the node's last report about an attempt.
    pub async fn end(&self, job: &TestJob) -> Outcome {
        self.end_and_account(job).await.0
    }

    /// The same, with what the job used.
    pub async fn end_and_account(&self, job: &TestJob) -> (Outcome, Account) {
        let is_end = |phase: &ReportPhase| matches!(phase, ReportPhase::Ended { .. });
        match self.report(job, is_end).await.phase {
            ReportPhase::Ended { outcome, account } => (outcome, account),
            other => panic!("not ended: {other:?}"),
        }
    }
}

impl Daemon {
    /// As by SIGKILL.
    pub fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl TestJob {
    /// A job that writes down who it is and runs this.
    pub fn new(script: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            uid: JobUid::new(format!("test-{}-{number}", std::process::id())),
            attempt: 1,
            script: format!("cd $AZ_BATCHAI_STDOUTERR_DIR; echo $$ > pid; {script}"),
            grace: Seconds(30),
            gpus: Vec::new(),
            mounted: false,
            second: None,
            peer: None,
            mounts: PlannedMounts::default(),
            output_below: String::new(),
        }
    }

    /// The same with its output on something mounted. It works in its scratch directory.
    pub fn mounted(script: &str, command: &str) -> Self {
        let mount = PlannedMount {
            relative_path: MOUNT.into(),
            source: MountSource::Command(command.into()),
        };
        Self {
            script: script.to_owned(),
            mounted: true,
            mounts: PlannedMounts {
                job: vec![mount],
                ..PlannedMounts::default()
            },
            ..Self::new("")
        }
    }

    /// The next attempt of it.
    pub fn next(&self, script: &str) -> Self {
        Self {
            uid: self.uid.clone(),
            attempt: self.attempt + 1,
            mounted: self.mounted,
            mounts: self.mounts.clone(),
            ..Self::new(script)
        }
    }
}

/// Waits for the end of a process.
pub async fn gone(pid: Pid) {
    until(|| (!is_alive(pid.as_raw())).then_some(())).await;
}

fn name() -> NodeName {
    NodeName::new("n1")
}

fn path() -> JobPath {
    let name = |text: &str| ResourceName::new(text).unwrap();
    let workspace = WorkspacePath {
        group: GroupName::new("g").unwrap(),
        workspace: name("w"),
    };
    JobPath::new(&workspace.child(name("e")), name("j"))
}

/// Runs a test of jobs on a host of its own, which may take a minute.
pub(crate) fn on_host<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let limit = Duration::from_mins(1);
        let ended = tokio::time::timeout(limit, test(Host::new(None))).await;
        ended.expect("the test hangs");
    });
}
