//! Builds the fuzz targets of `fuzz/` and runs each for some seconds.
//!
//! The compiler's own pass for coverage and `libfuzzer-sys` are enough, so this
//! needs neither a nightly toolchain nor another tool. The instrumented code is
//! built in a folder of its own, because it shares nothing with the rest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command;
use crate::error::Error;
use crate::stage::{Session, Tally};
use crate::workspace::Workspace;

/// The crate of the targets. It is a workspace of its own.
const MANIFEST: &str = "fuzz/Cargo.toml";

/// Makes the compiler report which code ran and what was compared.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// How long each target runs, unless the environment says otherwise.
const SECONDS: u64 = 10;

/// The variable that says otherwise.
const SECONDS_VARIABLE: &str = "LOTE_FUZZ_SECONDS";

/// How long a target may take beyond that, to load its corpus and to end.
const GRACE: Duration = Duration::from_mins(2);

/// Runs every target; each is one test.
pub(crate) fn run(session: &mut Session) -> Result<Tally, Error> {
    let programs = build(session.workspace)?;
    let seconds = std::env::var(SECONDS_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS);
    let mut tally = Tally::default();
    for name in targets(session.workspace)? {
        let log = session.logs.join(format!("fuzz-{name}.log"));
        let mut fuzz = target(session.workspace, &programs, &name, seconds)?;
        let limit = Duration::from_secs(seconds) + GRACE;
        let ended = command::run_logged(&mut fuzz, &log, limit)?;
        let said = command::read_lossy(&log)?;
        if ended.success() {
            tally.passed += 1;
            println!("   {name}: {}", executions(&said));
        } else {
            tally.fail(format!("{name}: {}", command::last_characters(&said)));
        }
    }
    Ok(tally)
}

/// A Cargo command for the crate of the targets.
pub(crate) fn cargo(workspace: &Workspace, verb: &str) -> Command {
    workspace.cargo(&[verb, "--manifest-path", MANIFEST])
}

/// Builds all targets; answers the folder of the programs.
fn build(workspace: &Workspace) -> Result<PathBuf, Error> {
    let folder = workspace.target.join("fuzz");
    // With `--target`, what only runs at build time is not instrumented.
    let mut host = Command::new("rustc");
    let host = command::capture(host.args(["--print", "host-tuple"]))?;
    let host = host.trim();
    let mut build = cargo(workspace, "build");
    build
        .args(["--locked", "--bins", "--profile", "fuzz", "--target", host])
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", FLAGS);
    command::run(&mut build)?;
    Ok(folder.join(host).join("fuzz"))
}

/// The names of the targets, in order.
fn targets(workspace: &Workspace) -> Result<Vec<String>, Error> {
    let folder = workspace.root.join("fuzz/targets");
    let entries = std::fs::read_dir(&folder).map_err(Error::file("read", &folder))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".rs").map(str::to_owned)
        })
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// One target with its corpus, which grows from run to run, and its seeds. An
/// input that it fails on is left beside the corpus.
fn target(
    workspace: &Workspace,
    programs: &Path,
    name: &str,
    seconds: u64,
) -> Result<Command, Error> {
    let corpus = workspace.target.join("xtask/corpus").join(name);
    std::fs::create_dir_all(&corpus).map_err(Error::file("create", &corpus))?;
    let mut fuzz = Command::new(programs.join(name));
    fuzz.arg(&corpus)
        .arg(workspace.root.join("fuzz/seeds").join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}-", corpus.display()))
        .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]);
    Ok(fuzz)
}

/// How much a target did, from what it printed at its end.
fn executions(said: &str) -> String {
    let number = said.lines().find_map(|line| {
        line.strip_prefix("stat::number_of_executed_units:")
            .map(str::trim)
    });
    format!("{} inputs", number.unwrap_or("no"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_inputs_is_found() {
        let said = "Done\nstat::number_of_executed_units: 1234\nstat::peak_rss_mb: 40\n";
        assert_eq!(executions(said), "1234 inputs");
        assert_eq!(executions("killed"), "no inputs");
    }

    #[test]
    fn every_target_has_seeds_and_a_place_in_the_manifest() {
        let workspace = Workspace::find().unwrap();
        let manifest = std::fs::read_to_string(workspace.root.join(MANIFEST)).unwrap();
        let names = targets(&workspace).unwrap();
        assert!(!names.is_empty());
        for name in names {
            assert!(manifest.contains(&format!("targets/{name}.rs")), "{name}");
            let seeds = workspace.root.join("fuzz/seeds").join(&name);
            assert!(std::fs::read_dir(seeds).unwrap().count() > 0, "{name}");
        }
    }
}
