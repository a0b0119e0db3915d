//! Long-running operations (capabilities §4.4).
//!
//! Nothing is stored about them: the id of an operation is a signed token that
//! says what is awaited, and the store says whether it has happened. So ids
//! outlive the daemon, and any daemon can answer.

use axum::Json;
use axum::extract::State;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::job::{JobRecord, JobStatus};
use lote_model::key;
use lote_model::path::IdStyle;
use lote_model::problem::Problem;
use lote_model::state::ProvisioningState;
use lote_store::{Entry, Revision, StoreError, Versioned, get_json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Answer, ApiError};
use crate::records;
use crate::request::{Caller, Segments};
use crate::state::ApiState;
use crate::time::is_held_back;

/// What an operation waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Awaited {
    kind: Kind,
    /// The resource's key in the store.
    key: String,
    /// Which of the resources that bore the name.
    create_revision: Revision,
    started: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    /// That the resource is gone.
    Deletion,
    /// That the job has ended.
    Termination,
    /// That the file server is ready, or cannot be made.
    FileServer,
}

/// How an operation ended.
struct End {
    at: Timestamp,
    /// Why it failed; none if it went well.
    problem: Option<Problem>,
}

impl End {
    fn well(at: Timestamp) -> Self {
        Self { at, problem: None }
    }

    fn failed(at: Timestamp, problem: Problem) -> Self {
        Self {
            at,
            problem: Some(problem),
        }
    }
}

const PURPOSE: &str = "operation";

const ASYNC_OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");

impl Awaited {
    /// The end of a resource.
    pub(crate) fn deletion(key: String, create_revision: Revision, started: Timestamp) -> Self {
        Self {
            kind: Kind::Deletion,
            key,
            create_revision,
            started,
        }
    }

    /// The end of a job's processes.
    pub(crate) fn termination(key: String, create_revision: Revision, started: Timestamp) -> Self {
        Self {
            kind: Kind::Termination,
            key,
            create_revision,
            started,
        }
    }

    /// That a new file server is ready.
    pub(crate) fn file_server(key: String, create_revision: Revision, started: Timestamp) -> Self {
        Self {
            kind: Kind::FileServer,
            key,
            create_revision,
            started,
        }
    }

    /// How it ended; none while it has not. What happened at an unknown time is
    /// said to have happened now.
    async fn ended(&self, state: &ApiState, caller: &Caller) -> Result<Option<End>, ApiError> {
        let found = state.store().get(&self.key).await?;
        let found = found.filter(|found| found.create_revision == self.create_revision);
        match (self.kind, found) {
            (Kind::Deletion | Kind::Termination, None) => Ok(Some(End::well(state.now()))),
            (Kind::Deletion, Some(_)) => Ok(None),
            (Kind::Termination, Some(found)) => job_end(state, caller, found).await,
            (Kind::FileServer, None) => Ok(Some(End::failed(state.now(), deleted_meanwhile()))),
            (Kind::FileServer, Some(found)) => file_server_end(state, found).await,
        }
    }
}

async fn job_end(
    state: &ApiState,
    caller: &Caller,
    found: Versioned,
) -> Result<Option<End>, ApiError> {
    let job = Entry::<JobRecord>::try_from(found)?.value;
    let status = get_json::<JobStatus>(state.store(), &key::job_status(&job.path)).await?;
    let ended =
        status.filter(|status| status.value.uid == job.uid && status.value.state.is_terminal());
    let ended = ended.map(|status| status.value.end_time.unwrap_or(status.value.state_since));
    // The job itself is still shown as live.
    let shown =
        ended.filter(|&ended| !(caller.is_old_client() && is_held_back(ended, state.now())));
    Ok(shown.map(End::well))
}

async fn file_server_end(state: &ApiState, found: Versioned) -> Result<Option<End>, ApiError> {
    let server = Entry::<FileServerRecord>::try_from(found)?.value;
    let key = key::file_server_status(&server.path);
    let status = get_json::<FileServerStatus>(state.store(), &key).await?;
    let status = status.map(|status| status.value);
    let Some(status) = status.filter(|status| status.uid == server.uid) else {
        return Ok(None);
    };
    Ok(match status.state {
        ProvisioningState::Succeeded => Some(End::well(status.state_since)),
        ProvisioningState::Failed => {
            let problem = status.errors.first().map_or_else(
                || Problem::new("FileServerFailed", "the file server could not be made"),
                |error| Problem::new(&error.code, &error.message),
            );
            Some(End::failed(status.state_since, problem))
        }
        _ => None,
    })
}

fn deleted_meanwhile() -> Problem {
    let message = "the file server was deleted before it was ready";
    Problem::new("FileServerDeleted", message)
}

