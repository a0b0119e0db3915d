//! `GET /v1/events`: what happens to all jobs, clusters and file servers, as
//! server-sent events.
//!
//! The id of an event is the store's revision. A client that comes back with
//! `Last-Event-ID` (or `?from=`) gets what happened after it; one that comes
//! without gets what happens from now on. Where that reaches further back than
//! the store remembers, an event `reset` says that the lists must be read again.
//! Callers with a scope are told of nothing outside it.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use jiff::Timestamp;
use lote_model::access::Target;
use lote_model::cluster::{ClusterRecord, ClusterStatus};
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::job::{JobRecord, JobStatus};
use lote_model::key;
use lote_model::name::{GroupName, ResourceName};
use lote_model::path::{ChildPath, IdStyle, JobPath, WorkspacePath};
use lote_store::{Event as Change, Revision, Store, StoreError, Versioned, get_json};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Sender, channel};

use crate::auth::Principal;
use crate::error::{Answer, ApiError};
use crate::files::stream::receiver_stream;
use crate::jobs::changes::read;
use crate::jobs::events::{KEEP_ALIVE, resume_point};
use crate::request::Parameters;
use crate::state::ApiState;
use crate::watches::Watches;

/// What is watched: what users want, and what has become of it.
const PREFIXES: [&str; 6] = [
    key::JOBS,
    key::CLUSTERS,
    key::FILE_SERVERS,
    key::JOB_STATUS,
    key::CLUSTER_STATUS,
    key::FILE_SERVER_STATUS,
];

/// How many events wait for a slow client before the watch waits as well.
const BUFFER: usize = 32;

