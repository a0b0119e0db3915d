//! Arithmetic with times that cannot overflow.

use jiff::{SignedDuration, Timestamp};
use lote_model::duration::Seconds;

/// The time so much later, or the last there is.
pub(crate) fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// The time so many seconds later, or the last there is.
pub(crate) fn after_seconds(time: Timestamp, seconds: Seconds) -> Timestamp {
    after(
        time,
        SignedDuration::from_secs(i64::try_from(seconds.0).unwrap_or(i64::MAX)),
    )
}

/// The earlier of two times, where none means never.
pub(crate) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