/// The URL of an operation; `result` is the one for `Location`.
fn url(caller: &Caller, id: &str, result: bool) -> String {
    match &caller.style {
        IdStyle::Lote => format!(
            "{}/v1/operations/{id}{}",
            caller.base,
            if result { "/result" } else { "" }
        ),
        IdStyle::ResourceManager { subscription } => {
            let kind = if result {
                "operationstatuses"
            } else {
                "operationresults"
            };
            let location = crate::groups::LOCATION;
            let version = caller.api_version.as_deref().unwrap_or_default();
            format!(
                "{}/subscriptions/{subscription}/providers/Microsoft.BatchAI/locations/{location}/{kind}/{id}?api-version={version}",
                caller.base
            )
        }
    }
}

fn headers(caller: &Caller, id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, result) in [(ASYNC_OPERATION, false), (LOCATION, true)] {
        if let Ok(url) = HeaderValue::from_str(&url(caller, id, result)) {
            headers.insert(name, url);
        }
    }
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers
}

/// 202 with where to ask how far it is.
pub(crate) fn accepted(state: &ApiState, caller: &Caller, awaited: &Awaited) -> Response {
    let id = state.signer.seal(PURPOSE, awaited);
    (StatusCode::ACCEPTED, headers(caller, &id)).into_response()
}

/// Answers a DELETE: 204 if there is no such record. Otherwise sets the mark that
/// `mark` finds in it; then 200 if `erase` could remove it at once, else 202.
pub(crate) async fn delete<T>(
    state: &ApiState,
    caller: &Caller,
    key: String,
    mark: fn(&mut T) -> &mut Option<Timestamp>,
    erase: impl Future<Output = Result<bool, StoreError>>,
) -> Answer
where
    T: Serialize + DeserializeOwned,
{
    let set = |record: &mut T, now| Ok(records::mark(mark(record), now));
    delete_with(state, caller, key, set, erase).await
}

/// The same, where more than the time is marked, or a mark may be refused: `set` tells whether it
/// changed anything.
pub(crate) async fn delete_with<T, F>(
    state: &ApiState,
    caller: &Caller,
    key: String,
    set: F,
    erase: impl Future<Output = Result<bool, StoreError>>,
) -> Answer
where
    T: Serialize + DeserializeOwned,
    F: Fn(&mut T, Timestamp) -> Result<bool, ApiError>,
{
    let now = state.now();
    let change = |record: &mut T| set(record, now);
    let Some(marked) = records::update(state.store(), &key, change).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    if erase.await? {
        return Ok(StatusCode::OK.into_response());
    }
    let awaited = Awaited::deletion(key, marked.create_revision, now);
    Ok(accepted(state, caller, &awaited))
}

/// For [`delete`]: the leader erases it, once nothing of it is left.
pub(crate) fn left_to_the_leader() -> impl Future<Output = Result<bool, StoreError>> {
    std::future::ready(Ok(false))
}

fn opened(state: &ApiState, id: &str) -> Result<Awaited, ApiError> {
    let missing = || ApiError::not_found("OperationNotFound", "there is no operation of this id");
    state.signer.open(PURPOSE, id).ok_or_else(missing)
}

/// The `Azure-AsyncOperation` URL: always 200, the body says how far it is.
pub(crate) async fn status(
    State(state): State<ApiState>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Answer {
    let awaited = opened(&state, &id)?;
    let own_url = url(&caller, &id, false);
    let mut body =
        json!({"id": own_url, "name": id, "status": "InProgress", "startTime": awaited.started});
    let Some(ended) = awaited.ended(&state, &caller).await? else {
        return Ok(([(RETRY_AFTER, "1")], Json(body)).into_response());
    };
    body["endTime"] = json!(ended.at.max(awaited.started));
    body["properties"] =
        json!({"resourceId": awaited.key.split('/').skip(1).collect::<Vec<_>>().join("$")});
    body["status"] = json!("Succeeded");
    if let Some(problem) = ended.problem {
        body["status"] = json!("Failed");
        body["error"] = json!(problem);
    }
    Ok(Json(body).into_response())
}

/// The `Location` URL: 202 while it goes on, 200 afterwards. Of a creation that
/// failed, the resource itself tells it: clients read that next.
pub(crate) async fn result(
    State(state): State<ApiState>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Answer {
    let awaited = opened(&state, &id)?;
    match awaited.ended(&state, &caller).await? {
        Some(_) => Ok(StatusCode::OK.into_response()),
        None => Ok((StatusCode::ACCEPTED, headers(&caller, &id)).into_response()),
    }
}
