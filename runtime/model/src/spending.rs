//! What a cluster costs: a price, a budget, and what was spent of it.
//!
//! Spending is counted in milliseconds of nodes and priced only when somebody asks, so that
//! nothing is rounded away however often it is written. The stored count says until when it
//! counts; what came after follows from the clock and the nodes that are stored with it. So a
//! leader that takes over comes to the same sum, whatever became of the one before.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::money::Money;

/// Milliseconds in an hour.
const HOUR_MILLIS: u128 = 3_600_000;

/// So much may be spent in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// How much.
    pub amount: Money,
    /// In what time.
    pub period: BudgetPeriod,
}

/// The time a budget is for. Days and months are those of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BudgetPeriod {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
    /// Once and for all.
    #[default]
    Total,
}

impl BudgetPeriod {
    /// The begin of the period that a time lies in; none where there is only one.
    pub fn start(self, time: Timestamp) -> Option<Timestamp> {
        let date = time.to_zoned(TimeZone::UTC).date();
        match self {
            Self::Day => midnight(date),
            Self::Month => midnight(date.first_of_month()),
            Self::Total => None,
        }
    }

    /// When the period that a time lies in is over; none if never.
    pub fn end(self, time: Timestamp) -> Option<Timestamp> {
        let date = time.to_zoned(TimeZone::UTC).date();
        match self {
            Self::Day => midnight(date.tomorrow().ok()?),
            Self::Month => midnight(date.last_of_month().tomorrow().ok()?),
            Self::Total => None,
        }
    }

    /// For sentences: `per day`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Day => "per day",
            Self::Month => "per month",
            Self::Total => "in total",
        }
    }
}

fn midnight(date: Date) -> Option<Timestamp> {
    let zoned = date.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp())
}

/// What a cluster has spent in a period, as of [`Spending::since`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spending {
    /// From when on it is counted.
    pub period_start: Timestamp,
    /// What was spent at prices that are no longer in force.
    #[serde(default)]
    pub earlier: Money,
    /// Milliseconds of nodes at those prices.
    #[serde(default)]
    pub earlier_node_millis: u64,
    /// Milliseconds of nodes at the price in force.
    pub node_millis: u64,
    /// The price in force.
    pub price_per_node_hour: Money,
    /// Until when it is counted. What the cluster's nodes have cost since then comes on top.
    pub since: Timestamp,
}

impl Spending {
    /// Nothing spent yet.
    pub fn new(price_per_node_hour: Money, now: Timestamp) -> Self {
        Self {
            period_start: now,
            earlier: Money::ZERO,
            earlier_node_millis: 0,
            node_millis: 0,
            price_per_node_hour,
            since: now,
        }
    }

    /// Counted on to a time up to which the cluster had `nodes` nodes. A period that ended
    /// meanwhile is forgotten.
    #[must_use]
    pub fn until(&self, now: Timestamp, nodes: usize, period: BudgetPeriod) -> Self {
        let mut spending = self.clone();
        let over = period.end(self.period_start).filter(|end| *end <= now);
        if let Some(start) = over.and_then(|_| period.start(now)) {
            spending = Self {
                since: self.since.max(start),
                period_start: start,
                ..Self::new(self.price_per_node_hour, start)
            };
        }
        // A clock that went back counts nothing twice.
        let millis = now.as_millisecond() - spending.since.as_millisecond();
        if let Ok(millis) = u64::try_from(millis) {
            let nodes = u64::try_from(nodes).unwrap_or(u64::MAX);
            spending.node_millis = spending
                .node_millis
                .saturating_add(millis.saturating_mul(nodes));
            spending.since = now.max(spending.since);
        }
        spending
    }

    /// The same, with another price from now on.
    #[must_use]
    pub fn at_price(mut self, price_per_node_hour: Money) -> Self {
        if price_per_node_hour != self.price_per_node_hour {
            self.earlier = self.spent();
            self.earlier_node_millis = self.node_millis_in_all();
            self.node_millis = 0;
            self.price_per_node_hour = price_per_node_hour;
        }
        self
    }

    /// What was spent, rounded up.
    pub fn spent(&self) -> Money {
        let price = u128::from(self.price_per_node_hour.millionths());
        let spent = (u128::from(self.node_millis) * price).div_ceil(HOUR_MILLIS);
        let spent = u64::try_from(spent).unwrap_or(u64::MAX);
        self.earlier.plus(Money::from_millionths(spent))
    }

    /// Milliseconds of nodes, at whatever price.
    pub fn node_millis_in_all(&self) -> u64 {
        self.earlier_node_millis.saturating_add(self.node_millis)
    }

    /// Hours of nodes, at whatever price, in a decimal number for people.
    pub fn node_hours(&self) -> Money {
        let thousandths = self.node_millis_in_all() / 3_600;
        Money::from_millionths(thousandths.saturating_mul(1_000))
    }

