//! Times and spans for people.

use jiff::Timestamp;

/// A time, to the second, in UTC: machines of one cluster need not share a zone.
pub fn day_and_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A number of seconds in the two largest units that matter.
pub fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; saturates"
    )]
    let whole = seconds.round() as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3_600, whole / 86_400);
    match whole {
        0..3_600 => format!("{minutes} min {} s", whole % 60),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The span from one time to another; clocks that disagree give no negative one.
pub fn span_between(from: Timestamp, to: Timestamp) -> String {
    seconds(to.duration_since(from).as_secs_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        for (value, text) in [
            (0.04, "0.0 s"),
            (59.9, "59.9 s"),
            (60.4, "1 min 0 s"),
            (3_599.0, "59 min 59 s"),
            (7_260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(seconds(value), text);
        }
    }

    #[test]
    fn times_are_utc_to_the_second() {
        let time: Timestamp = "2026-08-04T12:00:01.9+02:00".parse().unwrap();
        assert_eq!(day_and_time(time), "2026-08-04 10:00:01Z");
        assert_eq!(span_between(time, Timestamp::UNIX_EPOCH), "0.0 s");
    }
}
