//! Amounts of money in the site's own currency, exact to a millionth.
//!
//! An amount stays below a milliard, so that it has at most fifteen digits and survives every
//! JSON reader that knows nothing but double precision.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Millionths in a whole.
const WHOLE: u64 = 1_000_000;

/// Digits after the point.
const DECIMALS: usize = 6;

/// An amount, in millionths of the currency's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The most that can be said.
    pub const MAX: Self = Self(999_999_999_999_999);

    /// So many millionths, or the most that can be said.
    pub const fn from_millionths(millionths: u64) -> Self {
        if millionths > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millionths)
        }
    }

    /// The amount in millionths.
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// Reads `12`, `0.5` or `12.345678`: no sign, no exponent, at most six digits after the point.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > DECIMALS {
            return None;
        }
        let fraction: u64 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
        let millionths = whole
            .parse::<u64>()
            .ok()?
            .checked_mul(WHOLE)?
            .checked_add(fraction)?;
        (millionths <= Self::MAX.0).then_some(Self(millionths))
    }

    /// Both together, or the most that can be said.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::from_millionths(self.0.saturating_add(other.0))
    }

    /// What is left without `other`; nothing rather than less.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::fmt::Display for Money {
    /// With at least two digits after the point: `3.00`, `0.125`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fraction = format!("{:06}", self.0 % WHOLE);
        let cents = fraction.get(..2).unwrap_or_default();
        let rest = fraction.get(2..).unwrap_or_default().trim_end_matches('0');
        write!(f, "{}.{cents}{rest}", self.0 / WHOLE)
    }
}

impl Serialize for Money {
    /// A JSON number.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(WHOLE) {
            return serializer.serialize_u64(self.0 / WHOLE);
        }
        let number: f64 = self
            .to_string()
            .parse()
            .map_err(serde::ser::Error::custom)?;
        serializer.serialize_f64(number)
    }
}

impl<'de> Deserialize<'de> for Money {
    /// From a number, or a text with one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Money;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "an amount such as 2.5: from 0 to below 1000000000, at most six digits after the point",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Money, E> {
        Money::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Money, E> {
        Money::parse(&number.to_string())
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
    }

    /// The shortest text of a number is what was written, up to fifteen digits.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Money, E> {
        Money::parse(&number.to_string())
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_numbers_and_texts() {
        for (value, millionths) in [
            (json!(0), 0),
            (json!(2), 2_000_000),
            (json!(2.5), 2_500_000),
            (json!("2.50"), 2_500_000),
            (json!(0.000_001), 1),
            (json!(999_999_999.999_999), 999_999_999_999_999),
        ] {
            let money: Money = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(money.millionths(), millionths, "{value}");
        }
        for bad in [
            json!(-1),
            json!(-0.5),
            json!(0.000_000_1),
            json!(1_000_000_000),
            json!(1e300),
            json!("1e3"),
            json!("+1"),
            json!(".5"),
            json!("5."),
            json!(""),
            json!(true),
        ] {
            assert!(
                serde_json::from_value::<Money>(bad.clone()).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn shows_at_least_hundredths() {
        for (millionths, shown) in [
            (3_000_000, "3.00"),
            (125_000, "0.125"),
            (10_000, "0.01"),
            (1, "0.000001"),
        ] {
            assert_eq!(Money::from_millionths(millionths).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn json_keeps_every_millionth(millionths in 0..=Money::MAX.millionths()) {
            let money = Money::from_millionths(millionths);
            let text = serde_json::to_string(&money).unwrap();
            prop_assert_eq!(serde_json::from_str::<Money>(&text).unwrap(), money);
            let value = serde_json::to_value(money).unwrap();
            prop_assert_eq!(serde_json::from_value::<Money>(value).unwrap(), money);
        }
    }
}
