//! Files to a file server.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lote_model::transfer::{ABSENT, CHUNK_BYTES, Chunk, Digest, Layout, hex};
use sha2::{Digest as _, Sha256};

use super::place::split;
use super::progress::Progress;
use super::queue::Queue;
use super::remote::Remote;
use super::retry::retried;
use super::scan::{Found, LocalFile, stamp};
use super::{Options, Outcome, Report, Stamp, sum};
use crate::console::Console;
use crate::failure::Failure;

/// What is to be done next.
enum Task {
    File(LocalFile),
    Chunk(Arc<Upload>, Chunk),
}

/// A large file on its way.
struct Upload {
    local: LocalFile,
    file: File,
    name: String,
    layout: Layout,
    /// The digests of what has arrived before, by where it begins.
    known: HashMap<u64, Digest>,
    /// Those of what is there, in their order.
    digests: Mutex<Vec<Digest>>,
    left: AtomicU64,
    failed: AtomicBool,
}

/// What is on the file server, directory by directory.
type InTheWay = HashMap<String, HashMap<String, Option<Stamp>>>;

struct Sender<'a> {
    remote: &'a Remote<'a>,
    options: Options,
    there: InTheWay,
    report: Report<'a>,
}

/// Sends all that was found.
pub fn send(
    remote: &Remote<'_>,
    found: Found,
    options: Options,
    console: &Console,
) -> Result<Outcome, Failure> {
    let total = found.files.iter().map(|file| file.stamp.size).sum();
    let sender = Sender {
        remote,
        options,
        there: in_the_way(remote, &found)?,
        report: Report::new(Progress::new(console, "sent", found.files.len(), total)),
    };
    for directory in to_be_made(&found) {
        retried(|| remote.make_directory(directory))?;
    }
    for (name, failure) in found.left_out {
        sender.report.failed(&name, failure);
    }
    let tasks = found.files.into_iter().map(Task::File);
    Queue::work_off(tasks, options.parallel, |task, queue| {
        sender.work(task, queue);
    });
    for link in &found.links {
        let made = retried(|| remote.make_link(&link.remote, &link.target, options.overwrite));
        match made {
            Err(failure) if failure.code() == Some("FileExists") && sender.has_link(link)? => {}
            Err(failure) => sender.report.failed(&link.remote, failure),
            Ok(()) => {}
        }
    }
    Ok(sender.report.into_outcome())
}

/// Lists each directory that things go to, once; not those whose own directory was
/// listed without them.
fn in_the_way(remote: &Remote<'_>, found: &Found) -> Result<InTheWay, Failure> {
    let mut there = InTheWay::new();
    let of_files = found.files.iter().map(|file| split(&file.remote).0);
    let directories = found.directories.iter().map(String::as_str);
    for directory in directories.chain(of_files) {
        if there.contains_key(directory) {
            continue;
        }
        let (above, name) = split(directory);
        let is_absent = there
            .get(above)
            .is_some_and(|names| directory != "." && !names.contains_key(name));
        let stamps = if is_absent {
            HashMap::new()
        } else {
            retried(|| remote.stamps(directory))?
        };
        there.insert(directory.to_owned(), stamps);
    }
    Ok(there)
}

/// The directories that nothing else brings with it.
fn to_be_made(found: &Found) -> Vec<&str> {
    let files = found.files.iter().map(|file| &file.remote);
    let links = found.links.iter().map(|link| &link.remote);
    let all = files.chain(links).chain(&found.directories);
    let above: HashSet<&str> = all.map(|path| split(path).0).collect();
    let directories = found.directories.iter().map(String::as_str);
    directories.filter(|path| !above.contains(path)).collect()
}

