//! One request about the files of a file server, carried out on its node.

use std::ops::RangeInclusive;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use jiff::Timestamp;
use lote_model::problem::Problem;
use lote_model::transfer::{CHUNK_BYTES, Digest, FILE_BYTES_MAX, Layout, parse_hex};

use super::fault::Fault;
use super::incoming::{self, Broken, Incoming, Place};
use super::place::Exported;
use super::target::{enter, writable};
use super::upload::{Upload, UploadName, fits};
use super::whole::{Draft, Finish};
use super::{listing, tree};
use crate::error::{Answer, ApiError};
use crate::files::beneath::open_file;
use crate::files::relative::RelativePath;
use crate::files::{Directory, blocking, content};
use crate::page::PageRequest;
use crate::request::Parameters;

/// Permissions that a file may be given: those of owner, group and others.
const MODES: RangeInclusive<u32> = 0..=0o777;

/// The permissions of a file whose client names none.
const MODE_DEFAULT: u32 = 0o644;

/// What of a file server is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Files,
    Content,
    Directories,
    Links,
    Upload(UploadName),
}

impl What {
    /// An upload, by the name as it stands in a URL.
    pub(super) fn upload(name: &str) -> Result<Self, ApiError> {
        UploadName::parse(name)
            .map(Self::Upload)
            .ok_or_else(bad_upload_name)
    }

    /// As the end of a path.
    pub(super) fn segments(&self) -> String {
        match self {
            Self::Files => "files".into(),
            Self::Content => "content".into(),
            Self::Directories => "directories".into(),
            Self::Links => "links".into(),
            // A name that was read needs no escapes.
            Self::Upload(name) => format!("uploads/{}", name.as_str()),
        }
    }
}

