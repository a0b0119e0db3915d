//! Taking over a store that is in use already.
//!
//! Statuses are listed before jobs, so that the records of finished jobs, most of the store after
//! a while, are dropped as they are read. The lists are read at different revisions; replaying
//! the history from the first of them makes the snapshot whole.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use lote_model::id::JobUid;
use lote_model::job::JobStatus;
use lote_model::key;
use lote_store::{Event, Revision, StoreError, Versioned};

use super::Snapshot;

/// What must be kept while a store is being loaded.
#[derive(Debug, Default)]
pub struct Loading {
    /// Jobs whose end was seen.
    pub(super) finished: HashSet<JobUid>,
    /// Statuses of jobs that were not seen yet.
    pub(super) statuses: HashMap<JobUid, (JobStatus, Revision)>,
}

impl Snapshot {
    /// What is loaded, in this order: statuses before jobs, so that finished jobs are skipped.
    pub const PREFIXES: [&str; 16] = [
        key::JOB_STATUS,
        key::JOBS,
        key::CLUSTERS,
        key::CLUSTER_STATUS,
        key::FILE_SERVERS,
        key::FILE_SERVER_STATUS,
        key::EXPORTS,
        key::EXPORTED,
        key::NODES,
        key::DRAINS,
        key::POWER,
        key::ALIVE,
        key::ALLOCATIONS,
        key::REPORTS,
        key::SHARES,
        key::DAILY_USAGE,
    ];

    /// Starts to load: statuses of jobs come before the jobs. Nothing may be decided until
    /// [`Snapshot::end_loading`].
    pub fn start_loading(&mut self) {
        self.loading = Some(Loading::default());
    }

    /// Takes one key of a list.
    pub fn load(&mut self, versioned: Versioned, now: Timestamp) -> Result<(), StoreError> {
        self.apply(&Event::Put(versioned), now)
    }

    /// The snapshot has caught up with the revision of the last list.
    pub fn end_loading(&mut self) {
        self.loading = None;
    }

    /// Jobs on several nodes that are running, and their attempts: those whose plans must be
    /// loaded.
    pub fn running_gangs(&self) -> Vec<(JobUid, u32)> {
        let running = self
            .jobs
            .values()
            .filter(|job| job.request.node_count > 1 && job.attempt() > 0);
        running
            .map(|job| (job.record.uid.clone(), job.attempt()))
            .collect()
    }
}
