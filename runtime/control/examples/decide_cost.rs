//! What one pass costs: `cargo run --release -p lote-control --example decide_cost`.
//!
//! For sites of 100, 1,000 and 10,000 nodes and queues of 1,000, 10,000 and 100,000 jobs, in four
//! mixes:
//!
//! * `alike`: one cluster, and jobs that are all alike;
//! * `gangs`: one cluster, jobs of 1 to 64 nodes with many limits and priorities;
//! * `clusters`: the same jobs in 200 clusters of 40 workspaces that take their nodes from one pool;
//! * `shares`: one cluster whose nodes hold up to eight jobs each, of many sizes and limits.
//!
//! Every node is in use. The columns are a pass that can start nothing; one that writes
//! explanations; one in which a tenth of the nodes is free, the first job needs nearly all nodes
//! and the others may not delay it; one in which a node has become free; then what it takes to
//! load the store, and what the snapshot holds in memory. Times are medians. Each line is measured
//! in a process of its own; `-- NODES JOBS MIX` measures one.

use std::process::Command;
use std::time::{Duration, Instant};

use lote_control::config::Config;
use lote_control::decide::decide;
use lote_control::testing::{JobBuilder, World, cluster, job, node};
use lote_model::id::{JobUid, NodeName};
use lote_model::report::Outcome;
use lote_model::state::Priority;

const NODES: [u32; 3] = [100, 1_000, 10_000];
const JOBS: [u32; 3] = [1_000, 10_000, 100_000];
const MIXES: [&str; 4] = ["alike", "gangs", "clusters", "shares"];

/// How many clusters compete for the pool in the mix of that name.
const CLUSTERS: u32 = 200;
/// How many jobs share a node in the mix of that name.
const SHARES: u32 = 8;

/// Passes are repeated so often, or for this long.
const PASSES: usize = 101;
const PATIENCE: Duration = Duration::from_secs(3);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn time_of<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

fn repeat(mut pass: impl FnMut() -> Option<Duration>) -> Duration {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < PASSES && start.elapsed() < PATIENCE {
        match pass() {
            Some(time) => times.push(time),
            None => break,
        }
    }
    median(times)
}

/// Resident memory of this process.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|text| text.parse().ok());
    pages.unwrap_or(0) * 4096
}

fn cluster_of(mix: &str, number: u32) -> String {
    if mix == "clusters" {
        format!("c{}", number % CLUSTERS)
    } else {
        "c".to_owned()
    }
}

fn waiting_job(mix: &str, nodes: u32, number: u32) -> JobBuilder {
    let job = job(&format!("queued{number}")).on(&cluster_of(mix, number));
    if mix == "alike" {
        return job;
    }
    // Steps that have no common divisor, so that all combinations occur.
    let limits = [
        600, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400, 172_800, 604_800,
    ];
    let limit = limits[number as usize % limits.len()] + u64::from(number % 7);
    let priorities = [
        Priority::Normal,
        Priority::Normal,
        Priority::Low,
        Priority::Normal,
    ];
    let job = job
        .limit_seconds(limit)
        .priority(priorities[number as usize % priorities.len()]);
    if mix == "shares" {
        let memory = format!("{}g", 1 + number % 11);
        let cpus = f64::from(1 + number % 5);
        return job.share(number % 4, cpus, Some(&memory));
    }
    job.nodes([1, 1, 1, 2, 4, 8, 1, 16, 32, 64, 3][number as usize % 11].min(nodes))
}

fn busy_world(mix: &str, nodes: u32, queued: u32) -> World {
    let mut world = World::with_config(Config {
        explanations_max: 0,
        ..Config::default()
    });
    for number in 0..nodes {
        let mut node = node(&format!("n{number:05}")).gpus(8);
        node.0.labels = [
            ("switch".to_owned(), format!("s{}", number / 16)),
            ("rack".to_owned(), format!("r{}", number / 64)),
        ]
        .into();
        world.add_node(&node);
    }
    if mix == "clusters" {
        for number in 0..CLUSTERS {
            world.put_cluster(&cluster(&cluster_of(mix, number)).auto(0, nodes));
        }
    } else {
        world.put_cluster(&cluster("c").manual(nodes));
    }
    world.settle();
    let per_node = if mix == "shares" { SHARES } else { 1 };
    for number in 0..nodes * per_node {
        let job = job(&format!("running{number}"))
            .on(&cluster_of(mix, number))
            .limit_seconds(604_800 + u64::from(number));
        world.submit(if mix == "shares" {
            job.share(1, 1.0, Some("8g"))
        } else {
            job
        });
    }
    world.settle();
    world.advance_seconds(1);
    for number in 0..queued {
        world.submit(waiting_job(mix, nodes, number));
    }
    world.advance_seconds(10);
    world.settle();
    world
}