/// A request, whether it came from a client or from another daemon.
pub(super) struct Asked {
    pub(super) what: What,
    pub(super) method: Method,
    pub(super) parameters: Parameters,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl Asked {
    /// The path below the export.
    pub(super) fn path(&self) -> Result<RelativePath, ApiError> {
        let text = self.parameters.get("path").unwrap_or(".");
        // People write the export's own directory as `/`.
        RelativePath::parse(text.trim_start_matches('/'))
            .map_err(|error| ApiError::bad_request("InvalidPath", error.to_string()).at("path"))
    }

    /// Does it to what is exported.
    pub(super) async fn carry_out(self, exported: Exported) -> Answer {
        let Exported { directory, left } = exported;
        let path = self.path()?;
        let reads = [Method::GET, Method::HEAD].contains(&self.method);
        match (self.what.clone(), reads) {
            (What::Files, true) => self.list(directory, path).await,
            (What::Files, false) => self.remove(directory, path).await,
            (What::Content, true) => self.read(directory, path).await,
            (What::Content, false) => self.write(directory, left, path).await,
            (What::Directories, _) => make(directory, path).await,
            (What::Links, _) => self.link(directory, path).await,
            (What::Upload(name), _) => {
                let path = to_write(path)?;
                let upload = Upload {
                    directory,
                    path,
                    name,
                    left,
                };
                match self.method {
                    Method::PUT => self.take_chunk(upload).await,
                    Method::POST => self.complete(upload).await,
                    Method::DELETE => give_up(upload).await,
                    _ => progress(upload).await,
                }
            }
        }
    }

    async fn list(self, directory: Directory, path: RelativePath) -> Answer {
        let page = PageRequest::of(&self.parameters)?;
        let itself = self.parameters.flag("itself")?;
        let asked = path.clone();
        let listed = off_thread(move || {
            Ok(if itself {
                listing::itself(&directory, &asked)?
            } else {
                listing::list(&directory, &asked, &page)?
            })
        });
        let listed = listed.await.map_err(|fault| fault.about(&path))?;
        Ok(Json(listed).into_response())
    }

    async fn read(self, directory: Directory, path: RelativePath) -> Answer {
        let asked = path.clone();
        let opened = blocking(move || open_file(&enter(&directory)?.root, &asked)).await;
        let file = opened.map_err(|error| Fault::Io(error).about(&path))?;
        content::send(file, path.file_name(), &self.method, &self.headers).await
    }

    async fn write(self, directory: Directory, left: Option<u64>, path: RelativePath) -> Answer {
        let path = to_write(path)?;
        let finish = finish(&self.parameters)?;
        let incoming = Incoming::of(&self.headers, self.body)?;
        if incoming
            .announced()
            .is_some_and(|length| length > CHUNK_BYTES)
        {
            return Err(incoming::too_long(CHUNK_BYTES));
        }
        fits(incoming.announced().unwrap_or_default(), left).map_err(|fault| fault.about(&path))?;
        let (owner, asked) = (directory.owner, path.clone());
        let draft = off_thread(move || Draft::begin(&directory, &asked, finish.overwrite));
        let draft = draft.await.map_err(|fault| fault.about(&path))?;
        let place = Place {
            file: draft.file.clone(),
            offset: 0,
            owner,
        };
        let written = incoming::write(incoming, place, CHUNK_BYTES).await;
        written.map_err(|broken| broken.about(&path))?;
        let kept = off_thread(move || draft.keep(finish)).await;
        kept.map_err(|fault| fault.about(&path))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn remove(self, directory: Directory, path: RelativePath) -> Answer {
        let path = to_write(path)?;
        let recursive = self.parameters.flag("recursive")?;
        let asked = path.clone();
        let removed = off_thread(move || Ok(tree::remove(&directory, &asked, recursive)?));
        let removed = removed.await.map_err(|fault| fault.about(&path))?;
        Ok(removal(removed))
    }

    async fn link(self, directory: Directory, path: RelativePath) -> Answer {
        let path = to_write(path)?;
        let overwrite = self.parameters.flag("overwrite")?;
        let to = self.parameters.get("target").unwrap_or_default().to_owned();
        if to.is_empty() || to.len() > 4_095 || to.contains('\0') {
            let message = "target must be the path that the link leads to, of up to 4095 bytes";
            return Err(Problem::invalid("target", message).into());
        }
        let asked = path.clone();
        let made = off_thread(move || Ok(tree::link(&directory, &asked, &to, overwrite)?));
        made.await.map_err(|fault| fault.about(&path))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn take_chunk(self, upload: Upload) -> Answer {
        let layout = layout(&self.parameters)?;
        let offset = required_number(&self.parameters, "offset")?;
        let chunk = layout.chunk_at(offset).ok_or_else(|| {
            let message = format!(
                "offset must be a multiple of {CHUNK_BYTES} and lie within the file's size"
            );
            Problem::invalid("offset", message)
        })?;
        let incoming = Incoming::of(&self.headers, self.body)?;
        if incoming
            .announced()
            .is_some_and(|length| length != chunk.length)
        {
            return Err(wrong_length(chunk.length));
        }
        let path = upload.path.clone();
        let owner = upload.directory.owner;
        let writer = off_thread(move || upload.begin_chunk(layout, chunk)).await;
        let writer = writer.map_err(|fault| fault.about(&path))?;
        let place = Place {
            file: writer.file.clone(),
            offset: chunk.offset,
            owner,
        };
        let digest = incoming.digest;
        let written = incoming::write(incoming, place, chunk.length).await;
        let length = written.map_err(|broken| broken.about(&path))?;
        if length != chunk.length {
            return Err(wrong_length(chunk.length));
        }
        let kept = off_thread(move || writer.keep(&digest)).await;
        kept.map_err(|fault| fault.about(&path))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn complete(self, upload: Upload) -> Answer {
        let layout = layout(&self.parameters)?;
        let finish = finish(&self.parameters)?;
        let whole = whole_digest(&self.parameters)?;
        let path = upload.path.clone();
        let completed = off_thread(move || upload.complete(layout, &whole, finish)).await;
        completed.map_err(|fault| fault.about(&path))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

impl Broken {
    fn about(self, path: &RelativePath) -> ApiError {
        match self {
            Self::Request(error) => error,
            Self::Fault(fault) => fault.about(path),
        }
    }
}

async fn make(directory: Directory, path: RelativePath) -> Answer {
    let path = to_write(path)?;
    let asked = path.clone();
    let made = off_thread(move || Ok(tree::make(&directory, &asked)?)).await;
    made.map_err(|fault| fault.about(&path))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn progress(upload: Upload) -> Answer {
    let path = upload.path.clone();
    let progress = off_thread(move || upload.progress()).await;
    let progress = progress.map_err(|fault| fault.about(&path))?;
    Ok(Json(progress).into_response())
}

async fn give_up(upload: Upload) -> Answer {
    let path = upload.path.clone();
    let removed = off_thread(move || upload.give_up()).await;
    Ok(removal(removed.map_err(|fault| fault.about(&path))?))
}

/// 200 if there was something, 204 if not.
fn removal(was_there: bool) -> axum::response::Response {
    if was_there {
        StatusCode::OK.into_response()
    } else {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// Runs file work on the blocking pool.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(std::io::Error::other(error).into()),
    }
}

fn to_write(path: RelativePath) -> Result<RelativePath, ApiError> {
    let shown = path.clone();
    writable(path).map_err(|fault| fault.about(&shown))
}

fn bad_upload_name() -> ApiError {
    let message = "the name of an upload has 8 to 64 letters, digits and '-'";
    ApiError::bad_request("InvalidUploadName", message)
}

fn wrong_length(length: u64) -> ApiError {
    let message = format!("the body of this chunk must be {length} bytes long");
    ApiError::bad_request("InvalidChunkLength", message)
}

fn required_number(parameters: &Parameters, name: &str) -> Result<u64, Problem> {
    let number = parameters.get(name).and_then(|text| text.parse().ok());
    number.ok_or_else(|| Problem::invalid(name, format!("{name} must be a number of bytes")))
}

fn layout(parameters: &Parameters) -> Result<Layout, Problem> {
    let size = required_number(parameters, "size")?;
    Layout::new(size)
        .ok_or_else(|| Problem::invalid("size", format!("size must be at most {FILE_BYTES_MAX}")))
}

fn whole_digest(parameters: &Parameters) -> Result<Digest, Problem> {
    let digest = parameters.get("sha256").and_then(parse_hex);
    digest.ok_or_else(|| {
        let message = "sha256 must be the SHA-256, in hexadecimal digits, of the SHA-256s of all \
                       chunks, one after the other";
        Problem::invalid("sha256", message)
    })
}

fn finish(parameters: &Parameters) -> Result<Finish, Problem> {
    let mode = match parameters.get("mode") {
        None => MODE_DEFAULT,
        Some(text) => u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| MODES.contains(mode))
            .ok_or_else(|| {
                Problem::invalid(
                    "mode",
                    "mode must be permissions in octal digits, such as 0644",
                )
            })?,
    };
    let modified = parameters.get("modified").map(str::parse::<Timestamp>);
    let modified = modified.transpose().map_err(|_| {
        Problem::invalid(
            "modified",
            "modified must be a time, such as 2026-11-27T10:00:00Z",
        )
    })?;
    Ok(Finish {
        overwrite: parameters.flag("overwrite")?,
        mode,
        modified,
    })
}
