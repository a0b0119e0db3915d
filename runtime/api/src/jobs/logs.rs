//! `GET …/jobs/{job}/logs`: one output file, on request while it is written.
//!
//! Parameters: `file` (a path) or `process` (a process of the plan, or its
//! output label) and `stream` (`stdout` or `stderr`); `directory` (the id of an
//! output directory); `follow=true` to stay until the job is over and the file
//! has been read to its end. Without `file` and `process` it is the output of
//! the first primary process.
//!
//! What another node has written is fetched from the daemon there.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::Method;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use lote_model::allocation::NodePlan;
use lote_model::environment::{execution_log, output_file, preparation_output};
use lote_model::id::NodeName;
use lote_model::job::{DirectoryLocation, STDOUTERR};
use lote_model::path::JobPath;
use lote_model::plan::{Part, Process};
use lote_model::problem::Problem;
use lote_store::StoreError;
use tokio::sync::mpsc::{Sender, channel};

use super::changes::Changes;
use super::{Job, plan};
use crate::error::{Answer, ApiError};
use crate::files::growth::Growth;
use crate::files::link::{elsewhere, refused};
use crate::files::output::{self, known_id};
use crate::files::relative::RelativePath;
use crate::files::stream::{file_body, read_chunk, receiver_stream};
use crate::files::{Directory, blocking};
use crate::peers::{self, Errand, LogErrand};
use crate::request::{At, Parameters};
use crate::state::ApiState;

/// How often a file is looked at although nothing was heard of it: the kernel
/// does not tell what other machines write to a shared file system.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How often a file is looked for whose directory cannot be watched yet.
const LOOK_FOR: Duration = Duration::from_millis(50);

/// How many chunks wait for a slow client.
const BUFFER: usize = 4;

/// What a client wants to read.
#[derive(Clone, Debug)]
struct Wanted {
    directory_id: String,
    source: Source,
    reach: Reach,
}

#[derive(Clone, Debug)]
enum Source {
    /// A file by its path.
    File(RelativePath),
    /// The output of a process; the first primary one if none is named.
    Process {
        name: Option<String>,
        stream: &'static str,
    },
}

/// Where a file may be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Any node: this daemon asks the others.
    Cluster,
    /// This node only: another daemon asks.
    ThisNode,
}

/// Which file it is, once that is known.
#[derive(Clone, Debug)]
struct Aim {
    file: RelativePath,
    /// The node that writes it, if the plan tells.
    writer: Option<NodeName>,
}

/// Where a file is.
#[derive(Debug)]
enum Place {
    /// In a directory of this node.
    Here(Directory),
    /// On another node.
    There(NodeName),
    /// On none of the nodes that may have it.
    Nowhere,
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    At(path): At<JobPath>,
    parameters: Parameters,
) -> Answer {
    let job = Job::read(state.store(), &path).await?;
    answer(state, job, &parameters, Reach::Cluster).await
}

/// The same for another daemon: a file of this node only.
pub(crate) async fn here(state: ApiState, job: Job, parameters: &Parameters) -> Answer {
    answer(state, job, parameters, Reach::ThisNode).await
}

async fn answer(state: ApiState, job: Job, parameters: &Parameters, reach: Reach) -> Answer {
    let follow = parameters.flag("follow")?;
    let wanted = Wanted::of(parameters, reach)?;
    known_id(&job, &wanted.directory_id, "directory")?;
    if !follow {
        return once(&state, &job, &wanted).await;
    }
    // What is wrong with the request is said before the stream begins.
    let aim = wanted.aim(&state, &job).await?;
    if let Some(aim) = aim
        && let Some(Place::There(node)) = wanted.place(&state, &job, &aim).await?
    {
        return fetch(&state, &job, &wanted, &aim.file, &node, true).await;
    }
    Ok(text(followed(state, job, wanted)))
}

/// The answer of the daemon that has the file.
async fn fetch(
    state: &ApiState,
    job: &Job,
    wanted: &Wanted,
    file: &RelativePath,
    node: &NodeName,
    follow: bool,
) -> Answer {
    let errand = Errand::read(&job.record.value, wanted.errand(file, follow));
    let answer = peers::ask(state, node, errand).await?;
    peers::passed_on(node, answer).await
}

fn text(body: Body) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

