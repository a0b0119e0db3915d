//! How changes reach the watchers.
//!
//! The commit thread puts each revision into one ring that all watchers share, and announces the
//! newest revision. A watcher only knows which revision it needs next: it takes it from the ring,
//! or from the history in the file when the ring no longer has it. So a slow watcher costs no
//! memory, and the commit thread never waits for one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::Shared;
use super::history::Chunk;
use crate::api::{Event, Revision, WatchBatch, WatchSource};
use crate::error::StoreError;

/// What the ring holds at most. It serves watchers that keep up; a few groups are enough.
const RING_REVISIONS: usize = 512;
const RING_BYTES: usize = 1 << 20;

/// How many revisions a watcher takes from the ring at once.
const TAKE_REVISIONS: usize = 32;

/// The state of the stream of revisions.
#[derive(Clone, Copy, Debug)]
enum Feed {
    Open { newest: Revision },
    Closed,
}

/// The sending side.
pub(super) struct Publisher {
    ring: Mutex<Ring>,
    feed: watch::Sender<Feed>,
}

impl Publisher {
    /// Nothing published yet since `newest`.
    pub(super) fn new(newest: Revision) -> Self {
        Self {
            ring: Mutex::default(),
            feed: watch::Sender::new(Feed::Open { newest }),
        }
    }

    /// Hands out revisions that are durable, in order.
    pub(super) fn publish(&self, made: Vec<WatchBatch>) {
        let Some(newest) = made.last().map(|batch| batch.revision) else {
            return;
        };
        self.ring().extend(made);
        self.feed.send_replace(Feed::Open { newest });
    }

    /// Goes on after a failure: what was missed is in the file.
    pub(super) fn restart(&self, newest: Revision) {
        *self.ring() = Ring::default();
        self.feed.send_replace(Feed::Open { newest });
    }

    /// Tells all watchers that nothing more will come.
    pub(super) fn close(&self) {
        self.feed.send_replace(Feed::Closed);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last revisions, without a gap between them.
#[derive(Default)]
struct Ring {
    batches: VecDeque<Arc<WatchBatch>>,
    bytes: usize,
}

impl Ring {
    fn extend(&mut self, made: Vec<WatchBatch>) {
        for batch in made {
            self.bytes += size_bytes(&batch);
            self.batches.push_back(Arc::new(batch));
        }
        while self.batches.len() > RING_REVISIONS || self.bytes > RING_BYTES {
            let Some(oldest) = self.batches.pop_front() else {
                break;
            };
            self.bytes -= size_bytes(&oldest);
        }
    }

    /// The revisions from `from` on, some of them; none if the ring does not have `from`.
    fn take(&self, from: Revision) -> Vec<Arc<WatchBatch>> {
        let Some(first) = self.batches.front().map(|batch| batch.revision) else {
            return Vec::new();
        };
        match from.checked_sub(first).map(usize::try_from) {
            Some(Ok(skip)) => self
                .batches
                .iter()
                .skip(skip)
                .take(TAKE_REVISIONS)
                .cloned()
                .collect(),
            _ => Vec::new(),
        }
    }
}

fn size_bytes(batch: &WatchBatch) -> usize {
    let event_bytes = |event: &Event| {
        size_of::<Event>()
            + match event {
                Event::Put(versioned) => versioned.key.len() + versioned.value.len(),
                Event::Delete { key, .. } => key.len(),
            }
    };
    batch.events.iter().map(event_bytes).sum()
}

/// The receiving side.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    feed: watch::Receiver<Feed>,
    prefix: String,
    /// The revision that is needed next; those before it are in `ready` or were handed out.
    next: Revision,
    ready: VecDeque<WatchBatch>,
}

impl Watcher {
    /// Starts at a revision; 0 is the one after the newest.
    pub(super) fn new(shared: Arc<Shared>, prefix: String, from: Revision) -> Self {
        let feed = shared.publisher.feed.subscribe();
        let next = match *feed.borrow() {
            Feed::Open { newest } if from == 0 => newest + 1,
            Feed::Open { .. } | Feed::Closed => from,
        };
        Self {
            shared,
            feed,
            prefix,
            next,
            ready: VecDeque::new(),
        }
    }