pub(crate) async fn get(
    State(state): State<ApiState>,
    principal: Principal,
    parameters: Parameters,
    headers: HeaderMap,
) -> Answer {
    let resume = resume_point(&headers, &parameters)?;
    let from = resume.map_or(0, |seen| seen.saturating_add(1));
    // Open before the answer begins, so that nothing that comes after it is missed.
    let opened = Watches::open(state.store(), &PREFIXES, from).await;
    let (sender, receiver) = channel(BUFFER);
    tokio::spawn(async move {
        let stopping = state.stopping.clone();
        let closed = sender.clone();
        let teller = Teller {
            state,
            principal,
            sender,
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = closed.closed() => {}
            result = teller.tell(opened) => {
                if let Err(error) = result {
                    tracing::warn!("an event stream broke off: {error}");
                }
            }
        }
    });
    Ok(Sse::new(receiver_stream(receiver))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

/// A resource that something happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Job(JobPath),
    Cluster(ChildPath),
    FileServer(ChildPath),
}

impl Subject {
    /// Reads what a key below one of [`PREFIXES`] is about. Keys are folded to
    /// lower case, and so are the names.
    fn of_key(key: &str) -> Option<Self> {
        let rest = key.strip_prefix("status/").unwrap_or(key);
        let parts: Vec<&str> = rest.split('/').collect();
        let workspace = WorkspacePath {
            group: GroupName::new(*parts.get(1)?).ok()?,
            workspace: ResourceName::new(*parts.get(2)?).ok()?,
        };
        let child = workspace.child(ResourceName::new(*parts.get(3)?).ok()?);
        match (parts[0], parts.get(4)) {
            ("jobs", Some(job)) => Some(Self::Job(JobPath::new(
                &child,
                ResourceName::new(*job).ok()?,
            ))),
            ("clusters", None) => Some(Self::Cluster(child)),
            ("fileservers", None) => Some(Self::FileServer(child)),
            _ => None,
        }
    }

    fn workspace(&self) -> &WorkspacePath {
        match self {
            Self::Job(path) => &path.workspace,
            Self::Cluster(path) | Self::FileServer(path) => &path.workspace,
        }
    }

    fn id(&self) -> String {
        match self {
            Self::Job(path) => path.id(&IdStyle::Lote),
            Self::Cluster(path) => path.id(&IdStyle::Lote, "clusters"),
            Self::FileServer(path) => path.id(&IdStyle::Lote, "fileservers"),
        }
    }

    /// The same with the names as the user spelled them, while it is there.
    async fn spelled(self, store: &dyn Store) -> Result<Self, StoreError> {
        Ok(match &self {
            Self::Job(path) => get_json::<JobRecord>(store, &key::job(path))
                .await?
                .map(|found| Self::Job(found.value.path)),
            Self::Cluster(path) => get_json::<ClusterRecord>(store, &key::cluster(path))
                .await?
                .map(|found| Self::Cluster(found.value.path)),
            Self::FileServer(path) => get_json::<FileServerRecord>(store, &key::file_server(path))
                .await?
                .map(|found| Self::FileServer(found.value.path)),
        }
        .unwrap_or(self))
    }
}

/// What is told of one change: the event's name and its data without the id.
fn told(subject: &Subject, change: &Change) -> Option<(&'static str, Value)> {
    let Change::Put(versioned) = change else {
        let is_record = !change.key().starts_with("status/");
        return is_record.then(|| ("deleted", json!({})));
    };
    let is_status = versioned.key.starts_with("status/");
    match subject {
        Subject::Job(_) if is_status => status::<JobStatus>("jobStatus", versioned),
        Subject::Cluster(_) if is_status => status::<ClusterStatus>("clusterStatus", versioned),
        Subject::FileServer(_) if is_status => {
            status::<FileServerStatus>("fileServerStatus", versioned)
        }
        Subject::Job(_) => read::<JobRecord>(versioned).map(|job| {
            (
                "job",
                wishes(job.terminate_requested_at, job.delete_requested_at),
            )
        }),
        Subject::Cluster(_) => read::<ClusterRecord>(versioned)
            .map(|cluster| ("cluster", wishes(None, cluster.delete_requested_at))),
        Subject::FileServer(_) => read::<FileServerRecord>(versioned)
            .map(|server| ("fileServer", wishes(None, server.delete_requested_at))),
    }
}

fn status<T: Serialize + serde::de::DeserializeOwned>(
    name: &'static str,
    versioned: &Versioned,
) -> Option<(&'static str, Value)> {
    Some((name, json!({"status": read::<T>(versioned)?})))
}

fn wishes(terminate: Option<Timestamp>, delete: Option<Timestamp>) -> Value {
    json!({"terminateRequestedAt": terminate, "deleteRequestedAt": delete})
}

struct Teller {
    state: ApiState,
    principal: Principal,
    sender: Sender<Result<Event, Infallible>>,
}

/// The client has gone.
struct Gone;

impl Teller {
    async fn tell(&self, opened: Result<Watches, StoreError>) -> Result<(), ApiError> {
        let mut watches = match opened {
            Err(StoreError::Compacted { .. }) => self.reset().await?,
            opened => opened?,
        };
        loop {
            match watches.next().await {
                Ok(batches) => {
                    for batch in batches {
                        for change in &batch.events {
                            if self.tell_change(batch.revision, change).await?.is_err() {
                                return Ok(());
                            }
                        }
                    }
                }
                Err(StoreError::Compacted { .. }) => watches = self.reset().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Goes on from now, and says that there is a gap.
    async fn reset(&self) -> Result<Watches, ApiError> {
        let store = self.state.store();
        let revision = store.revision().await?;
        let watches = Watches::open(store, &PREFIXES, revision + 1).await?;
        let _ = self.send("reset", revision, &json!({})).await;
        Ok(watches)
    }

    async fn tell_change(
        &self,
        revision: Revision,
        change: &Change,
    ) -> Result<Result<(), Gone>, ApiError> {
        let Some(subject) = Subject::of_key(change.key()) else {
            return Ok(Ok(()));
        };
        let target = Target::Workspace(subject.workspace().clone());
        if !self.principal.scope().covers(&target) {
            return Ok(Ok(()));
        }
        let Some((name, mut data)) = told(&subject, change) else {
            return Ok(Ok(()));
        };
        let subject = subject.spelled(self.state.store()).await?;
        data["id"] = subject.id().into();
        Ok(self.send(name, revision, &data).await)
    }

    async fn send(&self, name: &str, revision: Revision, data: &Value) -> Result<(), Gone> {
        let event = Event::default().event(name).id(revision.to_string());
        let event = event.json_data(data).map_err(|_| Gone)?;
        self.sender.send(Ok(event)).await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_resources() {
        let id = |key: &str| Subject::of_key(key).map(|subject| subject.id());
        let job = "/v1/groups/g/workspaces/w/experiments/e/jobs/j";
        assert_eq!(id("jobs/g/w/e/j").as_deref(), Some(job));
        assert_eq!(id("status/jobs/g/w/e/j").as_deref(), Some(job));
        assert_eq!(
            id("status/clusters/g/w/c").as_deref(),
            Some("/v1/groups/g/workspaces/w/clusters/c")
        );
        assert_eq!(
            id("fileservers/g/w/f").as_deref(),
            Some("/v1/groups/g/workspaces/w/fileservers/f")
        );
        for other in ["jobs/g/w/e", "clusters/g/w/c/x", "nodes/n", "", "status/"] {
            assert_eq!(id(other), None, "{other}");
        }
    }
}
