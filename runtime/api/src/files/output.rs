//! `POST …/jobs/{job}/listOutputFiles` (capabilities §8.1).

use axum::extract::State;
use lote_model::id::NodeName;
use lote_model::job::{DirectoryLocation, STDOUTERR};
use lote_model::path::JobPath;
use lote_model::problem::Problem;
use serde_json::{Value, json};

use super::link::{Link, elsewhere, expiry, refused};
use super::listing::{Found, Page};
use super::relative::RelativePath;
use super::{Directory, blocking};
use crate::error::{Answer, ApiError};
use crate::jobs::Job;
use crate::page::{PageRequest, page};
use crate::request::{At, Caller, Parameters};
use crate::state::ApiState;

/// An output directory of a job on this node.
#[derive(Clone, Debug)]
pub(crate) struct OutputDirectory {
    /// `stdouterr` or the id that the user gave.
    pub(crate) id: String,
    /// Where it is.
    pub(crate) directory: Directory,
}

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
    if known.contains(&id) {
        return Ok(id);
    }
    let message = format!(
        "the job has no output directory '{id}'; it has: {}",
        known.join(", ")
    );
    Err(Problem::new("InvalidOutputDirectoryId", message).at(parameter))
}

/// The directory of that id, which must be on this node. None while no node has
/// told where it is.
pub(crate) async fn locate(
    state: &ApiState,
    job: &Job,
    id: &str,
) -> Result<Option<OutputDirectory>, ApiError> {
    let locations = job.directories(state.store()).await?;
    let found = choose(&locations, id, &state.config.node);
    let Some(location) = found else {
        return Ok(None);
    };
    if location.node != state.config.node {
        return Err(elsewhere(&location.node));
    }
    let owner = state
        .config
        .read_as_job_user
        .then_some(job.record.value.unix_id);
    let directory = Directory {
        path: location.path.clone().into(),
        owner,
    };
    Ok(Some(OutputDirectory {
        id: id.to_owned(),
        directory,
    }))
}

/// The location on this node if there is one: nodes that share a file system
/// all name the same directory.
fn choose<'a>(
    locations: &'a [DirectoryLocation],
    id: &str,
    here: &NodeName,
) -> Option<&'a DirectoryLocation> {
    let of_id = || locations.iter().filter(|location| location.id == id);
    of_id()
        .find(|location| location.node == *here)
        .or_else(|| of_id().next())
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
    let Some(output) = locate(&state, &job, id).await? else {
        return Ok(page(&caller, &parameters, Vec::new(), None));
    };
    let found = read_page(&output.directory, &below, request).await?;
    let now = state.now();
    let value = |entry: &Found| {
        let link = || Link {
            job: job.record.value.uid.clone(),
            directory_id: output.id.clone(),
            node: state.config.node.clone(),
            directory: output.directory.path.clone(),
            file: below.join(&entry.name).unwrap_or_else(|_| below.clone()),
            owner: output.directory.owner,
            expires: expiry(now, minutes),
        };
        view(entry, || link().url(&state, &caller))
    };
    let values = found.entries.iter().map(value).collect();
    Ok(page(&caller, &parameters, values, found.last.as_deref()))
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