    /// Takes some revisions up to the newest one from the ring or the file.
    async fn refill(&mut self) -> Result<(), StoreError> {
        let taken = self.shared.publisher.ring().take(self.next);
        if taken.is_empty() {
            return self.refill_from_file().await;
        }
        self.next += taken.len() as u64;
        self.ready = taken
            .iter()
            .filter_map(|batch| self.filter(batch))
            .collect();
        Ok(())
    }

    async fn refill_from_file(&mut self) -> Result<(), StoreError> {
        match self.shared.read_history(self.next, &self.prefix)? {
            Chunk::Compacted { oldest } => return Err(StoreError::Compacted { oldest }),
            Chunk::Read { batches, next } => {
                self.ready = batches;
                self.next = next;
            }
        }
        // A long history without a match must not keep the thread from its other tasks.
        tokio::task::yield_now().await;
        Ok(())
    }

    fn filter(&self, batch: &WatchBatch) -> Option<WatchBatch> {
        let matching = batch
            .events
            .iter()
            .filter(|event| event.key().starts_with(&self.prefix));
        let events: Vec<_> = matching.cloned().collect();
        (!events.is_empty()).then_some(WatchBatch {
            revision: batch.revision,
            events,
        })
    }
}

#[async_trait]
impl WatchSource for Watcher {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let feed = *self.feed.borrow_and_update();
            match feed {
                Feed::Closed => return Err(StoreError::Closed),
                Feed::Open { newest } if self.next <= newest => self.refill().await?,
                Feed::Open { .. } => {
                    self.feed.changed().await.map_err(|_| StoreError::Closed)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(revision: Revision, value_bytes: usize) -> WatchBatch {
        let versioned = crate::Versioned {
            key: "k".to_owned(),
            value: vec![0; value_bytes].into(),
            create_revision: 1,
            mod_revision: revision,
            version: revision,
        };
        WatchBatch {
            revision,
            events: vec![Event::Put(versioned)],
        }
    }

    fn revisions(taken: &[Arc<WatchBatch>]) -> Vec<Revision> {
        taken.iter().map(|batch| batch.revision).collect()
    }

    #[test]
    fn the_ring_is_bounded_in_revisions() {
        let mut ring = Ring::default();
        ring.extend(
            (1..=RING_REVISIONS as u64 + 3)
                .map(|revision| batch(revision, 1))
                .collect(),
        );
        assert_eq!(ring.batches.len(), RING_REVISIONS);
        assert!(ring.take(3).is_empty());
        assert_eq!(revisions(&ring.take(4))[..2], [4, 5]);
        assert!(ring.take(RING_REVISIONS as u64 + 4).is_empty());
    }

    #[test]
    fn the_ring_is_bounded_in_bytes() {
        let mut ring = Ring::default();
        ring.extend(
            (1..=5)
                .map(|revision| batch(revision, RING_BYTES / 2 - 1000))
                .collect(),
        );
        assert_eq!(revisions(&ring.take(4)), [4, 5]);
        assert!(ring.take(3).is_empty());
        ring.extend(vec![batch(6, RING_BYTES + 1)]);
        assert!(ring.batches.is_empty() && ring.bytes == 0);
    }

    #[test]
    fn a_restart_leaves_no_gap_in_the_ring() {
        let publisher = Publisher::new(0);
        publisher.publish(vec![batch(1, 1), batch(2, 1)]);
        publisher.restart(5);
        assert!(matches!(*publisher.feed.borrow(), Feed::Open { newest: 5 }));
        publisher.publish(vec![batch(6, 1)]);
        for from in 1..=5 {
            assert!(publisher.ring().take(from).is_empty());
        }
        assert_eq!(revisions(&publisher.ring().take(6)), [6]);
    }
}
