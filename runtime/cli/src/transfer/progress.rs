//! How far it is: a line that is written over on a terminal, a line for each file
//! elsewhere.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lote_model::quantity::format_bytes;

use crate::console::Console;
use crate::output::seconds;

/// How often the line changes.
const PERIOD: Duration = Duration::from_millis(100);

/// How far several files are.
pub struct Progress<'a> {
    console: &'a Console,
    /// What is done to the files: `sent`, `fetched`.
    verb: &'static str,
    /// Whether each file is told where lines stay: not if there is only one.
    names: bool,
    begun: Instant,
    total: u64,
    /// Bytes that were moved now.
    moved: AtomicU64,
    /// Bytes that need not be moved.
    there: AtomicU64,
    shown: Mutex<Option<Instant>>,
}

impl<'a> Progress<'a> {
    /// That of so many files with so many bytes together.
    pub fn new(console: &'a Console, verb: &'static str, files: usize, total: u64) -> Self {
        Self {
            console,
            verb,
            names: files > 1,
            begun: Instant::now(),
            total,
            moved: AtomicU64::new(0),
            there: AtomicU64::new(0),
            shown: Mutex::new(None),
        }
    }

    /// So many bytes more were moved.
    pub fn add(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    /// So many bytes more are there without being moved.
    pub fn there_already(&self, bytes: u64) {
        self.there.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    /// A file is complete.
    pub fn file_done(&self, name: &str, size: u64) {
        if self.names && !self.console.is_live() {
            let size = format_bytes(size);
            self.console
                .error(&format!("{} {name} ({size})\n", self.verb));
        }
    }

    /// How many bytes were moved.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// How long it has taken.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn show(&self) {
        if !self.console.is_live() {
            return;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.is_some_and(|shown| shown.elapsed() < PERIOD) {
            return;
        }
        *shown = Some(Instant::now());
        let there = self.there.load(Ordering::Relaxed);
        self.console
            .status(&line(self.moved(), there, self.total, self.seconds()));
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.console.clear_status();
    }
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Progress")
            .field("moved", &self.moved)
            .finish_non_exhaustive()
    }
}

/// The line: how much of how much, how fast, how long still.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "for people; not negative; saturates"
)]
pub fn line(moved: u64, there: u64, total: u64, elapsed: f64) -> String {
    let done = moved + there;
    let rate = moved as f64 / elapsed.max(0.001);
    let percent = (done * 100).checked_div(total).unwrap_or(100).min(100);
    let mut text = format!(
        "{percent:>3} %  {} of {}  {}/s",
        format_bytes(done),
        format_bytes(total.max(done)),
        format_bytes(rate as u64)
    );
    if rate > 0.0 && total > done {
        let left = seconds((total - done) as f64 / rate);
        // Writing to a String cannot fail.
        let _ = write!(text, "  {left} left");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_what_was_moved() {
        let mib = 1 << 20;
        assert_eq!(
            line(10 * mib, 40 * mib, 100 * mib, 5.0),
            " 50 %  50.0 MiB of 100.0 MiB  2.0 MiB/s  25.0 s left"
        );
        assert_eq!(line(0, 0, 100, 0.0), "  0 %  0 B of 100 B  0 B/s");
        assert_eq!(line(5, 0, 0, 1.0), "100 %  5 B of 5 B  5 B/s");
    }
}
