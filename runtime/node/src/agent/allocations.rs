//! Follows the allocations of this node and keeps one task for each.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lote_model::allocation::{Allocation, AllocationPhase};
use lote_model::id::JobUid;
use lote_model::key;
use lote_store::{Event, ListRequest, Listing, Revision, StoreError, Versioned, Watch, WatchBatch};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::process_spec::run_name;
use super::{Node, task};
use crate::gpu::GpuHold;

/// Pause after a failed call of the store.
const RETRY: Duration = Duration::from_millis(500);

/// What the leader wants of one allocation now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// What to do; `None` once the allocation is gone.
    pub(super) phase: Option<AllocationPhase>,
    /// The revision of the allocation, which guards the node's reports.
    pub(super) revision: Revision,
}

/// How far a task is with its end, for whoever must wait for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// No process of the attempt runs here any more, and none will.
    pub(super) processes_gone: CancellationToken,
    /// The task has ended: its directories are removed and its report is written, or unwanted.
    finished: CancellationToken,
}

impl Progress {
    async fn no_process_left(&self) {
        tokio::select! {
            () = self.processes_gone.cancelled() => {}
            () = self.finished.cancelled() => {}
        }
    }
}

/// The task of one attempt of a job.
#[derive(Debug)]
struct Entry {
    attempt: u32,
    directive: watch::Sender<Directive>,
    progress: Progress,
}

impl Entry {
    fn is_withdrawn(&self) -> bool {
        self.directive.borrow().phase.is_none()
    }

    fn withdraw(&self) {
        self.directive
            .send_modify(|directive| directive.phase = None);
    }

    fn is_over(&self) -> bool {
        self.is_withdrawn() && self.progress.finished.is_cancelled()
    }
}

/// The tasks of this node.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The latest task of each job, also of those that are only still ending.
    tasks: HashMap<JobUid, Entry>,
    /// What was listed last. Changes that come later may be older.
    listed: Listed,
}

impl Tasks {
    /// Whether no job is here, not even one that still ends.
    pub(super) fn are_none(&self) -> bool {
        let mut known = self.lock();
        known.forget_ended();
        known.tasks.is_empty()
    }

    /// Whether the run of this name is here, or still ends.
    pub(super) fn have_run(&self, name: &str) -> bool {
        let mut known = self.lock();
        known.forget_ended();
        let mut tasks = known.tasks.iter();
        tasks.any(|(uid, entry)| run_name(uid, entry.attempt) == name)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn withdraw_missing(&self, listed: &Listed) {
        for (uid, entry) in &self.tasks {
            if listed.is_missing(uid, entry) {
                entry.withdraw();
            }
        }
    }

    fn forget_ended(&mut self) {
        self.tasks.retain(|_, entry| !entry.is_over());
    }
}

/// The attempts that have an allocation on this node.
#[derive(Debug, Default)]
pub(super) struct Listed {
    attempts: BTreeSet<(JobUid, u32)>,
    /// Whatever has a newer allocation is none of this list's business.
    revision: Revision,
}

impl Listed {
    pub(super) fn read(listing: &Listing) -> Self {
        let attempts = listing.items.iter().filter_map(read);
        Self {
            attempts: attempts.map(|is| (is.uid, is.attempt)).collect(),
            revision: listing.revision,
        }
    }

    /// Whether the run of this name belongs to one of them.
    pub(super) fn has_run(&self, name: &str) -> bool {
        let mut attempts = self.attempts.iter();
        attempts.any(|(uid, attempt)| run_name(uid, *attempt) == name)
    }

    /// Whether an allocation that was written at this revision was gone, or that of another
    /// attempt, by the time of the list.
    fn knows_gone(&self, uid: &JobUid, attempt: u32, revision: Revision) -> bool {
        revision <= self.revision && !self.attempts.contains(&(uid.clone(), attempt))
    }

