//! A job's samples of the last hour, fewer the older they are. Pure.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use lote_model::sample::JobSample;

/// How far back every sample is kept.
const FINE: SignedDuration = SignedDuration::from_mins(5);

/// Older than that, only one sample in this time.
const COARSE_STEP: SignedDuration = SignedDuration::from_secs(15);

/// Nothing is older.
const OLDEST: SignedDuration = SignedDuration::from_hours(1);

/// Samples in the order of time. At one a second that is 300 fine and 220 coarse ones at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    coarse: VecDeque<JobSample>,
    fine: VecDeque<JobSample>,
}

impl Ring {
    /// Adds the next sample, and forgets what has become too old.
    pub(super) fn push(&mut self, sample: JobSample) {
        let now = sample.at;
        self.fine.push_back(sample);
        let is_old = |sample: &JobSample, age| age_of(sample, now) > age;
        while let Some(old) = self.fine.pop_front_if(|sample| is_old(sample, FINE)) {
            let last = self.coarse.back();
            if last.is_none_or(|last| old.at.duration_since(last.at) >= COARSE_STEP) {
                self.coarse.push_back(old);
            }
        }
        while self
            .coarse
            .pop_front_if(|sample| is_old(sample, OLDEST))
            .is_some()
        {}
    }

    /// All of them, the oldest first.
    pub(super) fn samples(&self) -> Vec<JobSample> {
        self.coarse.iter().chain(&self.fine).cloned().collect()
    }
}

fn age_of(sample: &JobSample, now: Timestamp) -> SignedDuration {
    now.duration_since(sample.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64) -> JobSample {
        JobSample {
            at: Timestamp::from_second(second).unwrap(),
            cpu_seconds: None,
            memory_bytes: None,
            gpus: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn the_last_minutes_are_whole_and_the_hour_is_thin() {
        let mut ring = Ring::default();
        for second in 0..10_000 {
            ring.push(sample(second));
        }
        let seconds: Vec<i64> = ring.samples().iter().map(|s| s.at.as_second()).collect();
        assert!(seconds.is_sorted());
        assert_eq!(seconds.last(), Some(&9_999));
        assert!(
            seconds[0] >= 9_999 - 3_600 && seconds[0] < 9_999 - 3_580,
            "{}",
            seconds[0]
        );
        let fine = seconds
            .iter()
            .filter(|second| **second >= 9_999 - 300)
            .count();
        assert_eq!(fine, 301);
        assert_eq!(seconds.len() - fine, 220);
        let coarse = &seconds[..seconds.len() - fine];
        assert!(coarse.windows(2).all(|pair| pair[1] - pair[0] == 15));
    }
}
