//! What a workspace has used on each day: the sum of its runs that have ended.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// What one run of a job used, from the grant of its nodes to their return.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunUsage {
    /// When it got its nodes.
    pub since: Timestamp,
    /// When it ended.
    pub until: Timestamp,
    /// What it used in that time.
    pub amounts: UsedAmounts,
}

/// What was used, whenever that was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsedAmounts {
    /// Time that nodes were held, a part of a node counting as that part.
    pub node_seconds: f64,
    /// Time that GPUs were held.
    pub gpu_seconds: f64,
    /// Time that processors worked.
    pub cpu_seconds: f64,
    /// Energy that GPUs drew; absent if no driver tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_energy_joules: Option<f64>,
}

impl UsedAmounts {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let energy = match (self.gpu_energy_joules, other.gpu_energy_joules) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        Self {
            node_seconds: self.node_seconds + other.node_seconds,
            gpu_seconds: self.gpu_seconds + other.gpu_seconds,
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            gpu_energy_joules: energy,
        }
    }

    fn times(&self, part: f64) -> Self {
        Self {
            node_seconds: self.node_seconds * part,
            gpu_seconds: self.gpu_seconds * part,
            cpu_seconds: self.cpu_seconds * part,
            gpu_energy_joules: self.gpu_energy_joules.map(|joules| joules * part),
        }
    }
}

/// What a workspace used on one day (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DailyUsage {
    /// Runs of jobs that ended on that day; a job that was started again has several.
    pub runs_ended: u64,
    /// What was used on that day.
    #[serde(flatten)]
    pub amounts: UsedAmounts,
}

impl DailyUsage {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            runs_ended: self.runs_ended + other.runs_ended,
            amounts: self.amounts.plus(&other.amounts),
        }
    }
}

impl RunUsage {
    /// Its use on each day (UTC), as if it had used as much at any time; on the day on which it
    /// ended it counts as a run. Never empty.
    pub fn by_day(&self) -> BTreeMap<Date, DailyUsage> {
        let day_of = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        let start_of = |day: Date| day.to_zoned(TimeZone::UTC).map(|start| start.timestamp());
        let (mut day, last) = (day_of(self.since.min(self.until)), day_of(self.until));
        let whole = seconds(self.since, self.until);
        let mut days = BTreeMap::new();
        loop {
            let begin = start_of(day).map_or(self.since, |start| start.max(self.since));
            let next = day.checked_add(1.day()).ok().filter(|_| day < last);
            let end = next.and_then(|next| start_of(next).ok());
            let time = seconds(begin, end.unwrap_or(self.until));
            let part = if whole > 0.0 { time / whole } else { 1.0 };
            let usage = DailyUsage {
                runs_ended: u64::from(end.is_none()),
                amounts: self.amounts.times(part),
            };
            days.insert(day, usage);
            match next.filter(|_| end.is_some()) {
                Some(next) => day = next,
                None => break,
            }
        }
        days
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn run(since: &str, until: &str) -> RunUsage {
        RunUsage {
            since: since.parse().unwrap(),
            until: until.parse().unwrap(),
            amounts: UsedAmounts {
                node_seconds: 100.0,
                gpu_seconds: 800.0,
                cpu_seconds: 10.0,
                gpu_energy_joules: Some(1000.0),
            },
        }
    }

    #[test]
    fn a_run_within_a_day_counts_there() {
        let run = run("2026-11-27T10:00:00Z", "2026-11-27T11:00:00Z");
        let days: Vec<_> = run.by_day().into_iter().collect();
        let whole = DailyUsage {
            runs_ended: 1,
            amounts: run.amounts,
        };
        assert_eq!(days, [(date(2026, 11, 27), whole)]);
    }

    #[test]
    fn a_run_over_midnight_counts_on_both_days_by_its_time_there() {
        let days = run("2026-12-31T23:00:00Z", "2027-01-01T03:00:00Z").by_day();
        let told: Vec<_> = days
            .iter()
            .map(|(day, used)| (*day, used.runs_ended, used.amounts.gpu_seconds))
            .collect();
        assert_eq!(
            told,
            [(date(2026, 12, 31), 0, 200.0), (date(2027, 1, 1), 1, 600.0)]
        );
    }

    #[test]
    fn a_run_of_no_time_is_not_lost() {
        let days = run("2026-11-27T00:00:00Z", "2026-11-27T00:00:00Z").by_day();
        assert_eq!(
            days[&date(2026, 11, 27)].amounts,
            run("2026-11-27T00:00:00Z", "2026-11-27T00:00:00Z").amounts
        );
        // A clock that was set back.
        let days = run("2026-11-27T00:00:00Z", "2026-11-25T00:00:00Z").by_day();
        assert_eq!(days.len(), 1);
        assert_eq!(days.values().map(|day| day.runs_ended).sum::<u64>(), 1);
        assert!(days.contains_key(&date(2026, 11, 25)));
    }

    proptest! {
        #[test]
        fn days_add_up_to_the_run(since in 1_700_000_000_i64..1_800_000_000, length in 0_i64..10_000_000) {
            let at = |second| Timestamp::from_second(second).unwrap();
            let run = RunUsage { since: at(since), until: at(since + length), ..run("2026-11-27T00:00:00Z", "2026-11-27T00:00:00Z") };
            let days = run.by_day();
            let sum = days.values().fold(DailyUsage::default(), |sum, day| sum.plus(day));
            prop_assert_eq!(sum.runs_ended, 1);
            prop_assert!((sum.amounts.gpu_seconds - 800.0).abs() < 1e-6);
            prop_assert!((sum.amounts.gpu_energy_joules.unwrap() - 1000.0).abs() < 1e-6);
            prop_assert!(i64::try_from(days.len()).unwrap() <= length / 86_400 + 2);
        }
    }
}
