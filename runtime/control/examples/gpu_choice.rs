//! What it costs to choose the GPUs, processors and ports of a job on a node:
//! `cargo run --release -p lote-control --example gpu_choice`.
//!
//! On machines of 4, 8 and 16 GPUs with several topologies, and on one of 56 MIG instances, empty and
//! half in use, for jobs of each size. Times are medians and the worst of all sizes.

use std::time::{Duration, Instant};

use lote_control::room::{Request, cut};
use lote_control::testing::{job, node};
use lote_model::allocation::Grant;
use lote_model::gpu::{GpuDistance, NumaNode};
use lote_model::node::NodeRecord;

const PORTS_PER_ALLOCATION: u16 = 16;
const REPEATS: usize = 2_001;

/// A machine of two sockets, its GPUs half on each.
fn machine(gpus: u32, way: impl Fn(u32, u32) -> GpuDistance) -> NodeRecord {
    let mut record = node("n").gpus(gpus).cores(128).0;
    for gpu in &mut record.gpus {
        gpu.numa_node = Some(gpu.minor * 2 / gpus);
    }
    record.numa_nodes = (0..2)
        .map(|id| NumaNode {
            id,
            cpu_cores: 64,
            memory_bytes: record.memory_bytes / 2,
        })
        .collect();
    let row = |one: u32| {
        let way = |other| {
            if one == other {
                GpuDistance::Same
            } else {
                way(one.min(other), one.max(other))
            }
        };
        (0..gpus).map(way).collect()
    };
    record.gpu_distances = (0..gpus).map(row).collect();
    record
}

/// What a job asks for that shares a node.
fn request(name: &str, gpus: u32, cpus: f64) -> Request {
    let record = job(name).share(gpus, cpus, Some("1g")).0;
    Request::of(&record.properties, &record.framework)
}

/// What a job holds that has the first half of the GPUs.
fn half(record: &NodeRecord) -> Option<Grant> {
    let count = u32::try_from(record.gpus.len()).unwrap_or(0) / 2;
    let request = request("half", count, 16.0);
    cut(&request, record, [].iter(), PORTS_PER_ALLOCATION)
}

fn cost(record: &NodeRecord, holds: &[Grant], gpus: u32) -> Duration {
    let request = request("j", gpus, 4.0);
    let mut times: Vec<Duration> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            let grant = cut(&request, record, holds.iter(), PORTS_PER_ALLOCATION);
            assert!(grant.is_some(), "there is room");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let islands = |size: u32| {
        move |one: u32, other: u32| {
            if one / size == other / size {
                GpuDistance::NvLink(12)
            } else {
                GpuDistance::System
            }
        }
    };
    let switched = |one: u32, other: u32| match (one / 2 == other / 2, one / 8 == other / 8) {
        (true, _) => GpuDistance::PcieSwitch,
        (false, true) => GpuDistance::HostBridge,
        (false, false) => GpuDistance::System,
    };
    // The hybrid cube mesh of eight GPUs: two links along a face, one across.
    let mesh = |one: u32, other: u32| match (other - one, one / 4 == other / 4) {
        (4, _) => GpuDistance::NvLink(2),
        (_, true) => GpuDistance::NvLink(1 + u8::from((one + other) % 2 == 1)),
        _ => GpuDistance::System,
    };
    let instances = |one: u32, other: u32| {
        if one / 7 == other / 7 {
            GpuDistance::Same
        } else {
            GpuDistance::NvLink(18)
        }
    };
    let machines = [
        ("4, all NVLink", machine(4, |_, _| GpuDistance::NvLink(18))),
        ("8, all NVLink", machine(8, |_, _| GpuDistance::NvLink(18))),
        ("8, two islands", machine(8, islands(4))),
        ("8, cube mesh", machine(8, mesh)),
        ("16, PCIe switches", machine(16, switched)),
        ("56 MIG instances", machine(56, instances)),
    ];
    println!("{:<20} {:>12} {:>12}", "machine", "empty µs", "half µs");
    for (name, record) in &machines {
        let count = u32::try_from(record.gpus.len()).unwrap_or(0);
        let worst = |holds: &[Grant], most: u32| {
            let sizes = (1..=most).map(|gpus| cost(record, holds, gpus));
            sizes.max().unwrap_or_default().as_secs_f64() * 1e6
        };
        let held: Vec<Grant> = half(record).into_iter().collect();
        let (empty, used) = (worst(&[], count), worst(&held, count / 2));
        println!("{name:<20} {empty:>12.1} {used:>12.1}");
    }
}
