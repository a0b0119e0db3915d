//! How many processes per second this machine launches, beside what it could
//! fork at all.
//!
//! `cargo run --release -p lote-node --example launch_rate [launches] [at once]`
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a measurement, not the product")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use lote_node::cgroup::{CgroupLayout, JobCgroup, LayoutSource, Limits};
use lote_node::isolation::{Identity, MountPlan, PrivateDirectory, PrivateSource};
use lote_node::launch::{
    ExitCause, Launcher, Outcome, ProcessSpec, SPAWNER_SUBCOMMAND, SpawnerCommand, remove_record,
    spawner_main,
};
use tokio::sync::Semaphore;

/// Which parts of a launch a run includes.
#[derive(Clone, Copy)]
struct Parts {
    name: &'static str,
    cgroup: Option<Limits>,
    isolation: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == SPAWNER_SUBCOMMAND) {
        return spawner_main();
    }
    let number = |at: usize, default| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let (launches, at_once) = (number(0, 1000), number(1, 8));
    println!("{:<44} {:>8.0} /s", "fork + exec + wait, one after another", fork_rate(launches));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(measure(launches, at_once));
    ExitCode::SUCCESS
}

async fn measure(launches: usize, at_once: usize) {
    let layout = CgroupLayout::detect(&LayoutSource::host().unwrap()).unwrap();
    layout.prepare().unwrap();
    println!("{:?}", layout.describe());
    let directory = tempfile::tempdir_in(".").unwrap();
    let command = SpawnerCommand::current_executable().unwrap();
    let launcher = Arc::new(Launcher::start(command).unwrap());
    let limits = Limits { memory_bytes: Some(1 << 30), ..Limits::default() };
    let all = Limits { pids_max: Some(100), cpu_share_millis: Some(1000), ..limits };
    let parts = |name, cgroup, isolation| Parts { name, cgroup, isolation };
    for parts in [
        parts("shim and record only", None, false),
        parts("… user, private mounts", None, true),
        parts("… cgroup (kill, memory)", Some(limits), false),
        parts("… cgroup (kill, memory, pids, cpu)", Some(all), false),
        parts("… all of it", Some(all), true),
    ] {
        let start = Instant::now();
        run_all(launches, at_once, parts, &layout, &launcher, directory.path()).await;
        let rate = launches as f64 / start.elapsed().as_secs_f64();
        println!("{:<44} {rate:>8.0} /s", parts.name);
    }
}

async fn run_all(
    launches: usize,
    at_once: usize,
    parts: Parts,
    layout: &CgroupLayout,
    launcher: &Arc<Launcher>,
    directory: &Path,
) {
    let room = Arc::new(Semaphore::new(at_once));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..launches {
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        let (layout, launcher) = (layout.clone(), Arc::clone(launcher));
        let record = directory.join(format!("record-{number}"));
        tasks.spawn(async move {
            run_one(number, parts, &layout, &launcher, record).await;
            drop(permit);
        });
    }
    tasks.join_all().await;
}

async fn run_one(
    number: usize,
    parts: Parts,
    layout: &CgroupLayout,
    launcher: &Launcher,
    record: PathBuf,
) {
    let name = format!("launch-rate-{number}");
    let cgroup = parts.cgroup.map(|limits| JobCgroup::create(layout, &name, &limits).unwrap());
    let spec = specification(record, parts.isolation, cgroup.as_ref());
    let process = launcher.launch(&spec).await.unwrap();
    match process.wait().await.unwrap() {
        Outcome::Ended(exit) if exit.cause == ExitCause::Exited(0) => {}
        outcome => eprintln!("unexpected end: {outcome:?}"),
    }
    if let Some(cgroup) = cgroup {
        cgroup.usage().unwrap();
        cgroup.remove().await.unwrap();
    }
    remove_record(&spec.record).unwrap();
}

fn specification(record: PathBuf, isolation: bool, cgroup: Option<&JobCgroup>) -> ProcessSpec {
    let private = |target: &str| PrivateDirectory {
        target: target.into(),
        source: PrivateSource::Memory { size_bytes: 1 << 30 },
    };
    ProcessSpec {
        record,
        argv: vec!["/bin/true".into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        working_directory: "/".into(),
        stdout: "/dev/null".into(),
        stderr: "/dev/null".into(),
        execution_log: None,
        directories: Vec::new(),
        identity: isolation.then_some(Identity { uid: 61_000, gid: 61_000 }),
        cgroup_procs: cgroup.map(JobCgroup::procs_files).unwrap_or_default(),
        mounts: isolation.then(|| MountPlan { private: vec![private("/tmp")], ..MountPlan::default() }),
        resource_limits: Vec::new(),
        umask: 0o022,
        oom_score_adjustment: 100,
    }
}

fn fork_rate(launches: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..launches {
        std::process::Command::new("/bin/true").status().unwrap();
    }
    launches as f64 / start.elapsed().as_secs_f64()
}
