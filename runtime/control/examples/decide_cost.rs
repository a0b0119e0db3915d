//! What one pass costs: `cargo run --release -p lote-control --example decide_cost`.
//!
//! For clusters of 1, 100 and 1,000 nodes and queues of 1,000 and 10,000 jobs: a pass that can
//! place nothing because all nodes are busy; one in which the first job is too large for the nodes
//! that are free; and one in which one node has become free and gets the next job, with the
//! report that freed it.

use std::time::{Duration, Instant};

use lote_control::actions::Decisions;
use lote_control::config::Config;
use lote_control::decide::decide;
use lote_control::testing::{World, cluster, job, node};
use lote_model::id::{JobUid, NodeName};
use lote_model::report::Outcome;
use lote_model::state::Priority;

const PASSES: u32 = 300;

fn busy_world(nodes: u32, queued: u32) -> World {
    let mut world = World::with_config(Config {
        explanations_max: 0,
        ..Config::default()
    });
    for number in 0..nodes {
        world.add_node(&node(&format!("n{number:04}")).gpus(8));
    }
    world.put_cluster(&cluster("c").manual(nodes));
    world.settle();
    for number in 0..nodes {
        world.submit(job(&format!("running{number}")));
    }
    world.settle();
    for number in 0..queued {
        world.submit(job(&format!("queued{number}")));
    }
    world.settle();
    world
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn time_of(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// All nodes are busy.
fn nothing_free(world: &World) -> Duration {
    let pass = || time_of(|| drop(std::hint::black_box(decide(&world.snapshot, world.now))));
    median((0..PASSES).map(|_| pass()).collect())
}

/// A tenth of the nodes is free, but the first job needs all, and the others may not delay it.
fn large_job_first(nodes: u32, queued: u32) -> Duration {
    let mut world = busy_world(nodes, queued);
    for number in 0..nodes.div_ceil(10) {
        end_job_on(&mut world, &NodeName::new(format!("n{number:04}")));
    }
    // The jobs were accepted in the past; the large one goes before them.
    world.submit(job("large").nodes(nodes).priority(Priority::High));
    for action in world.decide().actions {
        world.carry_out(&action);
    }
    nothing_free(&world)
}

fn end_job_on(world: &mut World, node: &NodeName) -> JobUid {
    let (_, allocation) = world
        .allocations()
        .into_iter()
        .find(|(on, _)| on == node)
        .unwrap_or_else(|| {
            eprintln!("no job on {node}");
            std::process::exit(1)
        });
    world.end(&allocation.uid, node.as_str(), Outcome::Completed);
    allocation.uid
}

/// One report comes, one job ends, one starts.
fn one_job(world: &mut World, nodes: u32) -> Duration {
    let pass = |world: &mut World, number: u32| {
        let node = NodeName::new(format!("n{:04}", number % nodes));
        end_job_on(world, &node);
        let mut decisions = Decisions::default();
        let time = time_of(|| {
            decisions = decide(&world.snapshot, world.now);
            world.snapshot.begin(&decisions, world.now);
        });
        for action in &decisions.actions {
            world.carry_out(action);
        }
        time
    };
    median(
        (0..PASSES.min(500))
            .map(|number| pass(world, number))
            .collect(),
    )
}

fn main() {
    println!(
        "{:>6} {:>7} {:>14} {:>17} {:>13}",
        "nodes", "queued", "nothing free", "large job first", "end + start"
    );
    for nodes in [1, 100, 1000] {
        for queued in [1000, 10_000] {
            let mut world = busy_world(nodes, queued);
            let nothing = nothing_free(&world);
            let large = large_job_first(nodes, queued);
            let one = one_job(&mut world, nodes);
            println!("{nodes:>6} {queued:>7} {nothing:>14.1?} {large:>17.1?} {one:>13.1?}");
        }
    }
}
