//! Files from the daemon: of a file server, or by a job's signed links.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lote_model::transfer::{CHUNK_BYTES, Chunk, Digest, Layout};

use super::part::{Finish, Part};
use super::progress::Progress;
use super::queue::Queue;
use super::retry::retried;
use super::scan::stamp;
use super::{Options, Outcome, Report, Stamp, sum};
use crate::console::Console;
use crate::failure::Failure;
use crate::http::{Client, Fetched};

/// A file to be fetched.
#[derive(Clone, Debug)]
pub struct RemoteFile {
    /// What people call it.
    pub name: String,
    /// Where it can be read.
    pub url: String,
    /// Where it goes.
    pub target: PathBuf,
    /// Its size in bytes, if it is known.
    pub size: Option<u64>,
    /// What tells its state, if it is known before it is read.
    pub etag: Option<String>,
    /// When it was last written, if it is known.
    pub modified: Option<Timestamp>,
    /// Its permissions, if they are known.
    pub mode: Option<u32>,
}

/// What is to be done next.
enum Task {
    File(RemoteFile),
    Chunk(Arc<Download>, Chunk),
}

/// A large file on its way.
struct Download {
    remote: RemoteFile,
    part: Part,
    layout: Layout,
    etag: String,
    left: AtomicU64,
    /// Whether no more chunks are to be written. Held while one is.
    given_up: Mutex<bool>,
}

impl Download {
    fn given_up(&self) -> MutexGuard<'_, bool> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Fetcher<'a> {
    client: &'a Client,
    options: Options,
    /// Whether a file that changes meanwhile is fetched as far as it goes.
    may_grow: bool,
    report: Report<'a>,
}

/// Fetches all of the files. `left_out` is what cannot be fetched; `may_grow` says
/// that they may still be written, as a job's output.
pub fn fetch(
    client: &Client,
    files: Vec<RemoteFile>,
    left_out: Vec<(String, Failure)>,
    options: Options,
    may_grow: bool,
    console: &Console,
) -> Outcome {
    let total = files.iter().filter_map(|file| file.size).sum();
    let fetcher = Fetcher {
        client,
        options,
        may_grow,
        report: Report::new(Progress::new(console, "fetched", files.len(), total)),
    };
    for (name, failure) in left_out {
        fetcher.report.failed(&name, failure);
    }
    let tasks = files.into_iter().map(Task::File);
    Queue::work_off(tasks, options.parallel, |task, queue| {
        fetcher.work(task, queue);
    });
    fetcher.report.into_outcome()
}

impl Fetcher<'_> {
    fn work(&self, task: Task, queue: &Queue<Task>) {
        if self.report.is_stopped() {
            return;
        }
        match task {
            Task::File(remote) => {
                let name = remote.name.clone();
                match self.begin(remote) {
                    Ok(chunks) => queue.add(chunks),
                    Err(failure) => self.report.failed(&name, failure),
                }
            }
            Task::Chunk(download, chunk) => self.chunk(&download, chunk),
        }
    }

    /// Fetches a small file, or says which chunks of a large one are missing.
    fn begin(&self, remote: RemoteFile) -> Result<Vec<Task>, Failure> {
        if self.is_there(&remote)? {
            self.report.unchanged(remote.size.unwrap_or_default());
            return Ok(Vec::new());
        }
        if let Some(parent) = remote.target.parent() {
            fs::create_dir_all(parent).map_err(write_failed(parent))?;
        }
        let part = Part::open(&remote.target)?;
        if remote.size.is_none_or(|size| size <= CHUNK_BYTES) {
            self.in_one_piece(&remote, &part)?;
            return Ok(Vec::new());
        }
        let state = match (remote.size, &remote.etag) {
            (Some(size), Some(etag)) => Some((size, etag.clone())),
            _ => self.state_of(&remote)?,
        };
        let Some((size, etag)) = state else {
            // Without a validator parts of different states could be mixed.
            self.in_one_piece(&remote, &part)?;
            return Ok(Vec::new());
        };
        let layout = Layout::new(size).ok_or_else(|| Failure::Untransferable {
            path: remote.name.clone(),
            reason: "is too large",
        })?;
        let missing = part.missing(layout, &etag)?;
        let missing_bytes: u64 = missing.iter().map(|chunk| chunk.length).sum();
        self.report.progress.there_already(size - missing_bytes);
        let download = Arc::new(Download {
            remote,
            part,
            layout,
            etag,
            left: AtomicU64::new(missing.len() as u64),
            given_up: Mutex::new(false),
        });
        if missing.is_empty() {
            self.finish(&download)?;
        }
        let chunks = missing.into_iter();
        Ok(chunks
            .map(|chunk| Task::Chunk(download.clone(), chunk))
            .collect())
    }

    /// Whether the file is here as it is there.
    fn is_there(&self, remote: &RemoteFile) -> Result<bool, Failure> {
        let Ok(metadata) = fs::metadata(&remote.target) else {
            return Ok(false);
        };
        let wanted = remote
            .size
            .zip(remote.modified)
            .map(|(size, modified)| Stamp { size, modified });
        let is_same = wanted
            .zip(stamp(&metadata))
            .is_some_and(|(wanted, here)| wanted.is_same(here));
        if metadata.is_file() && is_same {
            return Ok(true);
        }
        if self.options.overwrite && !metadata.is_dir() {
            return Ok(false);
        }
        Err(Failure::Exists(remote.target.display().to_string()))
    }

