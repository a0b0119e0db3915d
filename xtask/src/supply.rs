//! Licences, sources and advisories of the dependencies, by `cargo-deny` and
//! the rules in `deny.toml`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command;
use crate::error::Error;
use crate::install;
use crate::stage::{Session, Tally};

/// The checks. The last one needs a database from outside.
const CHECKS: [&str; 4] = ["bans", "licenses", "sources", ADVISORIES];

/// Every lock file with dependencies of its own: the workspace's, and that of the
/// fuzz targets. One file of rules is for both.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

/// The check of known faults.
const ADVISORIES: &str = "advisories";

/// What `cargo-deny` says when it cannot get the database of advisories.
const NO_DATABASE: &str = "failed to fetch advisory database";

/// How long one check may take, fetching the database included.
const CHECK_LIMIT: Duration = Duration::from_mins(3);

/// How a check ended.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// The database of advisories could not be fetched.
    Unreachable,
}

/// Runs every check; each is one test.
pub(crate) fn check(session: &mut Session) -> Result<Tally, Error> {
    let program = install::cargo_deny(session.workspace)?;
    let mut tally = Tally::default();
    for (manifest, check) in MANIFESTS
        .into_iter()
        .flat_map(|manifest| CHECKS.map(|check| (manifest, check)))
    {
        let name = manifest.replace('/', "-");
        let log = session.logs.join(format!("supply-{check}-{name}.log"));
        let mut deny = deny(&program, &session.workspace.root, manifest, check);
        match run(&mut deny, check, &log)? {
            Verdict::Passed => tally.passed += 1,
            Verdict::Unreachable => tally.skip(format!(
                "{check} of {manifest}: the database cannot be fetched from here"
            )),
            Verdict::Failed => {
                let output = command::read_lossy(&log)?;
                let end = command::last_characters(&output);
                tally.fail(format!("{check} of {manifest}: {end}"));
            }
        }
    }
    Ok(tally)
}

fn deny(program: &Path, root: &Path, manifest: &str, check: &str) -> Command {
    let mut deny = Command::new(program);
    deny.args(["--log-level", "error", "--config", "deny.toml"])
        .args(["--manifest-path", manifest])
        .args(["check", "--hide-inclusion-graph", check])
        .current_dir(root);
    deny
}

fn run(deny: &mut Command, check: &str, log: &Path) -> Result<Verdict, Error> {
    match command::run_logged(deny, log, CHECK_LIMIT) {
        Ok(status) if status.success() => Ok(Verdict::Passed),
        Ok(_) => Ok(failure(check, &command::read_lossy(log)?)),
        Err(Error::TimedOut { .. }) if check == ADVISORIES => Ok(Verdict::Unreachable),
        Err(error) => Err(error),
    }
}

fn failure(check: &str, output: &str) -> Verdict {
    if check == ADVISORIES && output.contains(NO_DATABASE) {
        Verdict::Unreachable
    } else {
        Verdict::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_database_is_no_failure() {
        let output = "[ERROR] failed to fetch advisory database https://…";
        assert_eq!(failure("advisories", output), Verdict::Unreachable);
        assert_eq!(
            failure("advisories", "error[vulnerability]"),
            Verdict::Failed
        );
        assert_eq!(failure("bans", output), Verdict::Failed);
    }
}
