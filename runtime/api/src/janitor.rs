//! Deletion of what holds other things: experiments and workspaces.
//!
//! A user's request only marks the container. From then on nothing can be made
//! in it, because whatever is made compares the container's revision. This task
//! marks what is inside, and erases the container once it is empty. Every step
//! can be repeated, by any daemon, after any crash.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lote_model::cluster::ClusterRecord;
use lote_model::file_server::FileServerRecord;
use lote_model::job::JobRecord;
use lote_model::key;
use lote_model::path::{ChildPath, WorkspacePath};
use lote_model::workspace::{ExperimentRecord, WorkspaceRecord};
use lote_store::{
    Entry, Event, ListRequest, Store, StoreError, Transaction, Watch, get_json, list_json,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::records::mark;
use crate::state::ApiState;

/// How many records are read at once.
const PAGE: usize = 500;

/// How many marks one transaction sets: each compares and writes one key, and
/// the store takes at most 128 of each.
const MARKS_PER_COMMIT: usize = 64;

/// How long to wait after the store did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// A container that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Container {
    Experiment(ChildPath),
    Workspace(WorkspacePath),
}

/// Runs until the server stops.
pub(crate) async fn run(state: ApiState) {
    loop {
        tokio::select! {
            () = state.stopping.cancelled() => return,
            result = clean_until_lost(&state) => match result {
                Err(StoreError::Closed) => return,
                Err(StoreError::Compacted { .. }) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "deletion of containers waits");
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(never) => match never {},
            },
        }
    }
}

/// The containers that are to go, by key, and whether what they hold is marked.
type Pending = BTreeMap<String, (Container, bool)>;

async fn clean_until_lost(state: &ApiState) -> Result<std::convert::Infallible, StoreError> {
    let store = state.store();
    // Watches first: what is marked after the scan is then seen.
    let mut watches = Watches::open(store).await?;
    let mut pending = scan(store).await?;
    loop {
        sweep(state, &mut pending).await?;
        for event in watches.next(!pending.is_empty()).await? {
            note(&event, &mut pending);
        }
    }
}

struct Watches {
    containers: [Watch; 2],
    inside: [Watch; 3],
}

impl Watches {
    async fn open(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self {
            containers: [
                store.watch(key::EXPERIMENTS, 0).await?,
                store.watch(key::WORKSPACES, 0).await?,
            ],
            inside: [
                store.watch(key::JOBS, 0).await?,
                store.watch(key::CLUSTERS, 0).await?,
                store.watch(key::FILE_SERVERS, 0).await?,
            ],
        })
    }

    /// Waits for the next change. What is inside containers is read past even
    /// when nothing is pending, so that the watch does not fall behind.
    async fn next(&mut self, pending: bool) -> Result<Vec<Event>, StoreError> {
        let [experiments, workspaces] = &mut self.containers;
        let [jobs, clusters, file_servers] = &mut self.inside;
        loop {
            let (batch, is_container) = tokio::select! {
                batch = experiments.next() => (batch?, true),
                batch = workspaces.next() => (batch?, true),
                batch = jobs.next() => (batch?, false),
                batch = clusters.next() => (batch?, false),
                batch = file_servers.next() => (batch?, false),
            };
            let gone = batch
                .events
                .iter()
                .any(|event| matches!(event, Event::Delete { .. }));
            if is_container || (pending && gone) {
                return Ok(batch.events);
            }
        }
    }
}

/// Notes a container that was marked. Records that cannot be read are left.
fn note(event: &Event, pending: &mut Pending) {
    let Event::Put(versioned) = event else { return };
    let container = if versioned.key.starts_with(key::EXPERIMENTS) {
        serde_json::from_slice(&versioned.value)
            .ok()
            .and_then(|record| marked_experiment(&record))
    } else if versioned.key.starts_with(key::WORKSPACES) {
        serde_json::from_slice(&versioned.value)
            .ok()
            .and_then(|record| marked_workspace(&record))
    } else {
        None
    };
    if let Some(container) = container {
        pending.insert(versioned.key.clone(), (container, false));
    }
}

