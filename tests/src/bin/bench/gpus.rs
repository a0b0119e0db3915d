//! What looking at eight GPUs every second costs the daemon.

use std::time::{Duration, Instant};

use lote_tests::daemon::Daemon;
use lote_tests::gpus::machine::GpuMachine;
use lote_tests::gpus::node::{GpuNode, array};
use lote_tests::processes::scheduled_seconds;

use crate::figure::{Figure, Goal};
use crate::machine::{Machine, fork_limit};

/// How long each daemon is watched.
const WATCHED: Duration = Duration::from_mins(1);

/// How long it is left alone before, so that its start does not count.
const REST: Duration = Duration::from_secs(5);

/// Nobody is looked for: a real library asks its driver, and reading all of `/proc` instead is the
/// simulated one's own cost.
const EIGHT: &str = "find_processes = false\n\
    layout = { numa_nodes = 2, gpus_per_switch = 2, nvlink = \"all\" }\n\
    [[gpu]]\nmodel = \"H100\"\ncount = 8\n";

/// A daemon without GPUs and one with eight, side by side.
pub(crate) fn measure(_machine: &Machine) -> Vec<Figure> {
    let limit = fork_limit();
    let machine = GpuMachine::new(8, EIGHT);
    let without = Daemon::start(&["--nvml-library", "/nonexistent/libnvidia-ml.so.1"]);
    let with = machine.start(&[]);
    let gpus = array(&GpuNode::new(with.client()).properties()["gpus"]).len();
    assert_eq!(gpus, 8, "the daemon has GPUs to look at");
    std::thread::sleep(REST);
    let both = [&without, &with].map(|daemon| scheduled_seconds(daemon.pid()));
    let start = Instant::now();
    std::thread::sleep(WATCHED);
    let seconds = start.elapsed().as_secs_f64();
    let share =
        |daemon: &Daemon, before: f64| (scheduled_seconds(daemon.pid()) - before) / seconds * 100.0;
    let (idle, sampling) = (share(&without, both[0]), share(&with, both[1]));
    let figure = |name: &str, value| Figure::new(name, value, "%", limit);
    vec![
        figure("gpus: processor time of a daemon without", idle)
            .note("of one core, nothing else to do"),
        figure("gpus: the same with eight, sampled at 1 Hz", sampling)
            .note("the simulated driver's own time included"),
        figure("gpus: what eight cost", sampling - idle).goal(Goal::AtMost(0.5)),
    ]
}
