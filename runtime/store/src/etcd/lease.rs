//! Leases.

use std::time::Duration;

use etcd_client::Client;

use super::failure::Failure;
use super::members::{Members, Repeat};
use crate::api::LeaseId;
use crate::error::StoreError;

/// How long a member may take. Short, so that another one can still be asked before a lease ends.
const LEASE_LIMIT: Duration = Duration::from_secs(3);

/// How long revoking, which is a write, may take.
const REVOKE_LIMIT: Duration = Duration::from_secs(5);

/// The most that etcd takes, in seconds: about 285 years.
const TTL_MAX: u64 = 9_000_000_000;

/// Makes a lease. One that was made without our hearing of it holds no key and ends by itself.
pub(super) async fn grant(members: &Members, ttl: Duration) -> Result<LeaseId, StoreError> {
    let seconds = whole_seconds(ttl);
    let ask = |mut client: Client| async move { client.lease_grant(seconds, None).await };
    let granted = members.call(LEASE_LIMIT, Repeat::Harmless, ask).await;
    let granted = granted.map_err(|failure| match failure.into_write_error() {
        StoreError::OutcomeUnknown { source } => StoreError::Unavailable { source },
        error => error,
    })?;
    Ok(LeaseId(u64::try_from(granted.id()).unwrap_or(0)))
}

/// Starts its time anew.
pub(super) async fn renew(members: &Members, lease: LeaseId) -> Result<(), StoreError> {
    let id = signed(lease);
    let ask = |mut client: Client| async move { client.lease_keep_alive(id).await.map(drop) };
    let renewed = members.call(LEASE_LIMIT, Repeat::Harmless, ask).await;
    renewed.map_err(|failure| match failure.into_lease_error(lease) {
        StoreError::OutcomeUnknown { source } => StoreError::Unavailable { source },
        error => error,
    })
}

/// Ends it.
pub(super) async fn revoke(members: &Members, lease: LeaseId) -> Result<(), StoreError> {
    let id = signed(lease);
    let ask = |mut client: Client| async move { client.lease_revoke(id).await.map(drop) };
    members
        .call(REVOKE_LIMIT, Repeat::Never, ask)
        .await
        .map_err(|failure| failure.into_lease_error(lease))
}

/// Whether it has not ended.
pub(super) async fn is_alive(members: &Members, lease: LeaseId) -> Result<bool, Failure> {
    let id = signed(lease);
    let ask = |mut client: Client| async move { client.lease_time_to_live(id, None).await };
    let answer = members.call(LEASE_LIMIT, Repeat::Harmless, ask).await?;
    Ok(answer.ttl() > 0)
}

/// Etcd's ids have a sign and are positive; one that does not fit is nobody's.
pub(super) fn signed(lease: LeaseId) -> i64 {
    i64::try_from(lease.0).unwrap_or(i64::MAX)
}

fn whole_seconds(ttl: Duration) -> i64 {
    let seconds = ttl
        .as_secs()
        .saturating_add(u64::from(ttl.subsec_nanos() > 0))
        .clamp(1, TTL_MAX);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_rounded_up_to_seconds() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (15_000, 15)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
        assert_eq!(whole_seconds(Duration::MAX), 9_000_000_000);
    }
}