/// What runs, node by node.
fn running(world: &World) -> Vec<(NodeName, JobUid)> {
    let allocations = world.allocations().into_iter();
    allocations
        .map(|(node, allocation)| (node, allocation.uid))
        .collect()
}

fn pass(world: &World) -> Duration {
    time_of(|| std::hint::black_box(decide(&world.snapshot, world.now))).0
}

/// All nodes are busy.
fn idle(world: &World) -> Duration {
    repeat(|| Some(pass(world)))
}

/// The queue is explained; each pass writes as many explanations as one may.
fn explaining(world: &mut World) -> Duration {
    world.snapshot = reload(
        world,
        Config {
            explanations_max: Config::default().explanations_max,
            ..Config::default()
        },
    );
    world.advance_seconds(10);
    let time = repeat(|| {
        let (time, decisions) = time_of(|| world.decide());
        for action in &decisions.actions {
            world.carry_out(action);
        }
        world.advance_seconds(1);
        decisions.explained.then_some(time)
    });
    world.snapshot = reload(
        world,
        Config {
            explanations_max: 0,
            ..Config::default()
        },
    );
    world.settle();
    time
}

fn reload(world: &World, config: Config) -> lote_control::snapshot::Snapshot {
    let loaded = world.ledger.load(config, world.now);
    loaded.unwrap_or_else(|error| {
        eprintln!("the store cannot be loaded: {error}");
        std::process::exit(1)
    })
}

/// One node at a time becomes free, and jobs start there.
fn one_freed(world: &mut World) -> Duration {
    let mut running = running(world).into_iter();
    repeat(|| {
        let (node, uid) = running.next()?;
        world.end(&uid, node.as_str(), Outcome::Completed);
        let (time, decisions) = time_of(|| world.decide());
        for action in &decisions.actions {
            world.carry_out(action);
        }
        world.settle();
        Some(time)
    })
}

/// A tenth of the nodes is free, but the first job needs nearly all, and the others may not delay
/// it.
fn large_first(mix: &str, world: &mut World, nodes: u32) -> Duration {
    let large = job("large")
        .on(&cluster_of(mix, 0))
        .nodes(nodes - nodes / 20)
        .priority(Priority::High);
    world.submit(large);
    let free = usize::try_from(nodes / 10).unwrap_or(usize::MAX);
    let mut seen: Vec<NodeName> = Vec::new();
    for (node, uid) in running(world) {
        if seen.last() != Some(&node) {
            if seen.len() == free {
                break;
            }
            seen.push(node.clone());
        }
        world.end(&uid, node.as_str(), Outcome::Completed);
    }
    // Ended jobs are concluded, and what may go before the large one starts.
    world.settle();
    repeat(|| Some(pass(world)))
}

fn measure(nodes: u32, queued: u32, mix: &str) {
    let mut world = busy_world(mix, nodes, queued);
    let before = resident_bytes();
    let (load, loaded) = time_of(|| reload(&world, Config::default()));
    let memory_mib = resident_bytes().saturating_sub(before) >> 20;
    drop(loaded);
    let idle = idle(&world);
    let explaining = explaining(&mut world);
    let freed = one_freed(&mut world);
    let large = large_first(mix, &mut world, nodes);
    println!(
        "| {mix} | {nodes} | {queued} | {idle:.2?} | {explaining:.2?} | {large:.2?} | {freed:.2?} | {load:.0?} | {memory_mib} MiB |"
    );
}

fn measure_in_a_process(nodes: u32, queued: u32, mix: &str) {
    let program = std::env::current_exe().unwrap_or_default();
    let ended = Command::new(program)
        .args([&nodes.to_string(), &queued.to_string(), mix])
        .status();
    if !ended.is_ok_and(|status| status.success()) {
        eprintln!("measuring {mix} with {nodes} nodes and {queued} jobs failed");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [nodes, queued, mix] = arguments.as_slice() {
        match (nodes.parse(), queued.parse()) {
            (Ok(nodes), Ok(queued)) => measure(nodes, queued, mix),
            _ => eprintln!("give a number of nodes, one of jobs, and one of {MIXES:?}"),
        }
        return;
    }
    println!(
        "| mix | nodes | queued | idle | explaining | large job first | one node freed | load | snapshot |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for mix in MIXES {
        for nodes in NODES {
            for queued in JOBS {
                measure_in_a_process(nodes, queued, mix);
            }
        }
    }
}
