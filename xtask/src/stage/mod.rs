//! The stages of `cargo xtask test` and the summary.

mod session;
mod stages;
mod tally;

use std::process::ExitCode;
use std::time::Instant;

use crate::error::{self, Error};
use crate::install;
use crate::workspace::Workspace;

pub(crate) use session::Session;
pub(crate) use tally::Tally;

use stages::STAGES;

/// One stage of the tests.
pub(crate) struct Stage {
    /// What people type.
    name: &'static str,
    /// What it checks, in one line.
    checks: &'static str,
    /// Whether all of it needs root.
    needs_root: bool,
    /// The Debian packages it needs.
    packages: &'static [&'static str],
    /// Begins what takes it long and need not wait for the stages before it.
    begin: Option<fn(&mut Session)>,
    /// Runs it.
    run: fn(&mut Session) -> Result<Tally, Error>,
}

/// The names of all stages.
pub(crate) fn names() -> Vec<&'static str> {
    STAGES.iter().map(|stage| stage.name).collect()
}

/// Prints the stages.
pub(crate) fn list() {
    for stage in STAGES {
        let root = if stage.needs_root {
            " (needs root)"
        } else {
            ""
        };
        println!("{:<13} {}{root}", stage.name, stage.checks);
    }
}

/// Runs the chosen stages, or all of them, and prints the summary.
pub(crate) fn run(workspace: &Workspace, chosen: &[String]) -> Result<ExitCode, Error> {
    let mut session = Session::new(workspace)?;
    let mut verdicts = Vec::new();
    let is_chosen =
        |stage: &Stage| chosen.is_empty() || chosen.iter().any(|name| name == stage.name);
    for stage in STAGES.iter().filter(|stage| is_chosen(stage)) {
        begin_stage(stage, &mut session);
    }
    for stage in STAGES {
        if is_chosen(stage) {
            let started = Instant::now();
            println!("\n== {}: {}", stage.name, stage.checks);
            let tally = run_stage(stage, &mut session);
            print_notes(&tally);
            verdicts.push((stage.name, tally, started.elapsed().as_secs()));
        }
    }
    println!("\n== summary (logs: {})", session.logs.display());
    let mut total = Tally::default();
    for (name, tally, seconds) in verdicts {
        println!("{name:<13} {:<8} {tally} ({seconds} s)", tally.verdict());
        total.add(tally);
    }
    println!("{total}");
    Ok(match total.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Begins what a stage has to begin, if it can. If it cannot, the stage says why when it runs.
fn begin_stage(stage: &Stage, session: &mut Session) {
    let can_run = !stage.needs_root || install::is_root();
    if let Some(begin) = stage.begin.filter(|_| can_run)
        && install::debian_packages(stage.packages).is_ok()
    {
        begin(session);
    }
}

/// Runs a stage; whatever goes wrong, or keeps it from running, becomes a count.
fn run_stage(stage: &Stage, session: &mut Session) -> Tally {
    if stage.needs_root && !install::is_root() {
        return Tally::skipped("it needs root; run this command as root");
    }
    let result = install::debian_packages(stage.packages).and_then(|()| (stage.run)(session));
    match result {
        Ok(tally) if tally.is_empty() => Tally::failed("no test matched this stage"),
        Ok(tally) => tally,
        Err(missing @ Error::Missing { .. }) => Tally::skipped(&error::chain(&missing)),
        Err(error) => Tally::failed(&error::chain(&error)),
    }
}

fn print_notes(tally: &Tally) {
    for note in &tally.notes {
        println!("   {note}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_names_are_unique() {
        let mut names = names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STAGES.len());
    }
}
