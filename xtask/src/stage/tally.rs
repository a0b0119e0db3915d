//! Counting tests.

use std::fmt;

/// How many tests passed, failed and were skipped, and what is to be said.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: usize,
    /// Tests that failed.
    pub(crate) failed: usize,
    /// Tests that did not run.
    pub(crate) skipped: usize,
    /// A line for each failure and each reason to skip.
    pub(crate) notes: Vec<String>,
}

impl Tally {
    /// One test that passed.
    pub(crate) fn passed() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    /// One test that failed.
    pub(crate) fn failed(why: &str) -> Self {
        let mut tally = Self::default();
        tally.fail(why);
        tally
    }

    /// One test that did not run.
    pub(crate) fn skipped(why: &str) -> Self {
        let mut tally = Self::default();
        tally.skip(why);
        tally
    }

    /// Counts a failure.
    pub(crate) fn fail(&mut self, why: impl fmt::Display) {
        self.failed += 1;
        self.notes.push(format!("FAILED {why}"));
    }

    /// Counts a test that did not run.
    pub(crate) fn skip(&mut self, why: impl fmt::Display) {
        self.skipped += 1;
        self.notes.push(format!("skipped {why}"));
    }

    /// Adds what another tally counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.notes.extend(other.notes);
    }

    /// Whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.passed + self.failed + self.skipped == 0
    }

    /// One word for all of it.
    pub(crate) fn verdict(&self) -> &'static str {
        match (self.failed, self.passed) {
            (1.., _) => "FAILED",
            (0, 0) => "skipped",
            _ => "passed",
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        write!(
            formatter,
            "{passed} passed, {failed} failed, {skipped} skipped"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up_and_have_a_verdict() {
        let mut total = Tally::passed();
        assert_eq!(total.verdict(), "passed");
        total.add(Tally::skipped("no root"));
        assert_eq!(total.verdict(), "passed");
        total.add(Tally::failed("broken"));
        assert_eq!(total.verdict(), "FAILED");
        assert_eq!(total.to_string(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(total.notes, ["skipped no root", "FAILED broken"]);
        assert_eq!(Tally::skipped("no root").verdict(), "skipped");
    }
}
