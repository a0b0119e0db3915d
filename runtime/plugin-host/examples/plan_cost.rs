//! What a plan costs through the component: `cargo run --release -p lote-plugin-host
//! --example plan_cost [FOLDER]`, after `cargo xtask plugins`.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lote_model::plan::{AllocatedNode, AllocationInput, JobInput};
use lote_plugin_host::{Host, Plugin};
use serde_json::json;

/// Calls per figure; the median of fewer moves between runs.
const CALLS: usize = 401;

fn main() -> Result<(), Box<dyn Error>> {
    let path = folder().join("pytorch.wasm");
    let bytes = std::fs::read(&path)
        .map_err(|error| format!("{}: {error}; run `cargo xtask plugins`", path.display()))?;
    let cache = std::env::temp_dir().join(format!("lote-plan-cost-{}", std::process::id()));
    let begin = Instant::now();
    let host = Host::new(Some(&cache))?;
    println!("engine            {:>9.1?}", begin.elapsed());
    let cold = timed(|| host.load("pytorch", &bytes));
    println!("load, compiling   {:>9.1?}", cold.1);
    let plugin = cold.0?;
    let warm = median(51, || timed(|| host.load("pytorch", &bytes).map(drop)).1);
    println!("load from cache   {warm:>9.1?}  (median of 51)");
    std::fs::remove_dir_all(&cache)?;
    for (nodes, ranks_per_node) in [(2, 1), (64, 1), (64, 8)] {
        report(&plugin, nodes, ranks_per_node)?;
    }
    Ok(())
}

fn report(plugin: &Plugin, nodes: u32, ranks_per_node: u32) -> Result<(), Box<dyn Error>> {
    let (job, allocation) = (job(nodes, ranks_per_node), allocation(nodes));
    let plan = plugin.plan(&job, &allocation)?;
    let processes = plan.processes.len();
    let planned = median(CALLS, || timed(|| plugin.plan(&job, &allocation)).1);
    let validated = median(CALLS, || timed(|| plugin.validate(&job)).1);
    println!(
        "{nodes:>3} nodes, {processes:>3} ranks: plan {planned:>9.1?}, validate {validated:>9.1?}  (median of {CALLS})"
    );
    Ok(())
}

fn folder() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let default =
        || std::env::var_os("LOTE_PLUGIN_DIR").map_or(target.join("plugins"), PathBuf::from);
    std::env::args_os()
        .nth(1)
        .map_or_else(default, PathBuf::from)
}

fn timed<R>(call: impl FnOnce() -> R) -> (R, Duration) {
    let begin = Instant::now();
    let result = call();
    (result, begin.elapsed())
}

fn median(calls: usize, mut call: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..calls).map(|_| call()).collect();
    times.sort();
    times[calls / 2]
}

fn job(nodes: u32, ranks_per_node: u32) -> JobInput {
    JobInput {
        id: "job".to_owned(),
        node_count: nodes,
        settings: json!({
            "pythonScriptFilePath": "$AZ_BATCHAI_INPUT_CODE/train.py",
            "commandLineArgs": "--epochs 10 --output $AZ_BATCHAI_OUTPUT_MODEL",
            "processCount": nodes * ranks_per_node,
            "communicationBackend": "Gloo",
        }),
        mounts: vec![],
        variables: vec![],
    }
}

fn allocation(nodes: u32) -> AllocationInput {
    let node = |rank: u32| AllocatedNode {
        rank,
        name: format!("node-{rank}"),
        address: format!("10.0.0.{rank}"),
        gpus: vec![],
        cpu_cores: 16,
        ports: (2222..2230).collect(),
    };
    AllocationInput {
        nodes: (0..nodes).map(node).collect(),
        shared_scratch: None,
        local_scratch: "/scratch/job".to_owned(),
        peer_launcher: None,
        attempt: 1,
    }
}
