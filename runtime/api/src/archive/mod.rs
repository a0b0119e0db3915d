//! Jobs that ended long ago leave the store, which is not made to grow for ever, for a file.
//!
//! The daemon that leads writes them down, one line of JSON each, and then asks for their
//! deletion as a user would. A crash in between writes a job twice; no job goes unwritten.
//!
//! * `finished` — which jobs have ended, and whose turn it is.
//! * `file` — the file they are written to.

mod file;
mod finished;

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use lote_model::duration::Seconds;
use lote_model::job::{JobRecord, JobStatus};
use lote_model::key;
use lote_model::leader::LeaderRecord;
use lote_model::path::IdStyle;
use lote_store::{Entry, ListRequest, StoreError, Transaction, get_json};
use serde_json::json;

use self::finished::Finished;
use crate::files::blocking;
use crate::jobs;
use crate::records::mark;
use crate::request::Caller;
use crate::state::ApiState;

/// How many statuses are read at once.
const PAGE: usize = 500;

/// How many jobs go at once.
const JOBS_AT_ONCE: usize = 64;

/// How often is looked for jobs whose time has come, besides at every change.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// How long to wait after the store or the disk did not take something.
const PAUSE: Duration = Duration::from_secs(5);

/// How long, and how many, finished jobs are kept, and where they go then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The most jobs that are kept after their end; the oldest go first.
    pub jobs_max: u64,
    /// How long each is kept after its end; none means as long as there is room.
    pub age_max: Option<Seconds>,
    /// The directory of the files.
    pub directory: PathBuf,
    /// Whether other daemons may be the ones that lead.
    pub is_elected: bool,
}

/// Nothing could be archived for now.
#[derive(Debug, thiserror::Error)]
enum ArchiveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Runs until the server stops.
pub(crate) async fn run(state: ApiState) {
    let Some(retention) = state.config.retention.clone() else {
        return;
    };
    loop {
        tokio::select! {
            () = state.stopping.cancelled() => return,
            result = archive_until_lost(&state, &retention) => match result {
                Err(ArchiveError::Store(StoreError::Closed)) => return,
                Err(ArchiveError::Store(StoreError::Compacted { .. })) => {}
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "finished jobs stay longer than they should"
                    );
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(never) => match never {},
            },
        }
    }
}

async fn archive_until_lost(
    state: &ApiState,
    retention: &Retention,
) -> Result<Infallible, ArchiveError> {
    // Watch first: what ends after the list is then seen.
    let mut changes = state.store().watch(key::JOB_STATUS, 0).await?;
    let mut finished = listed(state).await?;
    loop {
        archive_due(state, retention, &mut finished).await?;
        tokio::select! {
            batch = changes.next() => {
                batch?.events.iter().for_each(|event| finished.note(event));
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn listed(state: &ApiState) -> Result<Finished, StoreError> {
    let mut finished = Finished::default();
    let mut after = None;
    loop {
        let request = ListRequest {
            after,
            limit: Some(PAGE),
            ..ListRequest::prefix(key::JOB_STATUS)
        };
        let listing = state.store().list(request).await?;
        for versioned in &listing.items {
            finished.note_status(&versioned.key, &versioned.value);
        }
        if !listing.more {
            return Ok(finished);
        }
        after = listing.items.last().map(|last| last.key.clone());
    }
}

/// Archives all whose turn it is, if this daemon leads.
async fn archive_due(
    state: &ApiState,
    retention: &Retention,
    finished: &mut Finished,
) -> Result<(), ArchiveError> {
    let due = finished.due(state.now(), retention.jobs_max, retention.age_max);
    if due.is_empty() || !leads(state, retention).await? {
        return Ok(());
    }
    for keys in due.chunks(JOBS_AT_ONCE) {
        let mut jobs = Vec::with_capacity(keys.len());
        for status_key in keys {
            match finished_job(state, status_key).await? {
                Some(job) => jobs.push((status_key, job)),
                // What becomes of it will be told.
                None => finished.forget(status_key),
            }
        }
        write(state, retention, jobs.iter().map(|(_, job)| job)).await?;
        for (status_key, (record, _)) in jobs {
            if delete(state, record).await? {
                finished.forget(status_key);
            }
        }
    }
    Ok(())
}

async fn leads(state: &ApiState, retention: &Retention) -> Result<bool, StoreError> {
    if !retention.is_elected {
        return Ok(true);
    }
    let leader = get_json::<LeaderRecord>(state.store(), key::LEADER).await?;
    Ok(leader.is_some_and(|leader| leader.value.node == state.config.node))
}

/// The job of a status, unless somebody asked for its deletion already.
async fn finished_job(
    state: &ApiState,
    status_key: &str,
) -> Result<Option<(Entry<JobRecord>, JobStatus)>, StoreError> {
    let job_key = status_key.replacen(key::JOB_STATUS, key::JOBS, 1);
    let Some(record) = get_json::<JobRecord>(state.store(), &job_key).await? else {
        return Ok(None);
    };
    let Some(status) = get_json::<JobStatus>(state.store(), status_key).await? else {
        return Ok(None);
    };
    let is_over = status.value.state.is_terminal() && status.value.uid == record.value.uid;
    let is_kept = record.value.delete_requested_at.is_none();
    Ok((is_over && is_kept).then_some((record, status.value)))
}

async fn write(
    state: &ApiState,
    retention: &Retention,
    jobs: impl Iterator<Item = &(Entry<JobRecord>, JobStatus)>,
) -> Result<(), ArchiveError> {
    let now = state.now();
    let mut lines = Vec::new();
    for (record, status) in jobs {
        lines.extend(line(&record.value, status, now).into_bytes());
        lines.push(b'\n');
    }
    if lines.is_empty() {
        return Ok(());
    }
    let path = file::path(&retention.directory, &state.config.node, now);
    let target = path.clone();
    let written = blocking(move || file::append(&target, &lines)).await;
    written.map_err(|source| ArchiveError::Write { path, source })
}

/// The job as `GET /v1/…` answers it, and when it was archived.
fn line(record: &JobRecord, status: &JobStatus, now: Timestamp) -> String {
    let caller = Caller {
        style: IdStyle::Lote,
        base: String::new(),
        path: String::new(),
        api_version: None,
    };
    let job = jobs::view::job(record, Some(status), &caller, now);
    json!({"archivedAt": now, "job": job}).to_string()
}

/// Asks for the deletion, as a user would. Not if the job changed meanwhile; then its turn comes
/// again.
async fn delete(state: &ApiState, mut record: Entry<JobRecord>) -> Result<bool, StoreError> {
    mark(&mut record.value.delete_requested_at, state.now());
    let transaction = Transaction::new()
        .require_revision(&record.key, record.mod_revision)
        .put_json(&record.key, &record.value)?;
    Ok(state.store().commit(transaction).await?.is_applied())
}