fn marked_experiment(record: &ExperimentRecord) -> Option<Container> {
    record
        .delete_requested_at
        .map(|_| Container::Experiment(record.path.clone()))
}

fn marked_workspace(record: &WorkspaceRecord) -> Option<Container> {
    record
        .delete_requested_at
        .map(|_| Container::Workspace(record.path.clone()))
}

async fn scan(store: &dyn Store) -> Result<Pending, StoreError> {
    let mut pending = Pending::new();
    let mut pages = Pages::new(key::EXPERIMENTS);
    while let Some(page) = pages.next::<ExperimentRecord>(store).await? {
        let marked = page
            .into_iter()
            .filter_map(|entry| Some((entry.key, (marked_experiment(&entry.value)?, false))));
        pending.extend(marked);
    }
    let mut pages = Pages::new(key::WORKSPACES);
    while let Some(page) = pages.next::<WorkspaceRecord>(store).await? {
        let marked = page
            .into_iter()
            .filter_map(|entry| Some((entry.key, (marked_workspace(&entry.value)?, false))));
        pending.extend(marked);
    }
    Ok(pending)
}

/// A list of the store in pages.
struct Pages {
    request: Option<ListRequest>,
}

impl Pages {
    fn new(prefix: &str) -> Self {
        Self {
            request: Some(ListRequest {
                limit: Some(PAGE),
                ..ListRequest::prefix(prefix)
            }),
        }
    }

    async fn next<T: DeserializeOwned>(
        &mut self,
        store: &dyn Store,
    ) -> Result<Option<Vec<Entry<T>>>, StoreError> {
        let Some(request) = self.request.take() else {
            return Ok(None);
        };
        let listing = list_json::<T>(store, request.clone()).await?;
        if listing.more {
            let after = listing.items.last().map(|entry| entry.key.clone());
            self.request = Some(ListRequest { after, ..request });
        }
        Ok(Some(listing.items))
    }
}

/// One round over all pending containers; those that are gone are dropped.
async fn sweep(state: &ApiState, pending: &mut Pending) -> Result<(), StoreError> {
    let store = state.store();
    for (key, (container, contents_marked)) in std::mem::take(pending) {
        if !contents_marked {
            mark_contents(store, &container, state.now()).await?;
        }
        let erased = match &container {
            Container::Experiment(path) => erase_empty_experiment(store, path).await?,
            Container::Workspace(path) => erase_empty_workspace(store, path).await?,
        };
        if !erased {
            pending.insert(key, (container, true));
        }
    }
    Ok(())
}

async fn mark_contents(
    store: &dyn Store,
    container: &Container,
    now: Timestamp,
) -> Result<(), StoreError> {
    match container {
        Container::Experiment(path) => {
            mark_all(store, &key::jobs_of(path), |job: &mut JobRecord| {
                mark(&mut job.delete_requested_at, now)
            })
            .await
        }
        Container::Workspace(path) => {
            mark_all(
                store,
                &key::experiments_of(path),
                |experiment: &mut ExperimentRecord| mark(&mut experiment.delete_requested_at, now),
            )
            .await?;
            mark_all(
                store,
                &key::clusters_of(path),
                |cluster: &mut ClusterRecord| mark(&mut cluster.delete_requested_at, now),
            )
            .await?;
            mark_all(
                store,
                &key::file_servers_of(path),
                |server: &mut FileServerRecord| mark(&mut server.delete_requested_at, now),
            )
            .await?;
            let jobs = key::jobs_of_workspace(path);
            mark_all(store, &jobs, |job: &mut JobRecord| {
                mark(&mut job.delete_requested_at, now)
            })
            .await
        }
    }
}

