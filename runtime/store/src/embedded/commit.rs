//! The one thread that writes.
//!
//! It takes everything that waits in its queue, applies each transaction in order against one
//! write transaction of the engine, syncs once, tells the watchers, then answers everyone. While
//! it syncs, the next group gathers by itself, so there is no delay to tune.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redb::WriteTransaction;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Shared;
use super::apply::Applier;
use super::failure::EngineError;
use super::history;
use super::lease::Leases;
use crate::api::{LeaseId, Revision, WatchBatch};
use crate::error::{Cause, StoreError};
use crate::transaction::{Commit, Transaction, Write};

/// How long the thread starts nothing by itself after a failure: neither another attempt to open
/// the file, nor the end of leases, which would fail again on a full disk without a pause.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the answer to a command goes. Nobody may be waiting any more, which is no error.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked to do.
pub(super) enum Command {
    /// Apply a valid transaction. The permit bounds what waits in the queue.
    Commit {
        transaction: Transaction,
        reply: Reply<Commit>,
        permit: OwnedSemaphorePermit,
    },
    /// Make a lease.
    Grant {
        ttl: Duration,
        reply: Reply<LeaseId>,
    },
    /// Start the time of a lease anew.
    Renew { lease: LeaseId, reply: Reply<()> },
    /// End a lease.
    Revoke { lease: LeaseId, reply: Reply<()> },
}

/// What of a group goes into the file.
enum Work {
    Commit {
        transaction: Transaction,
        reply: Reply<Commit>,
        _permit: OwnedSemaphorePermit,
    },
    EndLease {
        lease: LeaseId,
        reply: Option<Reply<()>>,
    },
}

/// What became of a piece of work, before it is durable.
enum Outcome {
    Commit(Commit),
    LeaseEnded(LeaseId),
    LeaseNotFound(LeaseId),
}

/// Why a group failed, and with that what may be said to those who wait.
enum GroupError {
    NothingChanged(EngineError),
    Unknown(EngineError),
}

impl From<EngineError> for GroupError {
    fn from(error: EngineError) -> Self {
        Self::NothingChanged(error)
    }
}

/// The state of the thread.
pub(super) struct Committer {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    leases: Leases,
    revision: Revision,
    /// Set by a failure, see [`PAUSE`].
    paused_until: Option<Instant>,
}

