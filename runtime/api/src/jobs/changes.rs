//! What happens to one job, as the store tells it.

use std::time::Duration;

use futures_util::FutureExt;
use lote_model::id::JobUid;
use lote_model::job::{JobRecord, JobStatus};
use lote_model::key;
use lote_model::path::JobPath;
use lote_model::report::Report;
use lote_store::{Event, Revision, Store, StoreError, Versioned, Watch, WatchBatch};
use serde::de::DeserializeOwned;

/// One change that concerns a job.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "short-lived, one at a time")]
pub(crate) enum Change {
    /// The user wants something else.
    Record(JobRecord),
    /// It is gone, or another job has taken its name.
    Gone,
    /// The leader has decided something.
    Status(JobStatus),
    /// A node has told something.
    Report(Report),
}

/// How long reading the history of one source may take before it is taken to
/// have none left.
const REPLAY_PATIENCE: Duration = Duration::from_millis(100);

/// Watches one job. Each source is under a prefix of its own.
pub(crate) struct Changes {
    /// Up to here it is history, which each source reads in its own time.
    replay_until: Revision,
    uid: JobUid,
    job_key: String,
    status_key: String,
    sources: [Watch; 3],
}

impl Changes {
    /// Watches a job from a revision on; 0 means from now on.
    pub(crate) async fn open(
        store: &dyn Store,
        path: &JobPath,
        uid: &JobUid,
        from: Revision,
    ) -> Result<Self, StoreError> {
        let replay_until = if from == 0 {
            0
        } else {
            store.revision().await?
        };
        let (job_key, status_key) = (key::job(path), key::job_status(path));
        let sources = [
            store.watch(&job_key, from).await?,
            store.watch(&status_key, from).await?,
            store.watch(&key::reports_of(uid), from).await?,
        ];
        Ok(Self {
            replay_until,
            uid: uid.clone(),
            job_key,
            status_key,
            sources,
        })
    }

    /// Waits for the next changes, in the order of their revisions. The list can
    /// be empty: jobs whose names begin alike share a prefix.
    ///
    /// A store tells all watches about one revision before the next. So what is
    /// ready together is complete up to its last revision, and sorting it gives
    /// the order in which it happened.
    pub(crate) async fn next(&mut self) -> Result<Vec<(Revision, Change)>, StoreError> {
        let [record, status, reports] = &mut self.sources;
        let first = tokio::select! {
            batch = record.next() => batch?,
            batch = status.next() => batch?,
            batch = reports.next() => batch?,
        };
        let is_history = first.revision <= self.replay_until;
        let mut batches = vec![first];
        for source in &mut self.sources {
            while let Some(batch) = next_if_ready(source, is_history).await {
                batches.push(batch?);
            }
        }
        batches.sort_by_key(|batch| batch.revision);
        Ok(batches
            .into_iter()
            .flat_map(|batch| self.of_batch(batch))
            .collect())
    }

    fn of_batch(&self, batch: WatchBatch) -> Vec<(Revision, Change)> {
        let WatchBatch { revision, events } = batch;
        events
            .into_iter()
            .filter_map(|event| Some((revision, self.of_event(event)?)))
            .collect()
    }

    fn of_event(&self, event: Event) -> Option<Change> {
        match event {
            Event::Put(versioned) if versioned.key == self.job_key => {
                let record: JobRecord = read(&versioned)?;
                Some(if record.uid == self.uid {
                    Change::Record(record)
                } else {
                    Change::Gone
                })
            }
            Event::Put(versioned) if versioned.key == self.status_key => read(&versioned)
                .filter(|status: &JobStatus| status.uid == self.uid)
                .map(Change::Status),
            Event::Put(versioned) if versioned.key.starts_with(key::REPORTS) => {
                read(&versioned).map(Change::Report)
            }
            Event::Delete { key, .. } if key == self.job_key => Some(Change::Gone),
            _ => None,
        }
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

/// A value that cannot be read is logged and left out: the stream goes on.
fn read<T: DeserializeOwned>(versioned: &Versioned) -> Option<T> {
    serde_json::from_slice(&versioned.value)
        .inspect_err(|error| {
            tracing::error!(key = versioned.key, "a record cannot be read: {error}");
        })
        .ok()
}