/// Marks every record under a prefix that is not marked yet.
async fn mark_all<T, F>(store: &dyn Store, prefix: &str, set: F) -> Result<(), StoreError>
where
    T: Serialize + DeserializeOwned,
    F: Fn(&mut T) -> bool,
{
    let mut pages = Pages::new(prefix);
    while let Some(page) = pages.next::<T>(store).await? {
        let mut unmarked: Vec<Entry<T>> = page;
        unmarked.retain_mut(|entry| set(&mut entry.value));
        for batch in unmarked.chunks(MARKS_PER_COMMIT) {
            mark_batch(store, batch, &set).await?;
        }
    }
    Ok(())
}

async fn mark_batch<T, F>(store: &dyn Store, batch: &[Entry<T>], set: &F) -> Result<(), StoreError>
where
    T: Serialize + DeserializeOwned,
    F: Fn(&mut T) -> bool,
{
    let mut transaction = Transaction::new();
    for entry in batch {
        transaction = transaction
            .require_revision(&entry.key, entry.mod_revision)
            .put_json(&entry.key, &entry.value)?;
    }
    let fits = transaction.validate().is_ok();
    if fits && store.commit(transaction).await?.is_applied() {
        return Ok(());
    }
    // Too large together, or one of them changed: one by one.
    for entry in batch {
        mark_one(store, &entry.key, set).await?;
    }
    Ok(())
}

async fn mark_one<T, F>(store: &dyn Store, key: &str, set: &F) -> Result<(), StoreError>
where
    T: Serialize + DeserializeOwned,
    F: Fn(&mut T) -> bool,
{
    while let Some(mut entry) = get_json::<T>(store, key).await? {
        if !set(&mut entry.value) {
            return Ok(());
        }
        let transaction = Transaction::new()
            .require_revision(key, entry.mod_revision)
            .put_json(key, &entry.value)?;
        if store.commit(transaction).await?.is_applied() {
            return Ok(());
        }
    }
    Ok(())
}

/// Erases an experiment that is marked, once it has no jobs. Says whether the
/// marked one is gone.
pub(crate) async fn erase_empty_experiment(
    store: &dyn Store,
    path: &ChildPath,
) -> Result<bool, StoreError> {
    let found = get_json::<ExperimentRecord>(store, &key::experiment(path)).await?;
    match found.filter(|found| found.value.delete_requested_at.is_some()) {
        Some(found) => erase_if_empty(store, &found, &[key::jobs_of(path)]).await,
        None => Ok(true),
    }
}

/// Erases a workspace that is marked, once it holds nothing. Says whether the
/// marked one is gone.
pub(crate) async fn erase_empty_workspace(
    store: &dyn Store,
    path: &WorkspacePath,
) -> Result<bool, StoreError> {
    let inside = [
        key::jobs_of_workspace(path),
        key::experiments_of(path),
        key::clusters_of(path),
        key::file_servers_of(path),
    ];
    let found = get_json::<WorkspaceRecord>(store, &key::workspace(path)).await?;
    match found.filter(|found| found.value.delete_requested_at.is_some()) {
        Some(found) => erase_if_empty(store, &found, &inside).await,
        None => Ok(true),
    }
}

async fn erase_if_empty<T: Sync>(
    store: &dyn Store,
    found: &Entry<T>,
    inside: &[String],
) -> Result<bool, StoreError> {
    for prefix in inside {
        let request = ListRequest {
            limit: Some(1),
            keys_only: true,
            ..ListRequest::prefix(prefix)
        };
        if !store.list(request).await?.items.is_empty() {
            return Ok(false);
        }
    }
    let transaction = Transaction::new()
        .require_revision(&found.key, found.mod_revision)
        .delete(&found.key);
    if store.commit(transaction).await?.is_applied() {
        return Ok(true);
    }
    // Someone else may have erased it just now.
    let now = store.get(&found.key).await?;
    Ok(now.is_none_or(|now| now.create_revision != found.create_revision))
}
