//! What happens to one job, as the store tells it.

use lote_model::id::JobUid;
use lote_model::job::{JobRecord, JobStatus};
use lote_model::key;
use lote_model::path::JobPath;
use lote_model::report::Report;
use lote_store::{Event, Revision, Store, StoreError, Versioned, WatchBatch};
use serde::de::DeserializeOwned;

use crate::watches::Watches;

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

/// Watches one job. Each source is under a prefix of its own.
pub(crate) struct Changes {
    uid: JobUid,
    job_key: String,
    status_key: String,
    sources: Watches,
}

impl Changes {
    /// Watches a job from a revision on; 0 means from now on.
    pub(crate) async fn open(
        store: &dyn Store,
        path: &JobPath,
        uid: &JobUid,
        from: Revision,
    ) -> Result<Self, StoreError> {
        let (job_key, status_key) = (key::job(path), key::job_status(path));
        let prefixes = [&*job_key, &*status_key, &*key::reports_of(uid)];
        let sources = Watches::open(store, &prefixes, from).await?;
        Ok(Self {
            uid: uid.clone(),
            job_key,
            status_key,
            sources,
        })
    }

    /// Waits for the next changes, in the order of their revisions. The list can
    /// be empty: jobs whose names begin alike share a prefix.
    pub(crate) async fn next(&mut self) -> Result<Vec<(Revision, Change)>, StoreError> {
        let batches = self.sources.next().await?.into_iter();
        Ok(batches.flat_map(|batch| self.of_batch(batch)).collect())
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

/// A value that cannot be read is logged and left out: the stream goes on.
pub(crate) fn read<T: DeserializeOwned>(versioned: &Versioned) -> Option<T> {
    serde_json::from_slice(&versioned.value)
        .inspect_err(|error| {
            tracing::error!(key = versioned.key, "a record cannot be read: {error}");
        })
        .ok()
}
