//! Jobs that have not ended.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;
use lote_model::allocation::Grant;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::{ErrorRecord, JobRecord, JobStatus};
use lote_model::key;
use lote_model::state::ExecutionState;
use lote_store::Revision;

use super::workspace::workspace_of;
use super::{
    Availability, Class, ClusterKey, FileServerPlace, Hindrance, QueueKey, Snapshot, Waiting,
    WorkspaceKey,
};
use crate::mounts;
use crate::room::Request;
use crate::time::after_seconds;

/// A job that has not ended.
#[derive(Clone, Debug)]
pub struct LiveJob {
    /// What the user wants.
    pub record: Arc<JobRecord>,
    /// The revision of the record.
    pub record_revision: Revision,
    /// What the leader has stored about it; none means queued.
    pub status: Option<JobStatus>,
    /// The revision of the status; 0 for none.
    pub status_revision: Revision,
    /// Its cluster.
    pub cluster: ClusterKey,
    /// The workspace that it is in.
    pub workspace: WorkspaceKey,
    /// What it asks for.
    pub request: Request,
    /// What is under way for it.
    pub in_flight: Option<InFlight>,
    /// Why there is no plan for it; it fails with this.
    pub plan_failure: Option<ErrorRecord>,
    /// Which nodes its plugin did not want.
    pub unsuitable: Option<Unsuitable>,
    /// The attempt whose plan was seen, and the ranks on which it has primary processes.
    pub primaries: Option<(u32, BTreeSet<u32>)>,
    indexed: Indexed,
}

/// An action under way.
#[derive(Clone, Debug)]
pub enum InFlight {
    /// It is being started on these nodes.
    Start {
        /// What it will hold.
        grants: Vec<(NodeName, Grant)>,
        /// When that was decided.
        since: Timestamp,
    },
    /// Something else is written.
    Change,
}

/// Nodes that a plugin did not want for a job. Kept in memory only: after a restart it is asked
/// again.
#[derive(Clone, Debug)]
pub struct Unsuitable {
    /// The nodes.
    pub nodes: BTreeSet<NodeName>,
    /// Why, the last time.
    pub error: ErrorRecord,
}

/// Where a job stands in the indices.
#[derive(Clone, Debug, Default)]
struct Indexed {
    queue: Option<QueueKey>,
    class: Option<Class>,
    deadline: Option<Timestamp>,
    is_running: bool,
    mounts: BTreeSet<FileServerPlace>,
}

impl LiveJob {
    fn new(record: JobRecord, record_revision: Revision) -> Self {
        Self {
            cluster: key::cluster(&record.cluster).into(),
            workspace: workspace_of(&record),
            request: Request::of(&record.properties, &record.framework),
            record: Arc::new(record),
            record_revision,
            status: None,
            status_revision: 0,
            in_flight: None,
            plan_failure: None,
            unsuitable: None,
            primaries: None,
            indexed: Indexed::default(),
        }
    }

    /// Where it is in its life.
    pub fn state(&self) -> ExecutionState {
        self.status
            .as_ref()
            .map_or(ExecutionState::Queued, |status| status.state)
    }

    /// Whether the user wants it to end, for whatever reason.
    pub fn is_unwanted(&self) -> bool {
        self.record.terminate_requested_at.is_some() || self.record.delete_requested_at.is_some()
    }

    /// How often it was started.
    pub fn attempt(&self) -> u32 {
        self.status.as_ref().map_or(0, |status| status.attempt)
    }

    /// How many of its starts count among those that it has.
    pub fn counted_attempts(&self) -> u32 {
        let uncounted = |status: &JobStatus| status.uncounted_attempts;
        self.attempt()
            .saturating_sub(self.status.as_ref().map_or(0, uncounted))
    }

    /// When it reaches its limit, while it runs and nothing ends it yet.
    fn deadline(&self) -> Option<Timestamp> {
        let status = self.status.as_ref()?;
        let runs = status.state == ExecutionState::Running && status.ending.is_none();
        let start = status.start_time.filter(|_| runs)?;
        Some(after_seconds(
            start,
            self.record.properties.constraints.max_wall_clock_time,
        ))
    }

    fn queue_key(&self) -> QueueKey {
        QueueKey {
            priority: Reverse(self.record.properties.scheduling_priority),
            created_at: self.record.created_at,
            uid: self.record.uid.clone(),
        }
    }

    fn class(&self) -> Class {
        Class {
            workspace: Arc::clone(&self.workspace),
            request: self.request,
            picky: self.unsuitable.as_ref().map(|_| self.record.uid.clone()),
        }
    }

    /// The file servers that it mounts, those of its cluster included.
    pub fn file_servers(&self) -> &BTreeSet<FileServerPlace> {
        &self.indexed.mounts
    }

    fn waiting(&self, lacks_storage: bool) -> Waiting {
        Waiting {
            request: self.request,
            limit: self.record.properties.constraints.max_wall_clock_time,
            hindrance: match &self.in_flight {
                Some(InFlight::Start { .. }) => Hindrance::Starting,
                _ if lacks_storage => Hindrance::Storage,
                Some(InFlight::Change) => Hindrance::Busy,
                None => Hindrance::None,
            },
        }
    }
}

