//! How many processes per second this machine launches, beside what it could
//! fork at all.
//!
//! `cargo run --release -p lote-node --example launch_rate [launches] [at once] [directory] [spawner]`
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::similar_names,
    reason = "a measurement, not the product"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use lote_node::cgroup::{CgroupLayout, DeviceKind, JobCgroup, LayoutSource, Limits};
use lote_node::isolation::{DeviceNode, Identity, MountPlan, PrivateDirectory, PrivateSource};
use lote_node::launch::{
    ExitCause, Launcher, Outcome, ProcessSpec, SPAWNER_SUBCOMMAND, SecretVariables, SpawnerCommand,
    remove_record, spawner_main,
};
use tokio::sync::Semaphore;

/// Which parts of a launch a run includes.
#[derive(Clone)]
struct Parts {
    name: &'static str,
    cgroup: Option<Limits>,
    isolation: bool,
    /// Which devices are given, in a `/dev` of their own.
    devices: Option<Vec<DeviceNode>>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|argument| argument == SPAWNER_SUBCOMMAND)
    {
        return spawner_main();
    }
    let number = |at: usize, default| {
        arguments
            .get(at)
            .map_or(default, |text| text.parse().unwrap())
    };
    let (launches, at_once) = (number(0, 1000), number(1, 8));
    let on = arguments.get(2).map_or(".", String::as_str);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(measure(launches, at_once, on));
    ExitCode::SUCCESS
}

/// Processor time of this process, the spawner and the shims.
struct Account(JobCgroup);

impl Account {
    fn open(layout: &CgroupLayout) -> Self {
        let account = JobCgroup::create(layout, "launch-rate", &Limits::default()).unwrap();
        for file in account.procs_files() {
            std::fs::write(file, std::process::id().to_string()).unwrap();
        }
        Self(account)
    }

    /// Leaves and removes the account, with the spawner that is still in it.
    async fn close(self) {
        let pid = std::process::id().to_string();
        let left = self.0.procs_files().iter().all(|file| {
            let base = file.ancestors().nth(3).unwrap();
            std::fs::write(base.join("cgroup.procs"), &pid).is_ok()
        });
        if left {
            self.0.remove().await.unwrap();
        }
    }

    fn seconds(&self) -> f64 {
        self.0.usage().unwrap().cpu_seconds.unwrap()
    }
}

async fn measure(launches: usize, at_once: usize, on: &str) {
    let layout = CgroupLayout::detect(&LayoutSource::host().unwrap()).unwrap();
    let layout = layout.in_directory("lote-launch-rate").unwrap();
    layout.prepare().unwrap();
    let layout = layout.with_device_filter();
    println!("devices: {:?}", layout.device_control());
    println!("{:?}", layout.describe());
    let account = Account::open(&layout);
    let (start, before) = (Instant::now(), account.seconds());
    fork_and_exec(launches);
    report(
        "fork + exec + wait, one after another",
        launches,
        start,
        account.seconds() - before,
    );
    let directory = tempfile::tempdir_in(on).unwrap();
    let mut command = SpawnerCommand::current_executable();
    if let Some(program) = std::env::args_os().nth(4) {
        command.program = program.into();
    }
    let launcher = Arc::new(Launcher::start(command).unwrap());
    let limits = Limits {
        memory_bytes: Some(1 << 30),
        ..Limits::default()
    };
    let all = Limits {
        pids_max: Some(100),
        cpu_share_millis: Some(1000),
        ..limits.clone()
    };
    let devices = devices();
    let restricted = Limits {
        devices: Some(devices.iter().map(DeviceNode::rule).collect()),
        ..all.clone()
    };
    let parts = |name, cgroup: Option<&Limits>, isolation| Parts {
        name,
        cgroup: cgroup.cloned(),
        isolation,
        devices: None,
    };
    for parts in [
        parts("shim and record only", None, false),
        parts("… user, private mounts", None, true),
        Parts {
            devices: Some(devices.clone()),
            ..parts("… the same with its own /dev", None, true)
        },
        parts("… cgroup (kill, memory)", Some(&limits), false),
        parts("… cgroup (kill, memory, pids, cpu)", Some(&all), false),
        parts("… the same with devices", Some(&restricted), false),
        parts("… all of it, but devices", Some(&all), true),
        Parts {
            devices: Some(devices.clone()),
            ..parts("… all of it", Some(&restricted), true)
        },
    ] {
        let (start, before) = (Instant::now(), account.seconds());
        let inside = run_all(
            launches,
            at_once,
            &parts,
            &layout,
            &launcher,
            directory.path(),
        )
        .await;
        report(
            parts.name,
            launches,
            start,
            account.seconds() - before + inside,
        );
    }
    account.close().await;
    layout.tidy();
}

