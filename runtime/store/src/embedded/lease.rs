//! The clock of the leases. Which keys are on a lease stands in the file; how long a lease still
//! lasts is known only here and is lost with the process.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::api::LeaseId;
use crate::error::StoreError;

/// Lease ids count up within one opening of the file, whose number is in the upper half. So no
/// id is ever given twice.
const IDS_PER_OPEN_BITS: u32 = 32;

struct Lease {
    ttl: Duration,
    deadline: Instant,
}

/// The leases that have not ended.
pub(super) struct Leases {
    next_id: u64,
    alive: HashMap<LeaseId, Lease>,
}

impl Leases {
    /// None yet, in the given opening of the file.
    pub(super) fn new(opens: u64) -> Self {
        Self {
            next_id: (opens << IDS_PER_OPEN_BITS) + 1,
            alive: HashMap::new(),
        }
    }

    /// Adds a lease; its time is rounded up to seconds as etcd counts.
    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> LeaseId {
        let id = LeaseId(self.next_id);
        self.next_id += 1;
        let ttl = whole_seconds(ttl);
        self.alive.insert(
            id,
            Lease {
                ttl,
                deadline: deadline(now, ttl),
            },
        );
        id
    }

    /// Starts its time anew.
    pub(super) fn renew(&mut self, id: LeaseId, now: Instant) -> Result<(), StoreError> {
        let lease = self
            .alive
            .get_mut(&id)
            .ok_or(StoreError::LeaseNotFound { lease: id })?;
        lease.deadline = deadline(now, lease.ttl);
        Ok(())
    }

    /// Forgets it.
    pub(super) fn remove(&mut self, id: LeaseId) {
        self.alive.remove(&id);
    }

    /// Whether it has not ended.
    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.alive.contains_key(&id)
    }

    /// Those whose time is over, oldest first.
    pub(super) fn expired(&self, now: Instant) -> Vec<LeaseId> {
        let over = self.alive.iter().filter(|(_, lease)| lease.deadline <= now);
        let mut ids: Vec<_> = over.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// When the next one ends.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.alive.values().map(|lease| lease.deadline).min()
    }
}

fn whole_seconds(ttl: Duration) -> Duration {
    let seconds = ttl
        .as_secs()
        .saturating_add(u64::from(ttl.subsec_nanos() > 0));
    Duration::from_secs(seconds.max(1))
}

/// A lease longer than the clock can count lasts for a century.
fn deadline(now: Instant, ttl: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
    now + ttl.min(CENTURY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_at_its_deadline_unless_renewed() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut leases = Leases::new(3);
        let (short, long) = (
            leases.grant(Duration::from_millis(1200), start),
            leases.grant(Duration::MAX, start),
        );
        assert_eq!(leases.next_deadline(), Some(at(2000)));
        assert_eq!(leases.expired(at(1999)), []);
        leases.renew(short, at(1999)).unwrap();
        assert_eq!(leases.expired(at(3998)), []);
        assert_eq!(leases.expired(at(3999)), [short]);
        leases.remove(short);
        assert!(matches!(
            leases.renew(short, start),
            Err(StoreError::LeaseNotFound { .. })
        ));
        assert!(leases.contains(long) && !leases.contains(short));
    }

    #[test]
    fn ids_of_two_openings_differ() {
        let now = Instant::now();
        let first = Leases::new(1).grant(Duration::ZERO, now);
        assert_ne!(first, Leases::new(2).grant(Duration::ZERO, now));
    }
}
