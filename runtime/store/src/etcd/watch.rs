//! Following changes.
//!
//! A task of its own reads etcd's stream and hands out whole revisions. When the connection ends,
//! falls silent, or its member loses the others, the task goes on at another member with the next
//! revision that its reader needs. So a reader that gives up waiting again and again hinders
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::failure::{EtcdError, Failure};
use super::keys::{self, KeyRange, KeySpace};
use super::members::{Member, Members};
use crate::api::{Event, Revision, WatchBatch, WatchSource};
use crate::error::StoreError;

/// Revisions that wait for the reader. Beyond them etcd waits.
const READY: usize = 32;

/// How long a member may take to begin.
const START_LIMIT: Duration = Duration::from_secs(3);

/// How often a member is asked whether it is still there.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How long it may be silent. A member that is paused or cut off keeps its connections open.
const SILENCE_MAX: Duration = Duration::from_secs(6);

/// The pause after all members failed; it doubles up to the longest one.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long the reader is left without news before it is told that there is no etcd.
const PATIENCE: Duration = Duration::from_secs(10);

type Item = Result<WatchBatch, StoreError>;

/// The reader's side.
pub(super) struct Watcher {
    ready: mpsc::Receiver<Item>,
}

impl Watcher {
    /// Starts to follow a prefix from a revision. Ends when the reader, or `store` with its
    /// sender, is gone.
    pub(super) fn start(
        members: Arc<Members>,
        space: KeySpace,
        prefix: &str,
        from: Revision,
        mut store: watch::Receiver<()>,
    ) -> Self {
        let (output, ready) = mpsc::channel(READY);
        let follower = Follower {
            range: space.under(prefix),
            members,
            space,
            next: from,
            output: output.clone(),
        };
        tokio::spawn(async move {
            tokio::select! {
                () = follower.follow() => {}
                () = output.closed() => {}
                // Nothing is ever sent: this is the end of the store.
                _ = store.changed() => {}
            }
        });
        Self { ready }
    }
}

#[async_trait]
impl WatchSource for Watcher {
    async fn next(&mut self) -> Item {
        self.ready.recv().await.unwrap_or(Err(StoreError::Closed))
    }
}

struct Follower {
    members: Arc<Members>,
    space: KeySpace,
    range: KeyRange,
    /// The revision that the reader needs next.
    next: Revision,
    output: mpsc::Sender<Item>,
}

/// Why a stream is read no further.
enum Ended {
    Lost(EtcdError),
    Compacted { oldest: Revision },
    Unread,
}

