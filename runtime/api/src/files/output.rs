//! `POST …/jobs/{job}/listOutputFiles` (capabilities §8.1).

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::HeaderValue;
use futures_util::future::join_all;
use http_body_util::BodyExt;
use lote_model::job::{DirectoryLocation, STDOUTERR, UNDELIVERED};
use lote_model::path::JobPath;
use lote_model::problem::Problem;
use serde_json::{Value, json};

use super::link::{Link, expiry, refused};
use super::listing::{Found, Page};
use super::merge::{Merged, merge};
use super::relative::RelativePath;
use super::{Directory, blocking};
use crate::error::{Answer, ApiError};
use crate::jobs::Job;
use crate::page::{PageRequest, page};
use crate::peers::{self, Errand};
use crate::request::{At, Caller, Parameters};
use crate::state::ApiState;

/// The header that names nodes whose files are missing in a list, because they
/// could not be reached.
pub(crate) const UNREACHABLE_NODES: &str = "lote-unreachable-nodes";

/// Checks that the job has a directory of that id.
pub(crate) fn known_id<'id>(job: &Job, id: &'id str, parameter: &str) -> Result<&'id str, Problem> {
    let outputs = job
        .record
        .value
        .properties
        .output_directories
        .iter()
        .map(|directory| directory.id.as_str());
    let known: Vec<&str> = std::iter::once(STDOUTERR).chain(outputs).collect();
    // Every job may have that one, and hardly any has.
    if known.contains(&id) || id == UNDELIVERED {
        return Ok(id);
    }
    let message = format!(
        "the job has no output directory '{id}'; it has: {}",
        known.join(", ")
    );
    Err(Problem::new("InvalidOutputDirectoryId", message).at(parameter))
}

/// Where the directory of that id lies: on each node that was told of, once. Empty
/// while none was. Where the nodes of a job share a file server, all of them tell of the same
/// directory on its node.
pub(crate) async fn locations(
    state: &ApiState,
    job: &Job,
    id: &str,
) -> Result<Vec<DirectoryLocation>, ApiError> {
    let mut nodes = BTreeSet::new();
    let mut locations = job.directories(state.store()).await?;
    locations.retain(|location| location.id == id && nodes.insert(location.node.clone()));
    Ok(locations)
}

/// What was there only while the job had it mounted is not empty afterwards, but elsewhere.
fn require_mounted(job: &Job, id: &str, locations: &[DirectoryLocation]) -> Result<(), ApiError> {
    let is_gone = |location: &DirectoryLocation| location.while_mounted;
    if !job.is_over() || locations.is_empty() || !locations.iter().all(is_gone) {
        return Ok(());
    }
    let message = format!(
        "the directory '{id}' lies on a file system that was mounted for the job and unmounted at its \
         end: its files are still there, but Lote cannot list them; look where that file system \
         comes from, or run a job that mounts it in the same way. Output on a file server of Lote, \
         or on a share that the operator's table has as a directory, can always be listed"
    );
    Err(ApiError::conflict("OutputNotMounted", message).at("outputdirectoryid"))
}

/// The one of these directories that is on this node.
pub(crate) fn here(
    state: &ApiState,
    job: &Job,
    locations: &[DirectoryLocation],
) -> Option<Directory> {
    let mut all = locations.iter();
    let location = all.find(|location| location.node == state.config.node)?;
    let owner = state.config.read_as_job_user;
    Some(Directory {
        path: location.path.clone().into(),
        within: location.root.as_ref().map(Into::into),
        owner: owner.then_some(job.record.value.unix_id),
    })
}

/// Reads a path that a client gave.
pub(crate) fn path_parameter(parameters: &Parameters, name: &str) -> Result<RelativePath, Problem> {
    RelativePath::parse(parameters.get(name).unwrap_or("."))
        .map_err(|error| Problem::invalid(name, error.to_string()))
}