impl Snapshot {
    pub(super) fn add_job(
        &mut self,
        place: &str,
        record: JobRecord,
        revision: Revision,
        now: Timestamp,
    ) {
        let job = LiveJob::new(record, revision);
        let uid = job.record.uid.clone();
        self.job_places.insert(place.to_owned(), uid.clone());
        self.cluster_mut(&job.cluster).live_jobs += 1;
        self.jobs.insert(uid.clone(), job);
        self.refresh_holds_of(&uid, now);
        self.refresh_job(&uid);
    }

    /// Forgets a job that ended or was erased. What is left on nodes is a left-over from now on.
    pub(super) fn remove_job(&mut self, place: &str, uid: &JobUid, now: Timestamp) {
        let Some(mut job) = self.jobs.remove(uid) else {
            return;
        };
        if self.job_places.get(place) == Some(uid) {
            self.job_places.remove(place);
        }
        self.unindex(&mut job);
        let cluster = self.cluster_mut(&job.cluster);
        cluster.live_jobs = cluster.live_jobs.saturating_sub(1);
        self.drop_needless_cluster(&job.cluster);
        self.release_start(uid, job.in_flight, now);
        self.refresh_job(uid);
    }

    pub(super) fn refresh_holds_of(&mut self, uid: &JobUid, now: Timestamp) {
        let names: Vec<_> = self
            .gangs
            .get(uid)
            .into_iter()
            .flat_map(|gang| gang.parts.keys().cloned())
            .collect();
        for name in &names {
            self.refresh_hold(name, uid, now);
        }
    }

    fn unindex(&mut self, job: &mut LiveJob) {
        let indexed = std::mem::take(&mut job.indexed);
        if let Some(key) = indexed.queue {
            let cluster = self.cluster_mut(&job.cluster);
            cluster.queue.remove(&key);
            if let Some(class) = indexed.class {
                cluster.leave_class(class, &key);
            }
        }
        if indexed.is_running {
            self.with_workspace(&job.workspace, |workspace| {
                workspace.running.remove(&job.record.uid);
            });
        }
        if let Some(at) = indexed.deadline {
            self.deadlines.remove(&(at, job.record.uid.clone()));
        }
        for place in indexed.mounts {
            if let Entry::Occupied(mut jobs) = self.mounting.entry(place) {
                jobs.get_mut().remove(&job.record.uid);
                if jobs.get().is_empty() {
                    jobs.remove();
                }
            }
        }
    }

    fn index_mounts(&mut self, job: &mut LiveJob) {
        let cluster = self.clusters.get(&job.cluster);
        let cluster = cluster.and_then(|cluster| cluster.record.as_ref());
        let mounts = mounts::file_servers(&job.record.properties, cluster);
        for place in &mounts {
            let jobs = self.mounting.entry(place.clone()).or_default();
            jobs.insert(job.record.uid.clone());
        }
        job.indexed.mounts = mounts;
    }

    /// Whether a job waits for what it mounts. One that will fail because of another file server
    /// does not.
    fn lacks_storage(&self, job: &LiveJob) -> bool {
        let mut is_pending = false;
        for place in &job.indexed.mounts {
            match self.availability(place) {
                Availability::Ready => {}
                Availability::Pending => is_pending = true,
                Availability::Unavailable => return false,
            }
        }
        is_pending
    }

    /// The live jobs that mount the file server at a place, in no order that means anything.
    pub fn jobs_that_mount(&self, place: &str) -> impl Iterator<Item = &LiveJob> {
        let uids = self.mounting.get(place).into_iter().flatten();
        uids.filter_map(|uid| self.jobs.get(uid))
    }

    pub(super) fn refresh_jobs_that_mount(&mut self, place: &str) {
        let jobs = self.mounting.get(place).cloned().unwrap_or_default();
        for uid in &jobs {
            self.refresh_job(uid);
        }
    }

    /// Puts a job, or what is left of one, into the indices where it belongs now.
    pub(super) fn refresh_job(&mut self, uid: &JobUid) {
        // Looked at once in the next pass, however many of its nodes report before it.
        self.touched.insert(uid.clone());
        let Some(mut job) = self.jobs.remove(uid) else {
            return;
        };
        self.unindex(&mut job);
        self.index_mounts(&mut job);
        let lacks_storage = self.lacks_storage(&job);
        let is_placeable = job.state() == ExecutionState::Queued
            && !job.is_unwanted()
            && job.plan_failure.is_none()
            && !self
                .gangs
                .get(uid)
                .is_some_and(super::Gang::has_allocations);
        let is_starting = matches!(job.in_flight, Some(InFlight::Start { .. }));
        if is_placeable || is_starting {
            let key = job.queue_key();
            let cluster = self.cluster_mut(&job.cluster);
            cluster
                .queue
                .insert(key.clone(), job.waiting(lacks_storage));
            if !is_starting && !lacks_storage {
                let class = job.class();
                let limit = job.record.properties.constraints.max_wall_clock_time;
                let keys = cluster.classes.entry(class.clone()).or_default();
                keys.insert(key.clone(), limit);
                job.indexed.class = Some(class);
            }
            job.indexed.queue = Some(key);
        }
        if let Some(at) = job.deadline().filter(|_| job.in_flight.is_none()) {
            self.deadlines.insert((at, uid.clone()));
            job.indexed.deadline = Some(at);
        }
        if let Some(run) = self.run_of(&job) {
            self.with_workspace(&job.workspace, |workspace| {
                workspace.running.insert(uid.clone(), run);
            });
            job.indexed.is_running = true;
        }
        self.jobs.insert(uid.clone(), job);
    }
}