impl Committer {
    /// Prepares the thread. `revision` is the newest one, `opens` counts the openings of the file.
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        opens: u64,
        revision: Revision,
    ) -> Self {
        Self {
            shared,
            commands,
            leases: Leases::new(opens),
            revision,
            paused_until: None,
        }
    }

    /// Works until every sender of commands is gone and all commands are answered.
    pub(super) fn run(mut self) {
        // Whatever ends this thread, no watcher waits for ever and the file is free again.
        let _closing = CloseOnDrop(Arc::clone(&self.shared));
        while let Some(commands) = self.gather() {
            self.end_pause();
            let group = self.sort(commands);
            if !group.is_empty() {
                self.process(group);
            }
        }
    }

    /// Waits for the next thing to do and takes all that waits with it. `None`: closed.
    fn gather(&self) -> Option<Vec<Command>> {
        let first = match self.wake_up_at() {
            None => Some(self.commands.recv().ok()?),
            Some(at) => {
                match self
                    .commands
                    .recv_timeout(at.saturating_duration_since(Instant::now()))
                {
                    Ok(command) => Some(command),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        };
        Some(first.into_iter().chain(self.commands.try_iter()).collect())
    }

    fn wake_up_at(&self) -> Option<Instant> {
        self.paused_until.or_else(|| self.leases.next_deadline())
    }

    fn end_pause(&mut self) {
        if self
            .paused_until
            .is_some_and(|until| until <= Instant::now())
        {
            self.paused_until = None;
            if !self.shared.file.is_open() {
                self.reopen();
            }
        }
    }

    /// Answers what needs no file and returns the rest, in order. Renewals count before
    /// expiry: a lease that was renewed in time does not end because this thread was slow.
    fn sort(&mut self, commands: Vec<Command>) -> Vec<Work> {
        let now = Instant::now();
        let mut group = Vec::with_capacity(commands.len());
        for command in commands {
            match command {
                Command::Commit {
                    transaction,
                    reply,
                    permit,
                } => {
                    group.push(Work::Commit {
                        transaction,
                        reply,
                        _permit: permit,
                    });
                }
                Command::Revoke { lease, reply } => {
                    group.push(Work::EndLease {
                        lease,
                        reply: Some(reply),
                    });
                }
                Command::Grant { ttl, reply } => {
                    let _ = reply.send(Ok(self.leases.grant(ttl, now)));
                }
                Command::Renew { lease, reply } => {
                    let _ = reply.send(self.leases.renew(lease, now));
                }
            }
        }
        if self.paused_until.is_none() {
            let expired = self.leases.expired(now).into_iter();
            group.extend(expired.map(|lease| Work::EndLease { lease, reply: None }));
        }
        group
    }

    /// Applies a group, syncs it, publishes it and answers.
    fn process(&mut self, group: Vec<Work>) {
        let shared = Arc::clone(&self.shared);
        match shared
            .file
            .write(|transaction| self.apply_and_sync(transaction, &group))
        {
            Ok((outcomes, made)) => {
                self.revision = made.last().map_or(self.revision, |batch| batch.revision);
                shared.publisher.publish(made);
                for (work, outcome) in group.into_iter().zip(outcomes) {
                    self.answer(work, &outcome);
                }
                shared.reserve.keep(shared.file.path());
            }
            Err(error) => self.fail(group, error),
        }
    }

    fn apply_and_sync(
        &self,
        transaction: WriteTransaction,
        group: &[Work],
    ) -> Result<(Vec<Outcome>, Vec<WatchBatch>), GroupError> {
        let mut applier = Applier::new(&transaction, self.revision)?;
        let outcomes = self.apply(&mut applier, group)?;
        let made = applier.finish(self.shared.history_revisions)?;
        if made.is_empty() {
            transaction.abort().map_err(EngineError::from)?;
        } else {
            transaction
                .commit()
                .map_err(|error| GroupError::Unknown(error.into()))?;
            self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok((outcomes, made))
    }

    fn apply(
        &self,
        applier: &mut Applier<'_>,
        group: &[Work],
    ) -> Result<Vec<Outcome>, EngineError> {
        let mut outcomes = Vec::with_capacity(group.len());
        let mut ended = Vec::new();
        for work in group {
            let missing = self.missing_lease(work, &ended);
            outcomes.push(match (missing, work) {
                (Some(lease), _) => Outcome::LeaseNotFound(lease),
                (None, Work::Commit { transaction, .. }) => {
                    Outcome::Commit(applier.apply(transaction)?)
                }
                (None, Work::EndLease { lease, .. }) => {
                    applier.end_lease(*lease)?;
                    ended.push(*lease);
                    Outcome::LeaseEnded(*lease)
                }
            });
        }
        Ok(outcomes)
    }

    /// The first lease that the work needs and that is not, or no longer, alive.
    fn missing_lease(&self, work: &Work, ended: &[LeaseId]) -> Option<LeaseId> {
        let is_missing = |lease: &LeaseId| !self.leases.contains(*lease) || ended.contains(lease);
        match work {
            Work::EndLease { lease, .. } => Some(*lease).filter(is_missing),
            Work::Commit { transaction, .. } => {
                transaction.writes.iter().find_map(|write| match write {
                    Write::Put { lease, .. } => lease.filter(is_missing),
                    Write::Delete { .. } | Write::DeletePrefix { .. } => None,
                })
            }
        }
    }

    fn answer(&mut self, work: Work, outcome: &Outcome) {
        if let Outcome::LeaseEnded(lease) = outcome {
            self.leases.remove(*lease);
        }
        match (work, outcome) {
            (Work::Commit { reply, .. }, Outcome::Commit(commit)) => {
                self.shared.transactions.fetch_add(1, Ordering::Relaxed);
                let _ = reply.send(Ok(*commit));
            }
            (Work::Commit { reply, .. }, Outcome::LeaseNotFound(lease)) => {
                let _ = reply.send(Err(StoreError::LeaseNotFound { lease: *lease }));
            }
            (
                Work::EndLease {
                    reply: Some(reply), ..
                },
                Outcome::LeaseNotFound(lease),
            ) => {
                let _ = reply.send(Err(StoreError::LeaseNotFound { lease: *lease }));
            }
            (
                Work::EndLease {
                    reply: Some(reply), ..
                },
                _,
            ) => {
                let _ = reply.send(Ok(()));
            }
            (Work::EndLease { reply: None, .. }, _)
            | (Work::Commit { .. }, Outcome::LeaseEnded(_)) => {}
        }
    }

    /// Nobody of a failed group is told that it worked. The file is opened again before the
    /// answers go out, so that those who then read see what is really there.
    fn fail(&mut self, group: Vec<Work>, error: GroupError) {
        let (cause, is_unknown): (Cause, bool) = match error {
            GroupError::NothingChanged(error) => (Arc::new(error), false),
            GroupError::Unknown(error) => (Arc::new(error), true),
        };
        tracing::error!(
            file = %self.shared.file.path().display(),
            error = &*cause as &dyn std::error::Error,
            waiting = group.len(),
            "the store could not save"
        );
        self.reopen();
        self.paused_until = Some(Instant::now() + PAUSE);
        for work in group {
            let source = Arc::clone(&cause);
            let error = if is_unknown {
                StoreError::OutcomeUnknown { source }
            } else {
                StoreError::Unavailable { source }
            };
            match work {
                Work::Commit { reply, .. } => drop(reply.send(Err(error))),
                Work::EndLease {
                    reply: Some(reply), ..
                } => drop(reply.send(Err(error))),
                Work::EndLease { reply: None, .. } => {}
            }
        }
    }

    /// Opens the file again and takes the revision from it: the sync that failed may have
    /// reached the disk. A file whose revision cannot be read counts as closed.
    fn reopen(&mut self) {
        let reopened = self
            .shared
            .file
            .reopen()
            .and_then(|()| self.shared.newest_revision());
        match reopened {
            Ok(revision) => {
                self.revision = revision;
                self.shared.publisher.restart(revision);
            }
            Err(error) => {
                self.shared.file.close();
                tracing::error!(
                    file = %self.shared.file.path().display(),
                    error = &error as &dyn std::error::Error,
                    "the store cannot be opened again yet"
                );
                self.paused_until = Some(Instant::now() + PAUSE);
            }
        }
    }
}

/// Ends the leases of an earlier process, whose clock is lost: their keys go as one revision.
/// Returns the newest revision.
pub(super) fn end_leases_of_earlier_process(shared: &Shared) -> Result<Revision, EngineError> {
    shared.file.write(|transaction| {
        let newest = history::newest(&transaction.open_table(super::codec::HISTORY)?)?;
        let mut applier = Applier::new(&transaction, newest)?;
        applier.end_all_leases()?;
        let made = applier.finish(shared.history_revisions)?;
        transaction.commit()?;
        Ok(made.last().map_or(newest, |batch| batch.revision))
    })
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.publisher.close();
        self.0.file.close();
    }
}