pub(crate) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<JobPath>,
    parameters: Parameters,
) -> Answer {
    let request = PageRequest::of(&parameters)?;
    let minutes = parameters.number("linkexpiryinminutes", 5..=600, 60)?;
    let below = path_parameter(&parameters, "directory")?;
    let missing = || {
        Problem::invalid(
            "outputdirectoryid",
            "outputdirectoryid is required: 'stdouterr', or the id of an output directory",
        )
    };
    let id = parameters
        .get("outputdirectoryid")
        .filter(|id| !id.is_empty())
        .ok_or_else(missing)?;
    let job = Job::read(state.store(), &path).await?;
    known_id(&job, id, "outputdirectoryid")?;
    let locations = locations(&state, &job, id).await?;
    require_mounted(&job, id, &locations)?;
    let found = read_pages(&state, &job, &locations, &below, &request).await?;
    let now = state.now();
    let value = |(place, entry): &(usize, Found)| {
        let link = || Link {
            job: job.record.value.uid.clone(),
            directory_id: id.to_owned(),
            node: locations[*place].node.clone(),
            directory: locations[*place].path.clone().into(),
            within: locations[*place].root.as_ref().map(Into::into),
            file: below.join(&entry.name).unwrap_or_else(|_| below.clone()),
            owner: Some(job.record.value.unix_id),
            expires: expiry(now, minutes),
        };
        view(entry, || link().url(&state, &caller))
    };
    let values = found.merged.entries.iter().map(value).collect();
    let last = found.merged.last.as_deref();
    let mut response = page(&caller, &parameters, values, last);
    if let Some(missing) = found.missing {
        response.headers_mut().insert(UNREACHABLE_NODES, missing);
    }
    Ok(response)
}

/// What all nodes of a job have of a directory.
struct FoundEverywhere {
    merged: Merged,
    /// The nodes that could not be asked, if others could.
    missing: Option<HeaderValue>,
}

/// Reads the same page on all nodes at once. Fails if none of them can be asked:
/// what is on the others may be all that there is.
async fn read_pages(
    state: &ApiState,
    job: &Job,
    locations: &[DirectoryLocation],
    below: &RelativePath,
    request: &PageRequest,
) -> Result<FoundEverywhere, ApiError> {
    let asked = locations
        .iter()
        .map(|location| read_page_at(state, job, location, below, request));
    let mut pages = Vec::new();
    let mut missing = Vec::new();
    let mut silent = None;
    for (location, page) in locations.iter().zip(join_all(asked).await) {
        match page {
            Err(error) if peers::is_unreachable(&error) => {
                missing.push(location.node.as_str());
                pages.push(Page::default());
                silent = Some(error);
            }
            page => pages.push(page?),
        }
    }
    match silent {
        Some(error) if missing.len() == locations.len() => return Err(error),
        _ => {}
    }
    let near = |location: &DirectoryLocation| location.node == state.config.node;
    Ok(FoundEverywhere {
        merged: merge(pages, request.limit, locations.iter().position(near)),
        missing: (!missing.is_empty())
            .then(|| HeaderValue::from_str(&missing.join(",")).ok())
            .flatten(),
    })
}

async fn read_page_at(
    state: &ApiState,
    job: &Job,
    location: &DirectoryLocation,
    below: &RelativePath,
    request: &PageRequest,
) -> Result<Page, ApiError> {
    if let Some(directory) = here(state, job, std::slice::from_ref(location)) {
        return read_page(&directory, below, request.clone()).await;
    }
    let errand = Errand::list(&job.record.value, &location.id, below, request);
    let answer = peers::ask(state, &location.node, errand).await?;
    let answer = peers::passed_on(&location.node, answer).await?;
    let body = answer.into_body().collect().await;
    let bytes = body.map_err(|error| ApiError::internal(&error))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| ApiError::internal(&error))
}

/// A page of what this node has, for another daemon.
pub(crate) async fn page_here(
    state: &ApiState,
    job: &Job,
    id: &str,
    below: &RelativePath,
    request: PageRequest,
) -> Result<Page, ApiError> {
    let locations = locations(state, job, id).await?;
    match here(state, job, &locations) {
        Some(directory) => read_page(&directory, below, request).await,
        None => Ok(Page::default()),
    }
}

/// A directory that does not exist yet is empty: clients ask before it does.
async fn read_page(
    directory: &Directory,
    below: &RelativePath,
    request: PageRequest,
) -> Result<Page, ApiError> {
    let (directory, path) = (directory.clone(), below.clone());
    let listed =
        blocking(move || directory.list(&path, request.after.as_deref(), request.limit)).await;
    match listed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Page::default()),
        listed => listed.map_err(|error| refused(&error, &format!("the directory '{below}'"))),
    }
}

fn view(entry: &Found, url: impl FnOnce() -> String) -> Value {
    match &entry.file {
        None => json!({"name": entry.name, "fileType": "directory"}),
        Some(facts) => json!({
            "name": entry.name,
            "fileType": "file",
            "downloadUrl": url(),
            "properties": {"lastModified": facts.modified, "contentLength": facts.length},
        }),
    }
}
