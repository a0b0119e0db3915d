//! Durations on the wire: ISO 8601, and the .NET form that old clients send.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration in whole seconds.
///
/// Reads `P7D`, `PT2H`, `P1DT2H1.5S` (rounded up) and `7.00:00:00`; writes the
/// ISO form only, because no client can read the other (capabilities §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u64);

const DAY: u64 = 86_400;

impl Seconds {
    /// A number of days.
    pub const fn days(days: u64) -> Self {
        Self(days * DAY)
    }

    /// Reads either form.
    pub fn parse(text: &str) -> Option<Self> {
        parse_dotnet(text).or_else(|| parse_iso(text))
    }
}

fn parse_iso(text: &str) -> Option<Seconds> {
    let span: jiff::Span = text.parse().ok()?;
    // Years and months have no fixed length; the other units do.
    if span.get_years() != 0 || span.get_months() != 0 {
        return None;
    }
    let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
    let time = span
        .weeks(0)
        .days(0)
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .ok()?;
    let round_up = i64::from(time.subsec_nanos() > 0);
    let total = days
        .checked_mul(86_400)?
        .checked_add(time.as_secs())?
        .checked_add(round_up)?;
    u64::try_from(total).ok().map(Seconds)
}

fn parse_dotnet(text: &str) -> Option<Seconds> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if clock.contains(':') => (days.parse::<u64>().ok()?, clock),
        _ => (0, text),
    };
    let clock = clock.split('.').next()?;
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    days.checked_mul(DAY)?
        .checked_add(hours * 3600 + minutes * 60 + seconds)
        .map(Seconds)
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, rest) = (self.0 / DAY, self.0 % DAY);
        let (hours, minutes, seconds) = (rest / 3600, rest % 3600 / 60, rest % 60);
        f.write_str("P")?;
        if days > 0 {
            write!(f, "{days}D")?;
        }
        if rest == 0 {
            return f.write_str(if days > 0 { "" } else { "T0S" });
        }
        f.write_str("T")?;
        for (value, unit) in [(hours, 'H'), (minutes, 'M'), (seconds, 'S')] {
            if value > 0 {
                write!(f, "{value}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Seconds::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "'{text}' is not a duration; write it like P7D or PT2H30M"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_both_forms() {
        for (text, seconds) in [
            ("P7D", 7 * DAY),
            ("PT2H", 7200),
            ("P1DT2H1.5S", DAY + 7202),
            ("P1W", 7 * DAY),
            ("7.00:00:00", 7 * DAY),
            ("00:01:30", 90),
            ("PT0S", 0),
        ] {
            assert_eq!(Seconds::parse(text), Some(Seconds(seconds)), "{text}");
        }
        for bad in ["", "7", "P1Y", "PT-1H", "-PT1H", "1.25:00:00", "soon"] {
            assert_eq!(Seconds::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0u64..10_000_000_000) {
            prop_assert_eq!(Seconds::parse(&Seconds(seconds).to_string()), Some(Seconds(seconds)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Seconds::parse(&text);
        }
    }
}
