//! The times by which a node that is cut off has ended its jobs before others get them.
//!
//! ```text
//! start of the last renewal          the lease ends          the leader gives the jobs away
//! 0 s ─────────────────────────────── 15 s ───────────────────────────────── 45 s or later
//!                      the node begins to end its jobs 30 s
//!                             it kills what has not ended 35 s
//!                             shims kill, daemon or not 38 s
//! ```
//!
//! The node counts from before it asked for the renewal, the store from when it was asked, and
//! the leader from when it saw the lease end, so each begins no earlier than the one before it.

use std::time::Duration;

/// A node whose sign of life was not renewed for this long loses it, or later.
pub const LEASE: Duration = Duration::from_secs(15);

/// How long the leader waits, after it saw the sign of life go, until it gives the jobs away.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// How long after the start of its last renewal a node begins to end its jobs.
pub const FENCED_AFTER: Duration = Duration::from_secs(30);

/// What a job has between SIGTERM and SIGKILL when its node is cut off.
pub const FENCING_GRACE: Duration = Duration::from_secs(5);

/// How long shims wait for the daemon's SIGKILL before theirs.
pub const SHIM_MARGIN: Duration = Duration::from_secs(3);

/// What is left for processes to die, and for clocks that run at different speeds.
pub const DEATH_MARGIN: Duration = Duration::from_secs(7);

/// From the start of the last renewal until nothing of any job runs.
pub const ALL_ENDED_AFTER: Duration = FENCED_AFTER
    .saturating_add(FENCING_GRACE)
    .saturating_add(SHIM_MARGIN);

/// From the same moment until the jobs may run elsewhere, at the earliest.
pub const GIVEN_AWAY_AFTER: Duration = LEASE.saturating_add(LOST_AFTER);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_cut_off_ends_its_jobs_before_others_get_them() {
        assert_eq!(ALL_ENDED_AFTER.as_secs(), 38);
        assert_eq!(GIVEN_AWAY_AFTER.as_secs(), 45);
        assert!(ALL_ENDED_AFTER + DEATH_MARGIN <= GIVEN_AWAY_AFTER);
    }

    #[test]
    fn a_lease_that_could_be_renewed_again_ends_no_job() {
        assert!(LEASE < FENCED_AFTER);
    }
}