    /// Size and validator, from an answer with a single byte.
    fn state_of(&self, remote: &RemoteFile) -> Result<Option<(u64, String)>, Failure> {
        let action = action(remote);
        let fetched = retried(|| self.client.fetch(&action, &remote.url, Some((0, 0)), None))?;
        Ok(fetched.size.zip(fetched.etag).filter(|_| fetched.is_part))
    }

    fn chunk(&self, download: &Download, chunk: Chunk) {
        if *download.given_up() {
            return;
        }
        let fetched = retried(|| self.fetch_chunk(download, chunk)).and_then(|(bytes, digest)| {
            let given_up = download.given_up();
            if *given_up {
                return Ok(());
            }
            download
                .part
                .write(download.layout, chunk, &bytes, &digest)?;
            drop(given_up);
            self.report.progress.add(chunk.length);
            if download.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.finish(download)
            } else {
                Ok(())
            }
        });
        let Err(failure) = fetched else { return };
        if std::mem::replace(&mut *download.given_up(), true) {
            return;
        }
        let changed = matches!(failure, Failure::Changed(_));
        let ended = if changed && self.may_grow {
            self.in_one_piece(&download.remote, &download.part)
        } else {
            Err(failure)
        };
        if let Err(failure) = ended {
            self.report.failed(&download.remote.name, failure);
        }
    }

    fn fetch_chunk(&self, download: &Download, chunk: Chunk) -> Result<(Vec<u8>, Digest), Failure> {
        let remote = &download.remote;
        let range = (chunk.offset, chunk.offset + chunk.length - 1);
        let fetched = self.client.fetch(
            &action(remote),
            &remote.url,
            Some(range),
            Some(&download.etag),
        )?;
        if !fetched.is_part || fetched.etag.as_ref() != Some(&download.etag) {
            return Err(Failure::Changed(remote.name.clone()));
        }
        self.checked(remote, fetched, chunk.length)
    }

    /// What arrives and its digest, if it is so long and has the digest that came with it.
    fn checked(
        &self,
        remote: &RemoteFile,
        fetched: Fetched,
        length: u64,
    ) -> Result<(Vec<u8>, Digest), Failure> {
        let mut bytes = Vec::new();
        let sent = fetched.digest;
        let read = fetched.body.take(length + 1).read_to_end(&mut bytes);
        read.map_err(|source| self.broken(remote, source))?;
        let digest = sum(&bytes);
        let right = sent.is_none_or(|sent| sent == digest);
        if right && bytes.len() as u64 == length {
            Ok((bytes, digest))
        } else {
            Err(Failure::Damaged(remote.name.clone()))
        }
    }

    /// A small file, or one that cannot be gone on with.
    fn in_one_piece(&self, remote: &RemoteFile, part: &Part) -> Result<(), Failure> {
        let size = retried(|| {
            let fetched = self
                .client
                .fetch(&action(remote), &remote.url, None, None)?;
            let target = part.begin_again()?;
            match fetched.length {
                Some(length) if length <= CHUNK_BYTES => {
                    let (bytes, _) = self.checked(remote, fetched, length)?;
                    let mut target = target;
                    write_from_start(&mut target, &mut bytes.as_slice())
                        .map_err(write_failed(&remote.target))
                }
                _ => self.streamed(remote, fetched, target),
            }
        })?;
        self.report.progress.add(size);
        part.keep(size, finish_of(remote))?;
        self.report.moved(&remote.name, size);
        Ok(())
    }

    fn streamed(
        &self,
        remote: &RemoteFile,
        mut fetched: Fetched,
        target: &fs::File,
    ) -> Result<u64, Failure> {
        let mut target = target;
        let size = write_from_start(&mut target, &mut fetched.body)
            .map_err(|source| self.broken(remote, source))?;
        if fetched.length.is_some_and(|length| length != size) {
            return Err(Failure::Damaged(remote.name.clone()));
        }
        Ok(size)
    }

    fn finish(&self, download: &Download) -> Result<(), Failure> {
        let size = download.layout.size();
        download.part.keep(size, finish_of(&download.remote))?;
        self.report.moved(&download.remote.name, size);
        Ok(())
    }

    fn broken(&self, remote: &RemoteFile, source: io::Error) -> Failure {
        Failure::Broken {
            action: action(remote),
            url: self.client.url().to_owned(),
            source,
        }
    }
}

fn write_from_start(target: &mut &fs::File, from: &mut dyn io::Read) -> io::Result<u64> {
    use io::Seek as _;
    target.rewind()?;
    let length = io::copy(from, target)?;
    target.flush()?;
    Ok(length)
}

fn finish_of(remote: &RemoteFile) -> Finish {
    Finish {
        mode: remote.mode,
        modified: remote.modified,
    }
}

fn action(remote: &RemoteFile) -> String {
    format!("fetch '{}'", remote.name)
}

fn write_failed(path: &Path) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::File {
        action: "write",
        path: path.to_owned(),
        source,
    }
}