impl Wanted {
    fn of(parameters: &Parameters, reach: Reach) -> Result<Self, Problem> {
        let given = |name: &str| parameters.get(name).filter(|text| !text.is_empty());
        let stream = match given("stream") {
            None | Some("stdout") => "stdout",
            Some("stderr") => "stderr",
            Some(_) => {
                return Err(Problem::invalid(
                    "stream",
                    "stream must be stdout or stderr",
                ));
            }
        };
        let source = match (given("file"), given("process")) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("file", "give either file or process"));
            }
            (Some(file), None) => Source::File(
                RelativePath::parse(file)
                    .map_err(|error| Problem::invalid("file", error.to_string()))?,
            ),
            (None, process) => Source::Process {
                name: process.map(str::to_owned),
                stream,
            },
        };
        let directory_id = given("directory").unwrap_or(STDOUTERR).to_owned();
        Ok(Self {
            directory_id,
            source,
            reach,
        })
    }

    fn errand<'a>(&'a self, file: &'a RelativePath, follow: bool) -> LogErrand<'a> {
        LogErrand {
            directory: &self.directory_id,
            file,
            follow,
        }
    }

    /// Which file it is; none while the plan that names it does not exist.
    async fn aim(&self, state: &ApiState, job: &Job) -> Result<Option<Aim>, ApiError> {
        let attempt = job.status().map_or(0, |status| status.attempt);
        let plans = plan::stored(state, job, attempt).await?;
        let (name, stream) = match &self.source {
            Source::File(file) => {
                let in_output = self.directory_id == STDOUTERR;
                return Ok(Some(Aim {
                    file: file.clone(),
                    writer: in_output
                        .then(|| writer(&plans, &file.to_string()))
                        .flatten(),
                }));
            }
            Source::Process { name, stream } => (name.as_deref(), *stream),
        };
        if plans.is_empty() {
            return Ok(None);
        }
        let processes: Vec<&Process> = plans
            .iter()
            .flat_map(|plan| &plan.launch.processes)
            .collect();
        let process = choose(&processes, name)?;
        let file = output_file(stream, process.output.as_deref());
        Ok(RelativePath::parse(&file).ok().map(|file| Aim {
            file,
            writer: member(&plans, process.node),
        }))
    }

    /// Where the file is; none while no node has told where its directory is.
    async fn place(
        &self,
        state: &ApiState,
        job: &Job,
        aim: &Aim,
    ) -> Result<Option<Place>, ApiError> {
        let locations = output::locations(state, job, &self.directory_id).await?;
        let here = output::here(state, job, &locations);
        if self.reach == Reach::ThisNode {
            return match (here, locations.first()) {
                (Some(directory), _) => Ok(Some(Place::Here(directory))),
                (None, Some(location)) => Err(elsewhere(&location.node)),
                (None, None) => Ok(None),
            };
        }
        let place = |location: &DirectoryLocation| match here.clone() {
            Some(directory) if location.node == state.config.node => Place::Here(directory),
            _ => Place::There(location.node.clone()),
        };
        match (&aim.writer, locations.as_slice()) {
            (_, []) => Ok(None),
            (_, [only]) => Ok(Some(place(only))),
            (Some(writer), several) => {
                let mut several = several.iter();
                Ok(several.find(|location| location.node == *writer).map(place))
            }
            (None, several) => self
                .search(state, job, &aim.file, several.iter().map(place))
                .await
                .map(Some),
        }
    }

    /// The first of several places that has the file.
    async fn search(
        &self,
        state: &ApiState,
        job: &Job,
        file: &RelativePath,
        places: impl Iterator<Item = Place>,
    ) -> Result<Place, ApiError> {
        let mut silent = None;
        for place in places {
            let has = match &place {
                Place::Here(directory) => {
                    let (directory, file) = (directory.clone(), file.clone());
                    blocking(move || directory.open_file(&file)).await.is_ok()
                }
                Place::There(node) => {
                    let errand = Errand::read(&job.record.value, self.errand(file, false));
                    match peers::ask(state, node, errand.with_method(Method::HEAD)).await {
                        Ok(answer) => answer.status().is_success(),
                        Err(error) if peers::is_unreachable(&error) => {
                            silent = Some(error);
                            false
                        }
                        Err(error) => return Err(error),
                    }
                }
                Place::Nowhere => false,
            };
            if has {
                return Ok(place);
            }
        }
        // It may be on the one that is silent.
        silent.map_or(Ok(Place::Nowhere), Err)
    }
}

/// The node of that rank.
fn member(plans: &[NodePlan], rank: u32) -> Option<NodeName> {
    let gang = &plans.first()?.gang;
    Some(gang.get(rank as usize)?.node.clone())
}

