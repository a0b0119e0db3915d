//! What can be expected of the machine, so that figures of two machines, or of one
//! machine that others use meanwhile, can be compared.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::statistics::median;

/// How long the fork limit is measured.
const FORKING: Duration = Duration::from_secs(1);

/// Durable writes of which the median is taken.
const SYNCS: usize = 50;

/// The machine and its limits at the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    processor: String,
    kernel: String,
    fork_limit: f64,
    sync_milliseconds: f64,
}

impl Machine {
    pub(crate) fn examine() -> Self {
        Self {
            cores: cores(),
            memory_bytes: kib("/proc/meminfo", "MemTotal:") * 1024,
            processor: line_after("/proc/cpuinfo", "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            fork_limit: fork_limit(),
            sync_milliseconds: sync_milliseconds(Path::new("/var/tmp")),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "cores": self.cores,
            "memoryBytes": self.memory_bytes,
            "processor": self.processor,
            "kernel": self.kernel,
            "forkLimitPerSecond": self.fork_limit.round(),
            "syncMilliseconds": self.sync_milliseconds,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} cores ({}), {} MiB, Linux {}; it starts {:.0} processes/s and makes 4 KiB durable in {:.2} ms",
            self.cores,
            self.processor,
            self.memory_bytes >> 20,
            self.kernel,
            self.fork_limit,
            self.sync_milliseconds,
        )
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processes per second that this machine can start, run and wait for at most:
/// `/bin/true`, from one thread per core, by the quickest way the kernel has (the
/// standard library goes through `posix_spawn`, which borrows the memory of the
/// parent until the program is executed).
pub(crate) fn fork_limit() -> f64 {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let status = Command::new("/bin/true").stdin(Stdio::null()).status();
                    assert!(
                        status.is_ok_and(|status| status.success()),
                        "/bin/true runs"
                    );
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(FORKING);
        stop.store(true, Ordering::Relaxed);
    });
    let started = u32::try_from(count.into_inner()).unwrap_or(u32::MAX);
    f64::from(started) / start.elapsed().as_secs_f64()
}

/// How long 4 KiB at the end of a file take to become durable, in the middle.
fn sync_milliseconds(folder: &Path) -> f64 {
    let Ok(mut file) = tempfile::tempfile_in(folder) else {
        return f64::NAN;
    };
    let write = |file: &mut File| {
        let start = Instant::now();
        file.write_all(&[0; 4096])
            .and_then(|()| file.sync_data())
            .ok()?;
        Some(start.elapsed().as_secs_f64() * 1000.0)
    };
    let times: Vec<f64> = (0..SYNCS).filter_map(|_| write(&mut file)).collect();
    median(&times)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn line_after(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or_else(
        || "unknown".to_owned(),
        |rest| rest.trim_start_matches([':', ' ', '\t']).to_owned(),
    )
}

fn kib(path: &str, name: &str) -> u64 {
    let rest = line_after(path, name);
    rest.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
