//! A site in one thread: machines, daemons that take turns at leading, users, and a clock of its
//! own, all from a seed.
//!
//! Machines are cut off, lose their power and come back; leaders sleep through their lease and go
//! on with what they had begun; reports are late and come twice; what a leader sees is behind what
//! the store holds. After every step the invariants of [`checks`], [`books`], [`shares`] and [`storage`] are looked at,
//! after every decision whether it delays a job for one behind it ([`order`]), and in the end every
//! job must have ended. A seed that fails is printed; `LOTE_SEED` repeats it alone, and `LOTE_SEEDS`
//! says how many there are.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a failed test panics"
)]

mod books;
mod checks;
mod daemon;
mod disk;
mod faults;
mod machine;
mod order;
mod random;
mod shares;
mod site;
mod storage;
mod trace;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::site::Site;

/// How many seeds one run of the tests plays.
const SEEDS: u64 = 1_000;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Plays one seed to its end.
fn play(seed: u64) {
    let mut site = Site::new(seed);
    site.run();
}

#[test]
fn every_seed_keeps_the_invariants_and_ends_every_job() {
    if let Some(seed) = setting("LOTE_SEED") {
        return play(seed);
    }
    let failed = first_failure(setting("LOTE_SEEDS").unwrap_or(SEEDS));
    assert!(
        failed.is_none(),
        "seed {} fails: LOTE_SEED={} repeats it",
        failed.unwrap_or_default(),
        failed.unwrap_or_default()
    );
}

/// The smallest number of a seed that failed, played on every core.
fn first_failure(seeds: u64) -> Option<u64> {
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failed.load(Ordering::Relaxed) != u64::MAX {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| play(seed))).is_err() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Some(failed.into_inner()).filter(|seed| *seed != u64::MAX)
}

/// Without them some invariants would be kept by chance.
#[test]
fn the_traces_hold_every_reason_to_start_again() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let mut site = Site::new(seed);
        site.run();
        seen.extend(site.requeued().iter().cloned());
        if seen.len() == 4 {
            return;
        }
    }
    panic!("only {seen:?} were seen");
}

/// Also where clusters yield to each other and where machines are switched off, which not every seed
/// has.
#[test]
fn the_same_seed_is_the_same_history() {
    let history = |seed| {
        let mut site = Site::new(seed);
        site.run();
        site.store.history().to_vec()
    };
    for seed in [7, 258, 969] {
        let (one, other) = (history(seed), history(seed));
        let mut both = one.iter().zip(&other);
        let difference = both.find(|(one, other)| one != other);
        assert!(difference.is_none(), "seed {seed}: {difference:#?}");
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}
