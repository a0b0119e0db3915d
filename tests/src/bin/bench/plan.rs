//! One call of a framework plugin: a fresh instance, the plan, its check.
//!
//! Measured by the plugin host's own example `plan_cost`, because only the host may
//! call plugins; this reads what it prints.

use std::path::PathBuf;
use std::process::Command;

use lote_tests::daemon::binary;

use crate::figure::Figure;
use crate::machine::{Machine, fork_limit};

pub(crate) fn measure(_machine: &Machine) -> Vec<Figure> {
    let limit = fork_limit();
    let output = match Command::new(program()).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        failed => {
            println!(
                "the plan call cannot be measured: {} did not run: {failed:?}",
                program().display()
            );
            println!("`cargo xtask bench` builds it, and the plugins that it calls");
            return Vec::new();
        }
    };
    let planned = output.lines().filter_map(read_line);
    planned
        .map(|(name, milliseconds)| {
            Figure::new(name, milliseconds, "ms", limit).note("pytorch, its component")
        })
        .collect()
}

/// `LOTE_PLAN_COST`, or where Cargo builds it.
fn program() -> PathBuf {
    let built = || binary().with_file_name("examples").join("plan_cost");
    std::env::var_os("LOTE_PLAN_COST").map_or_else(built, PathBuf::from)
}

/// `64 nodes, 512 ranks: plan 1.1ms, validate 15.0µs  (…)`.
fn read_line(line: &str) -> Option<(String, f64)> {
    let (job, times) = line.trim().split_once(": plan ")?;
    let time = times.split(',').next()?;
    Some((format!("plan call: {job}"), milliseconds(time.trim())?))
}

/// A duration as `Debug` shows it.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("µs", 1e-3), ("ns", 1e-6), ("ms", 1.0), ("s", 1e3)];
    let (number, factor) = units
        .iter()
        .find_map(|&(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    number.parse::<f64>().ok().map(|number| number * factor)
}
