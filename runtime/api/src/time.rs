//! The hold-back of terminal states, and time on the wire.

use jiff::{SignedDuration, Timestamp};

/// How long old clients still see a job running after its end. They read its
/// output once a second and stop at a terminal state without a last read, so
/// they need one round more (capabilities §8.2).
pub(crate) const HOLD_BACK: SignedDuration = SignedDuration::from_secs(2);

/// Whether a job that ended at `ended` is still shown as running at `now`. A
/// time in the future holds nothing back for longer than the limit itself.
pub(crate) fn is_held_back(ended: Timestamp, now: Timestamp) -> bool {
    now.duration_since(ended).abs() < HOLD_BACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_held_back_for_two_seconds() {
        let ended = Timestamp::from_second(1_000).unwrap();
        let after = |millis: i64| ended + SignedDuration::from_millis(millis);
        assert!(is_held_back(ended, after(0)));
        assert!(is_held_back(ended, after(1_999)));
        assert!(!is_held_back(ended, after(2_000)));
        assert!(
            !is_held_back(ended, after(-60_000)),
            "a wrong clock must not hold back for ever"
        );
    }
}
