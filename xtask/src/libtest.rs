//! Reads what a test program printed.
//!
//! A test that cannot run on this machine prints a line `skipped: REASON` (or
//! `SKIPPED: NAME: REASON`) and returns; programs are run with `--show-output`,
//! so such lines are seen here and the test counts as skipped, not as passed.

use crate::stage::Tally;

/// The arguments that make a test program print what is read here.
pub(crate) const ARGUMENTS: &[&str] = &["--show-output"];

/// How the line begins that a test prints when it cannot run here.
const SKIPPED: [&str; 2] = ["skipped: ", "SKIPPED: "];

/// Counts the tests in the output of one or several programs; `ended_well` says
/// whether the last thing that ran answered success.
pub(crate) fn read(output: &str, ended_well: bool) -> Tally {
    let mut tally = Tally::default();
    let mut summaries = 0;
    let skipped = skipped_by_themselves(output);
    for line in output.lines() {
        if let Some(counts) = line.strip_prefix("test result: ") {
            summaries += 1;
            read_counts(counts, &mut tally);
        } else if let Some(verdict) = line.strip_prefix("test ") {
            read_verdict(verdict, output, &mut tally);
        }
    }
    // They returned, so the program counted them as passed.
    tally.passed = tally.passed.saturating_sub(skipped.len());
    for reason in skipped {
        tally.skip(reason);
    }
    if summaries == 0 || (!ended_well && tally.failed == 0) {
        tally.fail("the test program ended without a result");
    }
    tally
}

/// The tests that passed only in that they found nothing to do here, with their
/// reasons; one per test, however often it says so.
fn skipped_by_themselves(output: &str) -> Vec<String> {
    let mut skipped = Vec::new();
    let mut shown: Option<&str> = None;
    let mut passed_ones = false;
    for line in output.lines() {
        match line {
            "successes:" => passed_ones = true,
            "failures:" => passed_ones = false,
            _ => {}
        }
        if let Some(name) = shown_test(line) {
            shown = Some(name).filter(|_| passed_ones);
        } else if line.starts_with("test result: ") {
            shown = None;
        } else if let Some(reason) = skip_reason(line)
            && let Some(name) = shown.take()
        {
            skipped.push(skip_note(name, reason));
        }
    }
    skipped
}

fn skip_reason(line: &str) -> Option<&str> {
    let line = line.trim_start();
    SKIPPED.iter().find_map(|start| line.strip_prefix(start))
}

/// Name and reason; the reason may begin with the name's last part.
fn skip_note(name: &str, reason: &str) -> String {
    let own = name.rsplit("::").next().unwrap_or(name);
    let rest = reason
        .strip_prefix(own)
        .and_then(|rest| rest.strip_prefix(": "));
    format!("{name}: {}", rest.unwrap_or(reason))
}

/// `---- NAME stdout ----`, before what a test printed.
fn shown_test(line: &str) -> Option<&str> {
    let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
    Some(name.strip_suffix(" stdout").unwrap_or(name))
}

/// `NAME ... FAILED`, `NAME ... ignored, REASON`.
fn read_verdict(line: &str, output: &str, tally: &mut Tally) {
    let Some((name, verdict)) = line.split_once(" ... ") else {
        return;
    };
    if verdict.starts_with("FAILED") {
        tally.notes.push(format!("FAILED {name}"));
    } else if let Some(reason) = verdict.strip_prefix("ignored") {
        let reason = match reason.trim_start_matches(", ") {
            "" => said_before(name, output).unwrap_or("the test gives no reason"),
            reason => reason,
        };
        tally.notes.push(format!("skipped {name}: {reason}"));
    }
}

/// The reason on a line `SKIPPED: NAME: REASON` of a program that decides before
/// its tests run.
fn said_before<'a>(name: &str, output: &'a str) -> Option<&'a str> {
    output
        .lines()
        .filter_map(skip_reason)
        .find_map(|reason| reason.strip_prefix(name)?.strip_prefix(": "))
}

/// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`
fn read_counts(line: &str, tally: &mut Tally) {
    let counts = line.split_once(". ").map_or(line, |(_, counts)| counts);
    for part in counts.split("; ") {
        let Some((number, what)) = part.split_once(' ') else {
            continue;
        };
        let number: usize = number.parse().unwrap_or(0);
        match what {
            "passed" => tally.passed += number,
            "failed" => tally.failed += number,
            "ignored" => tally.skipped += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
SKIPPED: c::cgroups: no controller
running 5 tests
test c::cgroups ... ignored
test a::works ... ok
test a::needs_root ... ok
test b::later ... ignored, takes an hour
test b::breaks ... FAILED

successes:

---- a::needs_root stdout ----
skipped: needs root
skipped: really


successes:
    a::works

failures:

---- b::breaks stdout ----
skipped: not at all
assertion failed

test result: FAILED. 2 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.01s
";

    #[test]
    fn every_test_is_counted_once() {
        let tally = read(OUTPUT, false);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (1, 1, 3));
        assert_eq!(
            tally.notes,
            [
                "skipped c::cgroups: no controller",
                "skipped b::later: takes an hour",
                "FAILED b::breaks",
                "skipped a::needs_root: needs root",
            ]
        );
    }

    #[test]
    fn a_reason_may_repeat_the_name() {
        for line in ["skipped: no disk", "  SKIPPED: full: no disk"] {
            let reason = skip_reason(line).unwrap();
            assert_eq!(skip_note("store::full", reason), "store::full: no disk");
        }
        assert_eq!(skip_reason("it was skipped: no"), None);
    }

    #[test]
    fn a_program_that_dies_is_a_failure() {
        assert_eq!(read("running 2 tests\ntest a ... ok\n", false).failed, 1);
        let crashed_later = "test result: ok. 1 passed; 0 failed; 0 ignored\n";
        assert_eq!(read(crashed_later, false).failed, 1);
        assert_eq!(read(crashed_later, true).failed, 0);
    }

    #[test]
    fn several_programs_add_up() {
        let output = "test result: ok. 1 passed; 0 failed; 0 ignored\n".repeat(3);
        assert_eq!(read(&output, true).passed, 3);
    }
}
