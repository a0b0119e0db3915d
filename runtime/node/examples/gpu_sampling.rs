//! What it costs a daemon to keep an eye on its GPUs.
//!
//! `cargo run --release -p lote-node --example gpu_sampling LIBRARY [seconds]`, with a real NVML or
//! the simulated one (`tests/nvml-sim`; with `find_processes = false`, so that the simulation
//! itself costs next to nothing).
#![allow(clippy::unwrap_used, reason = "a measurement, not the product")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lote_model::id::NodeName;
use lote_node::agent::{Agent, Isolation, NodeConfig, Reserved};
use lote_node::devices::DeviceConfig;
use lote_node::launch::{SPAWNER_SUBCOMMAND, SpawnerCommand, spawner_main};
use lote_store::{EmbeddedOptions, EmbeddedStore};
use nix::sys::resource::{UsageWho, getrusage};
use tokio_util::sync::CancellationToken;

/// The first rounds look at everything.
const WARM_UP: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first() {
        Some(first) if first == SPAWNER_SUBCOMMAND => return spawner_main(),
        Some(library) => {
            let seconds = arguments.get(1).map_or(60, |text| text.parse().unwrap());
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime.unwrap().block_on(measure(library, seconds));
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("name the NVML library");
            ExitCode::FAILURE
        }
    }
}

async fn measure(library: &str, seconds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let config = NodeConfig {
        name: NodeName::new("n"),
        address: "127.0.0.1".into(),
        ssh_port: 22,
        size: None,
        data_directory: folder.path().join("data"),
        nvml_library: Some(library.into()),
        gpu_check: None,
        sysfs_root: "/sys".into(),
        devices: DeviceConfig::default(),
        reserved: Reserved::default(),
        isolation: Isolation::None,
        sealing_key: None,
        secrets_file: None,
        labels: BTreeMap::new(),
        fencing: None,
        peer_address: None,
    };
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let store = EmbeddedStore::open(&store, &EmbeddedOptions::default()).unwrap();
    let spawner = SpawnerCommand {
        program: std::env::current_exe().unwrap(),
        arguments: vec![SPAWNER_SUBCOMMAND.into()],
    };
    let agent = Agent::start(config, Arc::new(store), spawner).unwrap();
    let telemetry = agent.telemetry();
    let stop = CancellationToken::new();
    let running = tokio::spawn(agent.run(stop.clone()));
    tokio::time::sleep(WARM_UP).await;
    let before = processor_seconds();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = processor_seconds() - before;
    let gpus = telemetry
        .node_sample()
        .map_or(0, |sample| sample.gpus.len());
    #[expect(clippy::cast_precision_loss, reason = "few seconds")]
    let share = used / seconds as f64 * 100.0;
    println!("{gpus} GPUs: {share:.3} % of a core, the whole node's part of the daemon");
    stop.cancel();
    running.await.unwrap();
}

fn processor_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_usec()).unwrap())
            + Duration::from_secs(u64::try_from(time.tv_sec()).unwrap())
    };
    (seconds(usage.user_time()) + seconds(usage.system_time())).as_secs_f64()
}