impl Follower {
    async fn follow(mut self) {
        let mut pause = PAUSE_FIRST;
        let mut told = Instant::now();
        loop {
            let started = self.start().await;
            let error = match started {
                Ok((place, stream)) => {
                    let before = self.next;
                    let since = Instant::now();
                    let ended = self.read(place, stream).await;
                    if self.next > before || since.elapsed() > ASK_EVERY {
                        pause = PAUSE_FIRST;
                        told = Instant::now();
                    }
                    match ended {
                        Ended::Lost(error) => {
                            self.members.avoid(place);
                            tracing::debug!(%error, "a watch goes on at another member of etcd");
                            error
                        }
                        Ended::Compacted { oldest } => {
                            let _ = self
                                .output
                                .send(Err(StoreError::Compacted { oldest }))
                                .await;
                            return;
                        }
                        Ended::Unread => return,
                    }
                }
                Err(failure) => failure.error,
            };
            if told.elapsed() > PATIENCE {
                told = Instant::now();
                let source = Arc::new(error);
                let news = Err(StoreError::Unavailable { source });
                if self.output.send(news).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// A stream from the first member that gives one, and the member's place.
    async fn start(&self) -> Result<(usize, WatchStream), Failure> {
        let mut last = Failure::timeout("no member", START_LIMIT);
        for (place, member) in self.members.in_turn() {
            match self.start_at(member).await {
                Ok(stream) => return Ok((place, stream)),
                Err(failure) => {
                    self.members.avoid(place);
                    last = failure;
                }
            }
        }
        Err(last)
    }

    async fn start_at(&self, member: &Member) -> Result<WatchStream, Failure> {
        let options = WatchOptions::new()
            .with_range(self.range.end.clone())
            .with_start_revision(keys::signed(self.next));
        let mut client = member
            .client
            .watch_client()
            .max_decoding_message_size(i32::MAX as usize);
        let start = client.watch(self.range.start.clone(), Some(options));
        match tokio::time::timeout(START_LIMIT, start).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Failure::new(&member.endpoint, &error)),
            Err(_) => Err(Failure::timeout(&member.endpoint, START_LIMIT)),
        }
    }

    async fn read(&mut self, place: usize, stream: WatchStream) -> Ended {
        let endpoint = self.members.all()[place].endpoint.clone();
        let (mut questions, mut answers) = stream.split();
        let mut heard = Instant::now();
        let mut ticks = tokio::time::interval_at(heard + ASK_EVERY, ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let answer = tokio::select! {
                biased;
                answer = answers.message() => answer,
                _ = ticks.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return Ended::Lost(EtcdError::Timeout { endpoint, limit: SILENCE_MAX });
                    }
                    // The queue is long enough for all that a silent member could miss.
                    if let Err(error) = questions.request_progress().await {
                        return Ended::Lost(Failure::new(&endpoint, &error).error);
                    }
                    continue;
                }
            };
            match answer {
                Ok(Some(answer)) if answer.canceled() => return ended(endpoint, &answer),
                Ok(Some(answer)) => {
                    self.members.prefer(place);
                    for batch in batches(&self.space, &answer, self.next) {
                        self.next = batch.revision + 1;
                        if self.output.send(Ok(batch)).await.is_err() {
                            return Ended::Unread;
                        }
                    }
                    // The time that the reader took is not the member's.
                    heard = Instant::now();
                }
                Ok(None) => {
                    let reason = "the stream is over".to_owned();
                    return Ended::Lost(EtcdError::WatchEnded { endpoint, reason });
                }
                Err(error) => return Ended::Lost(Failure::new(&endpoint, &error).error),
            }
        }
    }
}

fn ended(endpoint: String, answer: &WatchResponse) -> Ended {
    match keys::revision(answer.compact_revision()) {
        0 => Ended::Lost(EtcdError::WatchEnded {
            endpoint,
            reason: answer.cancel_reason().to_owned(),
        }),
        oldest => Ended::Compacted { oldest },
    }
}

/// The revisions of one answer. Etcd puts several into one when a reader catches up, but never
/// a part of one, since fragments are not asked for.
fn batches(space: &KeySpace, answer: &WatchResponse, next: Revision) -> Vec<WatchBatch> {
    let events = answer.events().iter().filter_map(|event| {
        let entry = event.kv()?;
        let mod_revision = keys::revision(entry.mod_revision());
        let event = match event.event_type() {
            EventType::Put => Event::Put(space.versioned(entry.clone())),
            EventType::Delete => Event::Delete {
                key: space.inside(entry.key()),
                mod_revision,
            },
        };
        (mod_revision >= next).then_some((mod_revision, event))
    });
    group(events)
}

fn group(events: impl Iterator<Item = (Revision, Event)>) -> Vec<WatchBatch> {
    let mut batches: Vec<WatchBatch> = Vec::new();
    for (revision, event) in events {
        match batches.last_mut() {
            Some(last) if last.revision == revision => last.events.push(event),
            _ => batches.push(WatchBatch {
                revision,
                events: vec![event],
            }),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_one_revision_stay_together() {
        let delete = |key: &str, mod_revision| {
            let key = key.to_owned();
            (mod_revision, Event::Delete { key, mod_revision })
        };
        let events = [
            delete("a", 3),
            delete("b", 3),
            delete("a", 5),
            delete("c", 6),
        ];
        let found: Vec<_> = group(events.into_iter())
            .iter()
            .map(|batch| (batch.revision, batch.events.len()))
            .collect();
        assert_eq!(found, [(3, 2), (5, 1), (6, 1)]);
    }
}
