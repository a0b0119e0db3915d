//! Plants faults in the leader, one at a time, and requires that the simulator finds each.

use std::time::Duration;

use crate::command;
use crate::error::Error;
use crate::stage::{Session, Tally};

/// Faults of `lote-control::planted`.
const FAULTS: &[&str] = &[
    "skip-fencing",
    "split-gang",
    "forget-report",
    "ignore-drain",
    "double-budget",
    "early-withdrawal",
];

/// Compiling the leader, and playing seeds until one fails.
const LIMIT: Duration = Duration::from_mins(10);

/// The test that plays the seeds, and how it begins to tell of one that failed.
const TEST: &str = "every_seed_keeps_the_invariants_and_ends_every_job";
const FOUND: &str = "LOTE_SEED=";

/// Builds the simulator with each fault and runs it.
pub(crate) fn run(session: &mut Session) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    for fault in FAULTS {
        let mut simulator = session.workspace.cargo(&["test", "--release"]);
        simulator.args(["--package", "lote-control", "--test", "simulator"]);
        simulator.args(["--features", "lote-control/planted"]);
        simulator.args(["--", "--exact", TEST]);
        simulator.env("LOTE_PLANTED", fault);
        let log = session.logs.join(format!("simulation-{fault}.log"));
        let ended = command::run_logged(&mut simulator, &log, LIMIT)?;
        let said = command::read_lossy(&log)?;
        let seed = said.lines().find(|line| line.contains(FOUND));
        match seed.filter(|_| !ended.success()) {
            Some(seed) => {
                println!("   {fault}: found; {seed}");
                tally.passed += 1;
            }
            None => tally.fail(format!("{fault}: not found (see {})", log.display())),
        }
    }
    Ok(tally)
}