/// The node that writes a file of that name for standard output and errors.
fn writer(plans: &[NodePlan], file: &str) -> Option<NodeName> {
    let writes = |plan: &&NodePlan| {
        let preparation = preparation_output(plan);
        let mut labels: Vec<Option<&str>> = vec![Some(&preparation)];
        let processes = plan.launch.processes.iter();
        labels.extend(processes.map(|process| process.output.as_deref()));
        let of_stream = |stream| {
            labels
                .iter()
                .any(|label| output_file(stream, *label) == file)
        };
        of_stream("stdout") || of_stream("stderr") || execution_log(plan) == file
    };
    let rank = plans.iter().find(writes)?.rank;
    member(plans, rank)
}

/// The process of that name or output label, or else the first that decides.
fn choose<'a>(processes: &[&'a Process], name: Option<&str>) -> Result<&'a Process, Problem> {
    let fits = |process: &&&Process| match name {
        Some(name) => process.name == name || process.output.as_deref() == Some(name),
        None => process.part == Part::Primary,
    };
    processes.iter().find(fits).copied().ok_or_else(|| {
        let names: Vec<&str> = processes
            .iter()
            .map(|process| process.name.as_str())
            .collect();
        let message = format!("the plan has no such process; it has: {}", names.join(", "));
        Problem::new("ProcessNotFound", message).at("process")
    })
}

/// The file as it is now.
async fn once(state: &ApiState, job: &Job, wanted: &Wanted) -> Answer {
    let nothing = || {
        let message = format!(
            "the job {} has written no output yet; add follow=true to wait for it",
            job.record.value.path.job
        );
        ApiError::not_found("FileNotFound", message)
    };
    let aim = wanted.aim(state, job).await?.ok_or_else(nothing)?;
    let place = wanted.place(state, job, &aim).await?.ok_or_else(nothing)?;
    let name = aim.file.clone();
    let directory = match place {
        Place::Here(directory) => directory,
        Place::There(node) => return fetch(state, job, wanted, &aim.file, &node, false).await,
        Place::Nowhere => {
            let message = format!("the file '{name}' is not there");
            return Err(ApiError::not_found("FileNotFound", message));
        }
    };
    let opened = blocking(move || directory.open_file(&aim.file)).await;
    let opened = opened.map_err(|error| refused(&error, &format!("the file '{name}'")))?;
    let length = opened
        .metadata()
        .map_err(|error| ApiError::internal(&error))?
        .len();
    Ok(text(file_body(opened, 0, length)))
}

/// The file as it grows.
fn followed(state: ApiState, job: Job, wanted: Wanted) -> Body {
    let (sender, receiver) = channel(BUFFER);
    tokio::spawn(async move {
        let stopping = state.stopping.clone();
        let closed = sender.clone();
        let mut follower = Follower {
            state,
            job,
            wanted,
            sender,
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = closed.closed() => {}
            result = follower.run() => {
                if let Err(error) = result {
                    // The body breaks off, so that the client does not take it for complete.
                    let _ = closed.send(Err(io::Error::other(error.to_string()))).await;
                }
            }
        }
    });
    Body::from_stream(receiver_stream(receiver))
}

struct Follower {
    state: ApiState,
    job: Job,
    wanted: Wanted,
    sender: Sender<io::Result<Bytes>>,
}

impl Follower {
    async fn run(&mut self) -> Result<(), ApiError> {
        let mut changes = self.watch().await?;
        self.refresh().await?;
        match self.wait_for_file(&mut changes).await? {
            Some(Opened::File(file)) => self.send_growing(file, &mut changes).await,
            Some(Opened::There(node, file)) => self.send_from(&node, &file).await,
            None => Ok(()),
        }
    }

    async fn watch(&self) -> Result<Changes, StoreError> {
        let record = &self.job.record.value;
        Changes::open(self.state.store(), &record.path, &record.uid, 0).await
    }

    /// Reads the job again. Says whether it is over, or gone.
    async fn refresh(&mut self) -> Result<bool, ApiError> {
        let record = &self.job.record.value;
        match Job::read(self.state.store(), &record.path).await {
            Ok(job) if job.record.value.uid == record.uid => {
                self.job = job;
                Ok(self.job.is_over())
            }
            Err(error) if error.status.is_server_error() => Err(error),
            _ => Ok(true),
        }
    }

