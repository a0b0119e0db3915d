//! How fast and how small the daemon is on this machine.
//!
//! * `machine` — what can be expected of the machine: its fork limit, its disk.
//! * `figure` — a measured value, the table and the JSON.
//! * `statistics` — medians and other quantiles.
//! * `load` — submits many jobs over HTTP and waits for their ends.
//! * `account` — whose processor time it was.
//! * `plan`, `dispatch`, `latency`, `memory`, `restart`, `api`, `gpus`, `storage` — the measurements.
//!
//! Times are printed and never asserted: they belong to the machine. What is
//! asserted is that the work was really done (every job succeeded, every process
//! survived), because a fast failure is no figure.

#![allow(
    clippy::panic,
    reason = "a measurement that went wrong has no value; there is nothing to recover"
)]

mod account;
mod api;
mod dispatch;
mod figure;
mod gpus;
mod latency;
mod load;
mod machine;
mod memory;
mod plan;
mod restart;
mod statistics;
mod storage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::figure::{Figure, Report};
use crate::machine::Machine;

/// Measures the built daemon on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// What to measure [default: everything]
    #[arg(value_enum)]
    measurements: Vec<Measurement>,
    /// Writes the figures to a file as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Jobs of one dispatch run
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    jobs: usize,
    /// Dispatch runs, of which the median is reported
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: usize,
    /// Processor cores that each small job asks for: decides how many run at once
    #[arg(long, default_value_t = load::SHARE_CORES, value_name = "CORES")]
    share: f64,
}

/// What can be measured by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// One call of a framework plugin
    Plan,
    /// Small jobs per second, and the daemon's processor time for each
    Dispatch,
    /// From PUT to the first line of the user's command
    Latency,
    /// Resident memory, idle and after many jobs
    Memory,
    /// From a start after `kill -9` to the first answer
    Restart,
    /// Requests per second and their latency, by the load tool `wrk`
    Api,
    /// What looking at eight simulated GPUs every second costs the daemon
    Gpus,
    /// NFS servers in user space side by side, and the mount in user space
    Storage,
}

impl Measurement {
    /// Whether jobs run in it, with a control group and a user of their own.
    fn needs_root(self) -> bool {
        !matches!(self, Self::Plan | Self::Api)
    }

    fn run(self, machine: &Machine, arguments: &Arguments) -> Vec<Figure> {
        match self {
            Self::Plan => plan::measure(machine),
            Self::Dispatch => {
                dispatch::measure(machine, arguments.jobs, arguments.runs, arguments.share)
            }
            Self::Latency => latency::measure(machine, arguments.share),
            Self::Memory => memory::measure(machine, arguments.share),
            Self::Restart => restart::measure(machine),
            Self::Api => api::measure(),
            Self::Gpus => gpus::measure(machine),
            Self::Storage => storage::measure(machine),
        }
    }
}

fn main() -> ExitCode {
    let mut own = std::env::args().skip(1);
    if own.next().is_some_and(|first| first == storage::SUBCOMMAND) {
        return storage::serve(own);
    }
    let mut arguments = Arguments::parse();
    if arguments.measurements.is_empty() {
        arguments.measurements = Measurement::value_variants().to_vec();
    }
    let machine = Machine::examine();
    println!("{machine}");
    let mut report = Report::new(&machine);
    for &measurement in &arguments.measurements {
        if measurement.needs_root() && !nix::unistd::geteuid().is_root() {
            println!(
                "{measurement:?} cannot be measured without root: jobs would have no control group and no user of their own"
            );
            continue;
        }
        if measurement == Measurement::Api && !api::is_possible() {
            println!(
                "{measurement:?} cannot be measured without the load tool: install the package wrk"
            );
            continue;
        }
        if measurement == Measurement::Storage
            && let Some(reason) = storage::missing()
        {
            println!("{measurement:?} cannot be measured: {reason}");
            continue;
        }
        eprintln!("measuring {measurement:?} …");
        report.add(measurement.run(&machine, &arguments));
    }
    print!("{report}");
    match arguments
        .json
        .map(|path| std::fs::write(&path, report.json()).map_err(|error| (path, error)))
    {
        Some(Err((path, error))) => {
            eprintln!("error: cannot write {}: {error}", path.display());
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
