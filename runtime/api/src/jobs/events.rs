//! `GET …/jobs/{job}/events`: what happens to a job, as server-sent events.
//!
//! The id of an event is the store's revision. A client that comes back with
//! `Last-Event-ID` (or `?from=`) gets what happened after it; one that comes
//! without gets the present state first. The stream ends after the event that
//! says that the job has ended or is gone.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use lote_model::job::JobStatus;
use lote_model::path::JobPath;
use lote_model::problem::Problem;
use lote_store::{Revision, StoreError};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::{Sender, channel};

use super::Job;
use super::changes::{Change, Changes};
use crate::error::{Answer, ApiError};
use crate::files::stream::receiver_stream;
use crate::request::{At, Parameters};
use crate::state::ApiState;

/// Comments in a quiet stream keep proxies from closing it.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How many events wait for a slow client before the watch waits as well.
const BUFFER: usize = 32;

pub(crate) async fn get(
    State(state): State<ApiState>,
    At(path): At<JobPath>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Answer {
    let resume = resume_point(&headers, &parameters)?;
    let job = Job::read(state.store(), &path).await?;
    let (sender, receiver) = channel(BUFFER);
    tokio::spawn(async move {
        let stopping = state.stopping.clone();
        let closed = sender.clone();
        let mut teller = Teller { state, job, sender };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = closed.closed() => {}
            result = teller.tell(resume) => {
                if let Err(error) = result {
                    tracing::warn!("an event stream broke off: {error}");
                }
            }
        }
    });
    let stream = receiver_stream(receiver);
    Ok(Sse::new(stream)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

pub(crate) fn resume_point(
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Option<Revision>, Problem> {
    let header = headers
        .get("last-event-id")
        .map(|value| value.to_str().unwrap_or("?"));
    let Some(text) = header
        .or_else(|| parameters.get("from"))
        .filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    let number = text.parse().map(Some);
    number.map_err(|_| {
        Problem::invalid(
            "from",
            "from (or Last-Event-ID) must be the id of an event: a whole number",
        )
    })
}

type Outgoing = Result<Event, Infallible>;

struct Teller {
    state: ApiState,
    job: Job,
    sender: Sender<Outgoing>,
}

/// Why a stream is over.
struct Done;

impl Teller {
    async fn tell(&mut self, resume: Option<Revision>) -> Result<(), ApiError> {
        let mut changes = match resume {
            Some(seen) if self.is_all_seen(seen) => return Ok(()),
            Some(seen) => self.watch(seen.saturating_add(1)).await?,
            None => match self.tell_present().await? {
                Some(changes) => changes,
                None => return Ok(()),
            },
        };
        loop {
            match changes.next().await {
                Ok(batch) => {
                    for (revision, change) in batch {
                        if self.tell_change(revision, &change).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                // Too far behind: the present state stands for what was missed.
                Err(StoreError::Compacted { .. }) => match self.tell_present().await? {
                    Some(present) => changes = present,
                    None => return Ok(()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_all_seen(&self, seen: Revision) -> bool {
        self.job.is_over()
            && self
                .job
                .status
                .as_ref()
                .is_some_and(|status| status.mod_revision <= seen)
    }

    async fn watch(&self, from: Revision) -> Result<Changes, StoreError> {
        let record = &self.job.record.value;
        Changes::open(self.state.store(), &record.path, &record.uid, from).await
    }

    /// Tells the present state; none if there is nothing more to come. The watch
    /// is opened first, so what happens meanwhile is told twice rather than not.
    async fn tell_present(&mut self) -> Result<Option<Changes>, ApiError> {
        let store = self.state.store();
        let revision = store.revision().await?;
        let changes = self.watch(revision + 1).await?;
        let record = self.job.record.value.clone();
        let present = match Job::read(store, &record.path).await {
            Ok(job) if job.record.value.uid == record.uid => job,
            _ => {
                let _ = self.tell_change(revision, &Change::Gone).await;
                return Ok(None);
            }
        };
        for report in present.reports(store).await? {
            let _ = self.send("report", revision, &report).await;
        }
        self.job = present;
        let status = self
            .job
            .status()
            .cloned()
            .unwrap_or_else(|| JobStatus::queued(&self.job.record.value));
        let told = self.tell_change(revision, &Change::Status(status)).await;
        Ok(told.is_ok().then_some(changes))
    }

    /// Tells one change. `Err` when nothing is to follow.
    async fn tell_change(&self, revision: Revision, change: &Change) -> Result<(), Done> {
        match change {
            Change::Record(record) => {
                let wishes = json!({
                    "uid": record.uid,
                    "terminateRequestedAt": record.terminate_requested_at,
                    "deleteRequestedAt": record.delete_requested_at,
                });
                self.send("job", revision, &wishes).await
            }
            Change::Report(report) => self.send("report", revision, report).await,
            Change::Status(status) => {
                self.send("status", revision, status).await?;
                if status.state.is_terminal() {
                    Err(Done)
                } else {
                    Ok(())
                }
            }
            Change::Gone => {
                self.send(
                    "deleted",
                    revision,
                    &json!({"uid": self.job.record.value.uid}),
                )
                .await?;
                Err(Done)
            }
        }
    }

    async fn send(
        &self,
        name: &str,
        revision: Revision,
        data: &impl Serialize,
    ) -> Result<(), Done> {
        let event = Event::default().event(name).id(revision.to_string());
        let event = event.json_data(data).map_err(|_| Done)?;
        self.sender.send(Ok(event)).await.map_err(|_| Done)
    }
}
