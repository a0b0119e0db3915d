//! `GET …/jobs/{job}/logs`: one output file, on request while it is written.
//!
//! Parameters: `file` (a path) or `process` (a process of the plan, or its
//! output label) and `stream` (`stdout` or `stderr`); `directory` (the id of an
//! output directory); `follow=true` to stay until the job is over and the file
//! has been read to its end. Without `file` and `process` it is the output of
//! the first primary process.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use lote_model::environment::output_file;
use lote_model::job::STDOUTERR;
use lote_model::path::JobPath;
use lote_model::plan::{Part, Process};
use lote_model::problem::Problem;
use lote_store::StoreError;
use tokio::sync::mpsc::{Sender, channel};

use super::changes::Changes;
use super::{Job, plan};
use crate::error::{Answer, ApiError};
use crate::files::blocking;
use crate::files::growth::Growth;
use crate::files::link::refused;
use crate::files::output::{OutputDirectory, known_id, locate};
use crate::files::relative::RelativePath;
use crate::files::stream::{file_body, read_chunk, receiver_stream};
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

pub(crate) async fn get(
    State(state): State<ApiState>,
    At(path): At<JobPath>,
    parameters: Parameters,
) -> Answer {
    let follow = parameters.flag("follow")?;
    let wanted = Wanted::of(&parameters)?;
    let job = Job::read(state.store(), &path).await?;
    known_id(&job, &wanted.directory_id, "directory")?;
    if !follow {
        return once(&state, &job, &wanted).await;
    }
    // What is wrong with the request is said before the stream begins.
    wanted.file(&state, &job).await?;
    locate(&state, &job, &wanted.directory_id).await?;
    Ok(text(followed(state, job, wanted)))
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
    fn of(parameters: &Parameters) -> Result<Self, Problem> {
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
        })
    }

    /// The path of the file; none while the plan that names it does not exist.
    async fn file(&self, state: &ApiState, job: &Job) -> Result<Option<RelativePath>, ApiError> {
        let (name, stream) = match &self.source {
            Source::File(path) => return Ok(Some(path.clone())),
            Source::Process { name, stream } => (name.as_deref(), *stream),
        };
        let attempt = job.status().map_or(0, |status| status.attempt);
        let plans = plan::stored(state, job, attempt).await?;
        if plans.is_empty() {
            return Ok(None);
        }
        let processes: Vec<&Process> = plans
            .iter()
            .flat_map(|plan| &plan.launch.processes)
            .collect();
        let file = output_file(stream, choose(&processes, name)?.output.as_deref());
        Ok(RelativePath::parse(&file).ok())
    }
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
    let file = wanted.file(state, job).await?.ok_or_else(nothing)?;
    let output = locate(state, job, &wanted.directory_id)
        .await?
        .ok_or_else(nothing)?;
    let name = file.clone();
    let opened = blocking(move || output.directory.open_file(&file)).await;
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
            Some(file) => self.send_growing(file, &mut changes).await,
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
    async fn wait_for_file(&mut self, changes: &mut Changes) -> Result<Option<File>, ApiError> {
        loop {
            // Asked before the look, so that a file made in between is found.
            let over = self.refresh().await?;
            let directory = match self.look().await? {
                Look::File(file) => return Ok(Some(file)),
                Look::Directory(directory) => Some(directory),
                Look::Nothing => None,
            };
            if over {
                return Ok(None);
            }
            let known = self.wanted.file(&self.state, &self.job).await?.is_some();
            let pause = if known { LOOK_FOR } else { LOOK_AGAIN };
            tokio::select! {
                lost = heard(changes) => if lost? { *changes = self.watch().await? },
                () = grown(directory.as_ref()) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn look(&self) -> Result<Look, ApiError> {
        let Some(file) = self.wanted.file(&self.state, &self.job).await? else {
            return Ok(Look::Nothing);
        };
        match locate(&self.state, &self.job, &self.wanted.directory_id).await? {
            None => Ok(Look::Nothing),
            Some(output) => look_for(output, file).await,
        }
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

/// What was found in place of a file.
enum Look {
    File(File),
    /// Its directory, watched since before the look.
    Directory(Growth),
    Nothing,
}

async fn look_for(output: OutputDirectory, file: RelativePath) -> Result<Look, ApiError> {
    let parent = (output.directory.clone(), file.parent());
    let growth = blocking(move || parent.0.open_directory(&parent.1))
        .await
        .and_then(|directory| Growth::of(&directory))
        .ok();
    let name = file.clone();
    match blocking(move || output.directory.open_file(&file)).await {
        Ok(file) => Ok(Look::File(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(growth.map_or(Look::Nothing, Look::Directory))
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