    fn is_missing(&self, uid: &JobUid, entry: &Entry) -> bool {
        self.knows_gone(uid, entry.attempt, entry.directive.borrow().revision)
    }
}

/// Ends the tasks whose allocations are gone, and waits until none of their processes is left.
pub(super) async fn end_what_is_not_listed(node: &Node, listed: Listed) {
    let ending: Vec<Progress> = {
        let mut known = node.tasks.lock();
        known.withdraw_missing(&listed);
        if known.listed.revision < listed.revision {
            known.listed = listed;
        }
        let entries = known.tasks.values();
        let withdrawn = entries.filter(|entry| entry.is_withdrawn());
        withdrawn.map(|entry| entry.progress.clone()).collect()
    };
    for progress in ending {
        progress.no_process_left().await;
    }
}

/// Works until `stop` is cancelled.
pub(super) async fn follow(
    node: Arc<Node>,
    mut registered: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let work = async {
        // What an earlier daemon left is gone by then.
        if registered.wait_for(|is| *is).await.is_err() {
            return;
        }
        loop {
            if let Err(error) = list_and_watch(&node).await {
                tracing::warn!(%error, "lost sight of this node's allocations; looking again");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

async fn list_and_watch(node: &Arc<Node>) -> Result<(), StoreError> {
    let prefix = key::allocations_of(&node.config.name);
    let listing = node.store.list(ListRequest::prefix(&prefix)).await?;
    let listed = Listed::read(&listing);
    {
        let mut known = node.tasks.lock();
        known.withdraw_missing(&listed);
        known.listed = listed;
    }
    for item in &listing.items {
        put(node, item);
    }
    node.gpus.allocations_are_known();
    let watch = node.store.watch(&prefix, listing.revision + 1).await?;
    follow_watch(node, watch).await
}

async fn follow_watch(node: &Arc<Node>, mut watch: Watch) -> Result<(), StoreError> {
    loop {
        let WatchBatch { events, .. } = watch.next().await?;
        for event in events {
            match event {
                Event::Put(item) => put(node, &item),
                Event::Delete { key, .. } => delete(node, &key),
            }
        }
    }
}

fn read(item: &Versioned) -> Option<Allocation> {
    match serde_json::from_slice(&item.value) {
        Ok(allocation) => Some(allocation),
        Err(error) => {
            tracing::error!(key = item.key, %error, "an allocation cannot be read; ignoring it");
            None
        }
    }
}

/// Takes in an allocation; a new one gets a task. The task of another attempt is ended, and the
/// new one waits for it: the two would have the same directories.
fn put(node: &Arc<Node>, item: &Versioned) {
    let Some(allocation) = read(item) else { return };
    let directive = Directive {
        phase: Some(allocation.phase),
        revision: item.mod_revision,
    };
    let mut known = node.tasks.lock();
    if known
        .listed
        .knows_gone(&allocation.uid, allocation.attempt, item.mod_revision)
    {
        return;
    }
    known.forget_ended();
    let previous = match known.tasks.get(&allocation.uid) {
        Some(entry) if entry.attempt == allocation.attempt && !entry.is_withdrawn() => {
            entry.directive.send_replace(directive);
            return;
        }
        Some(entry) => {
            entry.withdraw();
            Some(entry.progress.clone())
        }
        None => None,
    };
    let (sender, receiver) = watch::channel(directive);
    let progress = Progress::default();
    let entry = Entry {
        attempt: allocation.attempt,
        directive: sender,
        progress: progress.clone(),
    };
    known.tasks.insert(allocation.uid.clone(), entry);
    // At once, so that nobody takes the job's processes on them for strangers.
    let gpus = allocation.grant.gpus.iter().map(|gpu| gpu.uuid.clone());
    let gpus = node.gpus.hold(allocation.uid.clone(), gpus.collect());
    tokio::spawn(run(
        Arc::clone(node),
        allocation,
        gpus,
        receiver,
        progress,
        previous,
    ));
}

async fn run(
    node: Arc<Node>,
    allocation: Allocation,
    gpus: GpuHold,
    directive: watch::Receiver<Directive>,
    progress: Progress,
    previous: Option<Progress>,
) {
    let _finished = progress.finished.drop_guard_ref();
    if let Some(previous) = previous {
        previous.finished.cancelled().await;
    }
    let gone = progress.processes_gone.clone();
    Box::pin(task::run(node, allocation, gpus, directive, gone)).await;
}

fn delete(node: &Node, key: &str) {
    let Some(uid) = key.rsplit('/').next() else {
        return;
    };
    let mut known = node.tasks.lock();
    if let Some(entry) = known.tasks.get(&JobUid::new(uid)) {
        entry.withdraw();
    }
    known.forget_ended();
}