fn report(name: &str, launches: usize, start: Instant, processor_seconds: f64) {
    let rate = launches as f64 / start.elapsed().as_secs_f64();
    let cost = processor_seconds * 1000.0 / launches as f64;
    println!("{name:<44} {rate:>8.0} /s {cost:>8.3} ms of processor time each");
}

async fn run_all(
    launches: usize,
    at_once: usize,
    parts: &Parts,
    layout: &CgroupLayout,
    launcher: &Arc<Launcher>,
    directory: &Path,
) -> f64 {
    let room = Arc::new(Semaphore::new(at_once));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..launches {
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        let (layout, launcher) = (layout.clone(), Arc::clone(launcher));
        let parts = parts.clone();
        let record = directory.join(format!("record-{number}"));
        tasks.spawn(async move {
            let seconds = run_one(number, &parts, &layout, &launcher, record).await;
            drop(permit);
            seconds
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// Gives the processor time used inside the job's cgroup.
async fn run_one(
    number: usize,
    parts: &Parts,
    layout: &CgroupLayout,
    launcher: &Launcher,
    record: PathBuf,
) -> f64 {
    let name = format!("launch-rate-{number}");
    let cgroup = parts
        .cgroup
        .as_ref()
        .map(|limits| JobCgroup::create(layout, &name, limits).unwrap());
    let spec = specification(record, parts, cgroup.as_ref());
    let process = launcher.launch(&spec).await.unwrap();
    match process.wait().await.unwrap() {
        Outcome::Ended(exit) if exit.cause == ExitCause::Exited(0) => {}
        outcome => eprintln!("unexpected end: {outcome:?}"),
    }
    remove_record(&spec.record).unwrap();
    let Some(cgroup) = cgroup else { return 0.0 };
    let seconds = cgroup.usage().unwrap().cpu_seconds.unwrap();
    cgroup.remove().await.unwrap();
    seconds
}

/// What a job without GPUs gets, and eight that stand for GPUs.
fn devices() -> Vec<DeviceNode> {
    let node = |name: &str, major, minor| DeviceNode {
        name: name.into(),
        host: Path::new("/dev").join(name),
        kind: DeviceKind::Character,
        major,
        minor,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let usual = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    let usual = usual.map(|(name, major, minor)| node(name, major, minor));
    let gpus = (0..8).map(|minor| node(&format!("nvidia{minor}"), 195, minor));
    usual.into_iter().chain(gpus).collect()
}

fn specification(record: PathBuf, parts: &Parts, cgroup: Option<&JobCgroup>) -> ProcessSpec {
    let isolation = parts.isolation;
    let private = |target: &str| PrivateDirectory {
        target: target.into(),
        source: PrivateSource::Memory {
            size_bytes: 1 << 30,
        },
    };
    ProcessSpec {
        record,
        title: "test".into(),
        argv: vec!["/bin/true".into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        secret_env: SecretVariables::default(),
        working_directory: "/".into(),
        stdout: "/dev/null".into(),
        stderr: "/dev/null".into(),
        execution_log: None,
        piped: false,
        stdin: None,
        spooled: false,
        directories: Vec::new(),
        identity: isolation.then_some(Identity {
            uid: 61_000,
            gid: 61_000,
        }),
        cgroup_procs: cgroup.map(JobCgroup::procs_files).unwrap_or_default(),
        mounts: isolation.then(|| MountPlan {
            devices: parts.devices.clone(),
            private: vec![private("/tmp")],
            ..MountPlan::default()
        }),
        resource_limits: Vec::new(),
        umask: 0o022,
        fence: None,
        oom_score_adjustment: 100,
    }
}

fn fork_and_exec(launches: usize) {
    for _ in 0..launches {
        std::process::Command::new("/bin/true").status().unwrap();
    }
}
