//! Several watches of the store, read as one.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_all;
use lote_store::{Revision, Store, StoreError, Watch, WatchBatch};

/// How long reading the history of one source may take before it is taken to
/// have none left.
const REPLAY_PATIENCE: Duration = Duration::from_millis(100);

/// Watches of some prefixes, none of which contains another.
pub(crate) struct Watches {
    /// Up to here it is history, which each source reads in its own time.
    replay_until: Revision,
    sources: Vec<Watch>,
}

impl Watches {
    /// Watches from a revision on; 0 means from now on.
    pub(crate) async fn open(
        store: &dyn Store,
        prefixes: &[&str],
        from: Revision,
    ) -> Result<Self, StoreError> {
        let replay_until = if from == 0 {
            0
        } else {
            store.revision().await?
        };
        let mut sources = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            sources.push(store.watch(prefix, from).await?);
        }
        Ok(Self {
            replay_until,
            sources,
        })
    }

    /// Waits for the next changes, in the order of their revisions.
    ///
    /// A store tells all watches about one revision before the next. So what is
    /// ready together is complete up to its last revision, and sorting it gives
    /// the order in which it happened.
    pub(crate) async fn next(&mut self) -> Result<Vec<WatchBatch>, StoreError> {
        let all = self
            .sources
            .iter_mut()
            .map(|source| Box::pin(source.next()));
        let first = select_all(all).await.0?;
        let is_history = first.revision <= self.replay_until;
        let mut batches = vec![first];
        for source in &mut self.sources {
            while let Some(batch) = next_if_ready(source, is_history).await {
                batches.push(batch?);
            }
        }
        batches.sort_by_key(|batch| batch.revision);
        Ok(batches)
    }
}

async fn next_if_ready(
    source: &mut Watch,
    is_history: bool,
) -> Option<Result<WatchBatch, StoreError>> {
    if is_history {
        return tokio::time::timeout(REPLAY_PATIENCE, source.next())
            .await
            .ok();
    }
    source.next().now_or_never()
}
