//! What a failed call to a member means.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tonic::{Code, ConnectError};

use crate::api::LeaseId;
use crate::error::{Cause, StoreError};

/// How the client tells of a lease that is gone; it has no error of its own for it.
const KEEP_ALIVE_LEASE_GONE: &str = "lease not found";

/// What all answers of an etcd server, as opposed to those of the transport, start with.
const FROM_SERVER: &str = "etcdserver: ";

/// A failed call to one member.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// No answer came in time.
    #[error("etcd at {endpoint} did not answer within {} s", limit.as_secs())]
    Timeout {
        /// The member.
        endpoint: String,
        /// How long was waited.
        limit: Duration,
    },
    /// No connection, or an answer that is an error.
    #[error("etcd at {endpoint}: {reason}")]
    Request {
        /// The member.
        endpoint: String,
        /// What went wrong.
        reason: String,
    },
    /// The member ended a watch without a reason.
    #[error("etcd at {endpoint} ended the watch: {reason}")]
    WatchEnded {
        /// The member.
        endpoint: String,
        /// What it said, if anything.
        reason: String,
    },
    /// The history went on while it was read.
    #[error(
        "etcd compacts faster than a list can be read: let it keep the history of some minutes (--auto-compaction-retention)"
    )]
    CompactedWhileReading,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The lease is gone.
    LeaseNotFound,
    /// The revision that was asked for is gone.
    Compacted,
    /// The database is as large as it may be. What was asked for may have been done nevertheless:
    /// etcd applies the change that takes it over its limit, and then answers this.
    Full,
    /// Etcd will not do this, whichever member is asked.
    Refused,
    /// This member certainly did not do it; another one may.
    NotDone,
    /// It may have been done.
    Unclear,
}

/// A failure with its meaning.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) meaning: Meaning,
    pub(super) error: EtcdError,
}

impl Failure {
    pub(super) fn timeout(endpoint: &str, limit: Duration) -> Self {
        Self {
            meaning: Meaning::Unclear,
            error: EtcdError::Timeout {
                endpoint: endpoint.to_owned(),
                limit,
            },
        }
    }

    pub(super) fn new(endpoint: &str, error: &etcd_client::Error) -> Self {
        Self {
            meaning: meaning(error),
            error: EtcdError::Request {
                endpoint: endpoint.to_owned(),
                reason: reason(error),
            },
        }
    }

    fn cause(self) -> Cause {
        Arc::new(self.error)
    }

    /// As the error of a call that changes nothing.
    pub(super) fn into_read_error(self) -> StoreError {
        StoreError::Unavailable {
            source: self.cause(),
        }
    }

    /// As the error of a call about a lease.
    pub(super) fn into_lease_error(self, lease: LeaseId) -> StoreError {
        match self.meaning {
            Meaning::LeaseNotFound => StoreError::LeaseNotFound { lease },
            _ => self.into_write_error(),
        }
    }

    /// As the error of a call that changes something.
    pub(super) fn into_write_error(self) -> StoreError {
        let meaning = self.meaning;
        let source = self.cause();
        match meaning {
            Meaning::Full => StoreError::Full { source },
            Meaning::Unclear => StoreError::OutcomeUnknown { source },
            Meaning::LeaseNotFound | Meaning::Compacted | Meaning::Refused | Meaning::NotDone => {
                StoreError::Unavailable { source }
            }
        }
    }
}

fn meaning(error: &etcd_client::Error) -> Meaning {
    match error {
        etcd_client::Error::GRpcStatus(status) if never_connected(status) => Meaning::NotDone,
        etcd_client::Error::GRpcStatus(status) => {
            meaning_of_answer(status.code(), status.message())
        }
        etcd_client::Error::LeaseKeepAliveError(text) if text == KEEP_ALIVE_LEASE_GONE => {
            Meaning::LeaseNotFound
        }
        _ => Meaning::Unclear,
    }
}

/// Only what the server itself says is certain: the transport uses the same codes for requests
/// that it lost on the way.
fn meaning_of_answer(code: Code, message: &str) -> Meaning {
    let Some(said) = message.strip_prefix(FROM_SERVER) else {
        return Meaning::Unclear;
    };
    match (code, said) {
        (Code::NotFound, "requested lease not found") => Meaning::LeaseNotFound,
        (_, "mvcc: database space exceeded") => Meaning::Full,
        (_, "mvcc: required revision has been compacted") => Meaning::Compacted,
        // All from before a request becomes part of the log. A learner has no vote and answers
        // nothing.
        (Code::Unavailable, "no leader" | "rpc not supported for learner")
        | (_, "too many requests") => Meaning::NotDone,
        (
            Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated,
            _,
        ) => Meaning::Refused,
        _ => Meaning::Unclear,
    }
}

/// Whether there was no connection on which the request could have been sent.
fn never_connected(status: &tonic::Status) -> bool {
    sources(status).any(|error| error.downcast_ref::<ConnectError>().is_some())
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| error.source())
}

/// One line for people.
fn reason(error: &etcd_client::Error) -> String {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return error.to_string();
    };
    match sources(status).last() {
        Some(innermost) if innermost.to_string() != status.message() => {
            format!("{} ({innermost})", status.message())
        }
        _ => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_counts_as_not_done() {
        for (code, message, expected) in [
            (Code::Unavailable, "etcdserver: no leader", Meaning::NotDone),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                Meaning::NotDone,
            ),
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                Meaning::LeaseNotFound,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                Meaning::Full,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Meaning::Compacted,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                Meaning::Refused,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                Meaning::Unclear,
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Meaning::Unclear,
            ),
            (Code::Unavailable, "broken pipe", Meaning::Unclear),
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max",
                Meaning::Unclear,
            ),
        ] {
            assert_eq!(meaning_of_answer(code, message), expected, "{message}");
        }
    }
}
