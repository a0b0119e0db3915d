//! Jobs: read, list, terminate, delete; creation and the rest in modules of their own.
//!
//! * [`create`] — PUT.
//! * [`view`] — the answer about a job.
//! * [`plan`], [`mounts`] — the stored plan, and the dry run.
//! * [`changes`] — what happens to one job, from the store.
//! * [`events`] — the same as server-sent events.
//! * [`logs`] — output while it is being written.
//! * [`samples`] — what it does, moment by moment.

pub(crate) mod changes;
pub(crate) mod create;
pub(crate) mod events;
pub(crate) mod logs;
pub(crate) mod mounts;
pub(crate) mod plan;
pub(crate) mod samples;
pub(crate) mod view;

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use lote_model::job::{DirectoryLocation, JobRecord, JobStatus};
use lote_model::key;
use lote_model::path::JobPath;
use lote_model::report::Report;
use lote_model::state::ExecutionState;
use lote_store::{Entry, ListRequest, Store, get_json, list_json};

use crate::error::{Answer, ApiError};
use crate::operation::{self, Awaited};
use crate::page::{PageRequest, page_of};
use crate::records;
use crate::request::{At, AtExperiment, Caller, Parameters};
use crate::state::ApiState;

/// A job with what has become of it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// What the user wants.
    pub(crate) record: Entry<JobRecord>,
    /// What the leader made of it; none while it is queued.
    pub(crate) status: Option<Entry<JobStatus>>,
}

impl Job {
    /// Reads a job, which must exist.
    pub(crate) async fn read(store: &dyn Store, path: &JobPath) -> Result<Self, ApiError> {
        match get_json::<JobRecord>(store, &key::job(path)).await? {
            Some(record) => Self::with_status(store, record).await,
            None => Err(records::missing_job(store, path).await),
        }
    }

    async fn with_status(store: &dyn Store, record: Entry<JobRecord>) -> Result<Self, ApiError> {
        let status = get_json::<JobStatus>(store, &key::job_status(&record.value.path)).await?;
        // The status of an older job of the same name is void.
        let status = status.filter(|status| status.value.uid == record.value.uid);
        Ok(Self { record, status })
    }

    /// The leader's word, if there is one.
    pub(crate) fn status(&self) -> Option<&JobStatus> {
        self.status.as_ref().map(|status| &status.value)
    }

    /// Whether nothing more will happen to it.
    pub(crate) fn is_over(&self) -> bool {
        self.status()
            .is_some_and(|status| status.state.is_terminal())
    }

    /// Where its directories lie, as far as that is known: from the leader once
    /// it is over, before from the nodes of its latest attempt.
    pub(crate) async fn directories(
        &self,
        store: &dyn Store,
    ) -> Result<Vec<DirectoryLocation>, ApiError> {
        if let Some(status) = self
            .status()
            .filter(|status| !status.directories.is_empty())
        {
            return Ok(status.directories.clone());
        }
        let reports = self.reports(store).await?;
        let latest = reports.iter().map(|report| report.attempt).max();
        let current = reports
            .into_iter()
            .filter(|report| Some(report.attempt) == latest);
        Ok(current.flat_map(|report| report.directories).collect())
    }

    /// What its nodes have told, of whichever attempt.
    pub(crate) async fn reports(&self, store: &dyn Store) -> Result<Vec<Report>, ApiError> {
        let prefix = key::reports_of(&self.record.value.uid);
        let reports = list_json(store, ListRequest::prefix(prefix)).await?;
        Ok(reports.items.into_iter().map(|it| it.value).collect())
    }

    /// What its nodes tell of the attempt that runs, in rank order. Only a job that has nodes is
    /// worth the question.
    async fn running_reports(&self, store: &dyn Store) -> Result<Vec<Report>, ApiError> {
        let Some(status) = self
            .status()
            .filter(|status| status.state == ExecutionState::Running)
        else {
            return Ok(Vec::new());
        };
        let mut reports = self.reports(store).await?;
        reports.retain(|report| report.attempt == status.attempt);
        reports.sort_by_key(|report| report.rank);
        Ok(reports)
    }
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<JobPath>,
) -> Answer {
    let job = Job::read(state.store(), &path).await?;
    let reports = job.running_reports(state.store()).await?;
    let mut answer = view::job(&job.record.value, job.status(), &caller, state.now());
    view::add_preparing(&mut answer, &reports);
    Ok(Json(answer).into_response())
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    AtExperiment(path): AtExperiment,
    parameters: Parameters,
) -> Answer {
    let request = PageRequest::of(&parameters)?;
    records::experiment(state.store(), &path).await?;
    let prefix = key::jobs_of(&path);
    let listing = list_json::<JobRecord>(state.store(), request.list(&prefix)).await?;
    let last_key = listing.items.last().map(|entry| entry.key.as_str());
    let statuses = statuses(state.store(), &request, &prefix, last_key).await?;
    let now = state.now();
    let values = listing.items.iter().map(|entry| {
        let job = &entry.value;
        let status = entry
            .key
            .strip_prefix(&prefix)
            .and_then(|name| statuses.get(name));
        view::job(
            job,
            status.filter(|status| status.uid == job.uid),
            &caller,
            now,
        )
    });
    let values = values.collect();
    Ok(page_of(&caller, &parameters, &prefix, &listing, values))
}

/// The statuses of one page of jobs, by name. They stand in the same order as
/// the jobs, under a prefix of their own, so they are read in one or two lists.
async fn statuses(
    store: &dyn Store,
    request: &PageRequest,
    prefix: &str,
    last_key: Option<&str>,
) -> Result<HashMap<String, JobStatus>, ApiError> {
    let mut statuses = HashMap::new();
    let Some(last) = last_key.and_then(|key| key.strip_prefix(prefix)) else {
        return Ok(statuses);
    };
    let prefix = format!(
        "{}{}",
        key::JOB_STATUS,
        prefix.strip_prefix(key::JOBS).unwrap_or_default()
    );
    let mut next_page = request.list(&prefix);
    loop {
        let listing = list_json::<JobStatus>(store, next_page.clone()).await?;
        next_page.after = listing.items.last().map(|entry| entry.key.clone());
        for entry in listing.items {
            let name = entry
                .key
                .strip_prefix(&prefix)
                .unwrap_or_default()
                .to_owned();
            if name.as_str() > last {
                return Ok(statuses);
            }
            statuses.insert(name, entry.value);
        }
        if !listing.more {
            return Ok(statuses);
        }
    }
}

/// Asks for the end of a live job; for a finished one there is nothing to do.
pub(crate) async fn terminate(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<JobPath>,
) -> Answer {
    let job = Job::read(state.store(), &path).await?;
    if job.is_over() {
        return Ok(StatusCode::OK.into_response());
    }
    let now = state.now();
    let uid = &job.record.value.uid;
    let change = |record: &mut JobRecord| {
        Ok(record.uid == *uid && records::mark(&mut record.terminate_requested_at, now))
    };
    let key = key::job(&path);
    if records::update(state.store(), &key, change)
        .await?
        .is_none()
    {
        return Err(records::missing_job(state.store(), &path).await);
    }
    let awaited = Awaited::termination(key, job.record.create_revision, now);
    Ok(operation::accepted(&state, &caller, &awaited))
}

/// Marks it; the leader ends it if it is live, and erases it.
pub(crate) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<JobPath>,
) -> Answer {
    let erase = operation::left_to_the_leader();
    operation::delete(
        &state,
        &caller,
        key::job(&path),
        |record: &mut JobRecord| &mut record.delete_requested_at,
        erase,
    )
    .await
}