    /// How long the rest of an amount pays for so many nodes, in milliseconds; none if for ever.
    pub fn lasts_millis(&self, amount: Money, nodes: usize) -> Option<u64> {
        let price = u128::from(self.price_per_node_hour.millionths());
        let rate = price.checked_mul(nodes as u128).filter(|rate| *rate > 0)?;
        let rest = u128::from(amount.minus(self.earlier).millionths()) * HOUR_MILLIS;
        let left = rest.saturating_sub(u128::from(self.node_millis) * price);
        Some(u64::try_from(left / rate).unwrap_or(u64::MAX))
    }

    /// How many nodes the rest of an amount pays for during so many milliseconds; none if any
    /// number.
    pub fn pays_for(&self, amount: Money, millis: u64) -> Option<usize> {
        let one = self.lasts_millis(amount, 1)?;
        Some(usize::try_from(one / millis.max(1)).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn money(text: &str) -> Money {
        Money::parse(text).unwrap()
    }

    #[test]
    fn periods_are_those_of_utc() {
        let time = at("2026-12-31T23:30:00Z");
        let [midnight, first] = ["2026-12-31T00:00:00Z", "2026-12-01T00:00:00Z"].map(at);
        let new_year = at("2027-01-01T00:00:00Z");
        assert_eq!(BudgetPeriod::Day.start(time), Some(midnight));
        assert_eq!(BudgetPeriod::Day.end(time), Some(new_year));
        assert_eq!(BudgetPeriod::Month.start(time), Some(first));
        assert_eq!(BudgetPeriod::Month.end(time), Some(new_year));
        assert_eq!(BudgetPeriod::Total.end(time), None);
    }

    #[test]
    fn counting_in_many_steps_is_counting_in_one() {
        let start = at("2026-08-04T10:00:00.123456Z");
        let begin = Spending::new(money("0.7"), start);
        let mut steps = begin.clone();
        for step in 1..=997 {
            let now = start + jiff::SignedDuration::from_micros(step * 123_457);
            steps = steps.until(now, 3, BudgetPeriod::Day);
        }
        let once = begin.until(steps.since, 3, BudgetPeriod::Day);
        assert_eq!(steps, once);
        // 123.086 s of three nodes at 0.7 an hour.
        assert_eq!(once.spent(), money("0.071801"));
    }

    #[test]
    fn a_period_that_is_over_is_forgotten_and_the_new_one_counted_from_its_begin() {
        let spending = Spending::new(money("3600"), at("2026-08-04T23:59:50Z"));
        let before = spending.until(at("2026-08-04T23:59:59Z"), 2, BudgetPeriod::Day);
        assert_eq!(before.spent(), money("18"));
        let after = before.until(at("2026-08-05T00:00:03Z"), 2, BudgetPeriod::Day);
        assert_eq!(after.spent(), money("6"));
        assert_eq!(after.period_start, at("2026-08-05T00:00:00Z"));
        let later = before.until(at("2026-09-01T00:00:02Z"), 2, BudgetPeriod::Month);
        assert_eq!(later.spent(), money("4"));
        let total = before.until(at("2026-08-05T00:00:00Z"), 2, BudgetPeriod::Total);
        assert_eq!(total.spent(), money("20"));
    }

    #[test]
    fn a_new_price_leaves_what_was_spent() {
        let start = at("2026-08-04T10:00:00Z");
        let dear = Spending::new(money("3600"), start);
        let dear = dear.until(at("2026-08-04T10:00:10Z"), 1, BudgetPeriod::Total);
        let cheap = dear.at_price(money("360"));
        assert_eq!(cheap.spent(), money("10"));
        let cheap = cheap.until(at("2026-08-04T10:00:20Z"), 1, BudgetPeriod::Total);
        assert_eq!(cheap.spent(), money("11"));
        assert_eq!(cheap.node_millis_in_all(), 20_000);
    }

    #[test]
    fn a_clock_that_goes_back_counts_nothing_twice() {
        let start = at("2026-08-04T10:00:00Z");
        let spending = Spending::new(money("3600"), start).until(
            at("2026-08-04T10:00:10Z"),
            1,
            BudgetPeriod::Total,
        );
        let back = spending.until(at("2026-08-04T10:00:05Z"), 1, BudgetPeriod::Total);
        assert_eq!(back, spending);
    }

    #[test]
    fn the_rest_pays_for_so_long_and_so_many() {
        let start = at("2026-08-04T10:00:00Z");
        let spending = Spending::new(money("6"), start);
        let spending = spending.until(at("2026-08-04T11:00:00Z"), 1, BudgetPeriod::Total);
        assert_eq!(spending.lasts_millis(money("9"), 2), Some(15 * 60_000));
        assert_eq!(spending.pays_for(money("9"), 600_000), Some(3));
        assert_eq!(spending.lasts_millis(money("5"), 1), Some(0));
        assert_eq!(spending.lasts_millis(money("5"), 0), None);
        let free = Spending::new(Money::ZERO, start);
        assert_eq!(free.pays_for(money("1"), 600_000), None);
    }
}