    /// Waits until the file exists; none if the job ends without it.
    async fn wait_for_file(&mut self, changes: &mut Changes) -> Result<Option<Opened>, ApiError> {
        loop {
            // Asked before the look, so that a file made in between is found.
            let over = self.refresh().await?;
            let (directory, pause) = match self.look().await? {
                Look::Found(opened) => return Ok(Some(opened)),
                Look::Directory(directory) => (Some(directory), LOOK_FOR),
                Look::NotYet => (None, LOOK_FOR),
                Look::Nothing => (None, LOOK_AGAIN),
            };
            if over {
                return Ok(None);
            }
            tokio::select! {
                lost = heard(changes) => if lost? { *changes = self.watch().await? },
                () = grown(directory.as_ref()) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn look(&self) -> Result<Look, ApiError> {
        let Some(aim) = self.wanted.aim(&self.state, &self.job).await? else {
            return Ok(Look::Nothing);
        };
        match self.wanted.place(&self.state, &self.job, &aim).await? {
            None => Ok(Look::NotYet),
            Some(Place::Here(directory)) => look_for(directory, aim.file).await,
            Some(Place::There(node)) => Ok(Look::Found(Opened::There(node, aim.file))),
            Some(Place::Nowhere) => Ok(Look::Nothing),
        }
    }

    /// Sends what the daemon of another node sends, until it ends.
    async fn send_from(&self, node: &NodeName, file: &RelativePath) -> Result<(), ApiError> {
        let answer = fetch(&self.state, &self.job, &self.wanted, file, node, true).await?;
        let mut body = answer.into_body().into_data_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| ApiError::internal(&error))?;
            if self.sender.send(Ok(chunk)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn send_growing(&mut self, file: File, changes: &mut Changes) -> Result<(), ApiError> {
        let growth = Growth::of(&file).ok();
        let file = Arc::new(file);
        let mut offset = 0;
        loop {
            // Asked before the read: what a finished job wrote is in the file.
            let over = self.refresh().await?;
            offset = self.send_rest(&file, offset).await?;
            if over {
                return Ok(());
            }
            let mut only_grown = true;
            while only_grown {
                tokio::select! {
                    lost = heard(changes) => {
                        if lost? {
                            *changes = self.watch().await?;
                        }
                        only_grown = false;
                    }
                    () = grown(growth.as_ref()) => offset = self.send_rest(&file, offset).await?,
                    () = tokio::time::sleep(LOOK_AGAIN) => offset = self.send_rest(&file, offset).await?,
                }
            }
        }
    }

    /// Sends what is in the file from `offset` on; says where it ends now.
    async fn send_rest(&self, file: &Arc<File>, offset: u64) -> Result<u64, ApiError> {
        let length = file
            .metadata()
            .map_err(|error| ApiError::internal(&error))?
            .len();
        // A file that became shorter was begun anew.
        let mut offset = if length < offset { 0 } else { offset };
        loop {
            let chunk = read_chunk(file, offset, u64::MAX)
                .await
                .map_err(|error| ApiError::internal(&error))?;
            if chunk.is_empty() {
                return Ok(offset);
            }
            offset += chunk.len() as u64;
            if self.sender.send(Ok(chunk)).await.is_err() {
                return Ok(offset);
            }
        }
    }
}

/// A file that can be read.
enum Opened {
    File(File),
    /// By the daemon of that node.
    There(NodeName, RelativePath),
}

/// What was found in place of a file.
enum Look {
    Found(Opened),
    /// Its directory, watched since before the look.
    Directory(Growth),
    /// It may be there any moment.
    NotYet,
    /// Nobody knows yet what to look for, or where.
    Nothing,
}

async fn look_for(directory: Directory, file: RelativePath) -> Result<Look, ApiError> {
    let parent = (directory.clone(), file.parent());
    let growth = blocking(move || parent.0.open_directory(&parent.1))
        .await
        .and_then(|directory| Growth::of(&directory))
        .ok();
    let name = file.clone();
    match blocking(move || directory.open_file(&file)).await {
        Ok(file) => Ok(Look::Found(Opened::File(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(growth.map_or(Look::NotYet, Look::Directory))
        }
        Err(error) => Err(refused(&error, &format!("the file '{name}'"))),
    }
}

/// Waits until something happened to the job. Says whether the watch is lost.
async fn heard(changes: &mut Changes) -> Result<bool, ApiError> {
    match changes.next().await {
        Ok(_) => Ok(false),
        Err(StoreError::Compacted { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the kernel tells of something; for ever if it cannot.
async fn grown(growth: Option<&Growth>) {
    match growth {
        Some(growth) if growth.changed().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}
