//! The members of etcd, one of which is asked.
//!
//! Each member has a connection of its own, made when it is first needed. Calls go to the member
//! that answered last; when it fails, to the next one, unless the failed call may have changed
//! something.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::Client;

use super::failure::{Failure, Meaning};
use super::options::{EtcdOptions, EtcdOptionsError, address};

/// Whether a call may be sent again when it is unclear what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or nothing more the second time.
    Harmless,
    /// It may have been done.
    Never,
}

pub(super) struct Member {
    pub(super) endpoint: String,
    /// Host and port.
    pub(super) address: String,
    pub(super) client: Client,
}

pub(super) struct Members {
    members: Vec<Member>,
    /// The place of the member that is asked first.
    preferred: AtomicUsize,
}

impl Members {
    /// Connects to nothing yet. Members that are named twice are taken once.
    pub(super) async fn new(options: &EtcdOptions) -> Result<Self, EtcdOptionsError> {
        options.check()?;
        let mut members: Vec<Member> = Vec::new();
        for endpoint in &options.endpoints {
            let address = address(endpoint).ok_or_else(|| EtcdOptionsError::Endpoint {
                endpoint: endpoint.clone(),
            })?;
            if members.iter().any(|member| member.address == address) {
                continue;
            }
            let client = Client::connect([endpoint], Some(options.connect_options()))
                .await
                .map_err(|error| EtcdOptionsError::Client {
                    endpoint: endpoint.clone(),
                    reason: error.to_string(),
                })?;
            members.push(Member {
                endpoint: endpoint.clone(),
                address,
                client,
            });
        }
        // Many daemons with the same list should not all ask the same member.
        let anywhere = RandomState::new().hash_one(std::process::id());
        let first = usize::try_from(anywhere % members.len() as u64).unwrap_or(0);
        Ok(Self {
            members,
            preferred: AtomicUsize::new(first),
        })
    }

    pub(super) fn all(&self) -> &[Member] {
        &self.members
    }

    /// All members, the one to ask first in front.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (usize, &Member)> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.members.len();
        (0..count).map(move |step| {
            let place = (first + step) % count;
            (place, &self.members[place])
        })
    }

    /// This member answers.
    pub(super) fn prefer(&self, place: usize) {
        self.preferred.store(place, Ordering::Relaxed);
    }

    /// This member does not answer. Whoever else noticed it before has moved on already.
    pub(super) fn avoid(&self, place: usize) {
        let next = (place + 1) % self.members.len();
        let _ = self
            .preferred
            .compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Asks one member after the other, each for at most `limit`, until one answers.
    pub(super) async fn call<T, F>(
        &self,
        limit: Duration,
        repeat: Repeat,
        send: impl Fn(Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut last = None;
        for (place, member) in self.in_turn() {
            let answer = tokio::time::timeout(limit, send(member.client.clone())).await;
            let failure = match answer {
                Ok(Ok(answer)) => {
                    self.prefer(place);
                    return Ok(answer);
                }
                Ok(Err(error)) => Failure::new(&member.endpoint, &error),
                Err(_) => Failure::timeout(&member.endpoint, limit),
            };
            match (failure.meaning, repeat) {
                (Meaning::NotDone, _) | (Meaning::Unclear, Repeat::Harmless) => {
                    self.avoid(place);
                    last = Some(failure);
                }
                (Meaning::Unclear, Repeat::Never) => {
                    self.avoid(place);
                    return Err(failure);
                }
                _ => return Err(failure),
            }
        }
        Err(last.unwrap_or_else(|| Failure::timeout("no member", limit)))
    }
}