impl Sender<'_> {
    fn work(&self, task: Task, queue: &Queue<Task>) {
        if self.report.is_stopped() {
            return;
        }
        match task {
            Task::File(file) => {
                let name = file.remote.clone();
                match self.begin(file) {
                    Ok(chunks) => queue.add(chunks),
                    Err(failure) => self.report.failed(&name, failure),
                }
            }
            Task::Chunk(upload, chunk) => self.chunk(&upload, chunk),
        }
    }

    /// Sends a small file, or says which chunks a large one has.
    fn begin(&self, local: LocalFile) -> Result<Vec<Task>, Failure> {
        let (directory, name) = split(&local.remote);
        let there = self.there.get(directory).and_then(|names| names.get(name));
        match there {
            Some(Some(stamp)) if stamp.is_same(local.stamp) => {
                self.report.unchanged(local.stamp.size);
                return Ok(Vec::new());
            }
            Some(_) if !self.options.overwrite => return Err(Failure::Exists(local.remote)),
            _ => {}
        }
        let file = File::open(&local.path).map_err(read_failed(&local))?;
        let layout = Layout::new(local.stamp.size).ok_or_else(|| Failure::Untransferable {
            path: local.remote.clone(),
            reason: "is too large",
        })?;
        if local.stamp.size <= CHUNK_BYTES {
            self.small(&local, &file)?;
            return Ok(Vec::new());
        }
        let name = upload_name(&local).map_err(read_failed(&local))?;
        let known = retried(|| self.remote.uploaded(&local, &name))?;
        let count = usize::try_from(layout.count()).unwrap_or(usize::MAX);
        let upload = Arc::new(Upload {
            local,
            file,
            name,
            layout,
            known,
            digests: Mutex::new(vec![ABSENT; count]),
            left: AtomicU64::new(layout.count()),
            failed: AtomicBool::new(false),
        });
        let chunks = layout.chunks();
        Ok(chunks
            .map(|chunk| Task::Chunk(upload.clone(), chunk))
            .collect())
    }

    fn small(&self, local: &LocalFile, file: &File) -> Result<(), Failure> {
        let bytes = read(file, 0, local.stamp.size).map_err(read_failed(local))?;
        unchanged(local, file)?;
        let digest = sum(&bytes);
        let mut tried_before = false;
        retried(|| {
            let written = self
                .remote
                .write(local, self.options.overwrite, &digest, &bytes);
            match written {
                // An earlier try may have been answered by nobody and yet succeeded.
                Err(failure)
                    if tried_before
                        && failure.code() == Some("FileExists")
                        && self.remote.is_there(local)? =>
                {
                    Ok(())
                }
                written => {
                    tried_before = true;
                    written
                }
            }
        })?;
        self.report.progress.add(local.stamp.size);
        self.report.moved(&local.remote, local.stamp.size);
        Ok(())
    }

    fn chunk(&self, upload: &Upload, chunk: Chunk) {
        if upload.failed.load(Ordering::Relaxed) {
            return;
        }
        let sent = self.send_chunk(upload, chunk).and_then(|()| {
            if upload.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.complete(upload)
            } else {
                Ok(())
            }
        });
        let Err(failure) = sent else { return };
        if !upload.failed.swap(true, Ordering::Relaxed) {
            let changed = matches!(failure, Failure::Changed(_));
            if changed || failure.code() == Some("FileServerFull") {
                // It would only take up room.
                let _ = self.remote.give_up(&upload.local, &upload.name);
            }
            self.report.failed(&upload.local.remote, failure);
        }
    }

    fn send_chunk(&self, upload: &Upload, chunk: Chunk) -> Result<(), Failure> {
        let local = &upload.local;
        let bytes = read(&upload.file, chunk.offset, chunk.length).map_err(read_failed(local))?;
        let digest = sum(&bytes);
        if upload.known.get(&chunk.offset) == Some(&digest) {
            self.report.progress.there_already(chunk.length);
        } else {
            retried(|| {
                self.remote
                    .send_chunk(local, &upload.name, chunk.offset, &digest, &bytes)
            })?;
            self.report.progress.add(chunk.length);
        }
        let mut digests = upload
            .digests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(chunk.index).ok();
        if let Some(place) = place.and_then(|index| digests.get_mut(index)) {
            *place = digest;
        }
        Ok(())
    }

    fn complete(&self, upload: &Upload) -> Result<(), Failure> {
        let local = &upload.local;
        unchanged(local, &upload.file)?;
        let digests = upload
            .digests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let whole: Digest = Sha256::digest(digests.concat()).into();
        debug_assert_eq!(digests.len() as u64, upload.layout.count());
        drop(digests);
        let overwrite = self.options.overwrite;
        retried(|| self.remote.complete(local, &upload.name, overwrite, &whole))?;
        self.report.moved(&local.remote, local.stamp.size);
        Ok(())
    }

    fn has_link(&self, link: &super::scan::LocalLink) -> Result<bool, Failure> {
        let there = self.remote.look_at(&link.remote)?;
        Ok(there.and_then(|there| there.target).as_deref() == Some(link.target.as_str()))
    }
}

fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Whether the file is still the one that was begun with.
fn unchanged(local: &LocalFile, file: &File) -> Result<(), Failure> {
    let metadata = file.metadata().map_err(read_failed(local))?;
    if stamp(&metadata) == Some(local.stamp) {
        Ok(())
    } else {
        Err(Failure::Changed(local.path.display().to_string()))
    }
}

fn read_failed(local: &LocalFile) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::File {
        action: "read",
        path: local.path.clone(),
        source,
    }
}

/// The name of an upload: the same whenever the same user of the same machine sends
/// the same state of the same file to the same place, and another one otherwise.
fn upload_name(local: &LocalFile) -> io::Result<String> {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut hasher = Sha256::new();
    for part in [
        text("/etc/machine-id"),
        text("/proc/sys/kernel/hostname"),
        std::fs::metadata("/proc/self")?.uid().to_string(),
        std::fs::canonicalize(&local.path)?
            .to_string_lossy()
            .into_owned(),
        local.stamp.size.to_string(),
        local.stamp.modified.to_string(),
        local.remote.clone(),
    ] {
        hasher.update(part.as_bytes());
        hasher.update(b"\0");
    }
    let digest: Digest = hasher.finalize().into();
    Ok(hex(&digest)[..40].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_hold_something_need_not_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        for directory in ["a/b", "c/empty", "d"] {
            std::fs::create_dir_all(top.join(directory)).unwrap();
        }
        std::fs::write(top.join("a/b/f"), "").unwrap();
        let mut found = Found::default();
        found.add(top, "x").unwrap();
        assert_eq!(to_be_made(&found), ["x/c/empty", "x/d"]);
    }
}
