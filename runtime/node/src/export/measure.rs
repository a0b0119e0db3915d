//! How full exports are.
//!
//! Where a quota counts, or a file system holds nothing else, the kernel knows. Elsewhere the
//! files are counted one by one: seldom, slowly, and not at all while nothing was written.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lote_model::export::StorageUsage;
use lote_model::id::FileServerUid;
use tokio::sync::watch;

use super::quota;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(30);

/// Files are not counted more often than this, and less often the longer it takes.
const WALK_PAUSE: Duration = Duration::from_mins(5);

/// Files of one export are counted at most so long.
const WALK_MAX: Duration = Duration::from_mins(10);

/// After so many entries the count makes a pause, so that others get at the disk.
const WALK_STEP: u32 = 500;
const WALK_REST: Duration = Duration::from_millis(10);

/// Files with several names that are remembered, so as to be counted once.
const LINKS_MAX: usize = 1_000_000;

/// How full the exports are that could be measured.
pub(super) type Usages = BTreeMap<FileServerUid, StorageUsage>;

/// An export whose files are to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) uid: FileServerUid,
    pub(super) path: PathBuf,
    /// How it is measured.
    pub(super) by: Measure,
    /// How much it may hold.
    pub(super) limit_bytes: u64,
}

/// How the size of an export is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// A project quota counts.
    Quota {
        /// Its project.
        project: u32,
    },
    /// The file system has nothing else.
    FileSystem,
    /// The files are counted.
    Files,
}

/// A count of files that is still good while the file system is as full as it was.
struct Count {
    used_bytes: u64,
    file_system_used_bytes: u64,
    not_before: Instant,
}

/// Measures what it is told to, for ever.
pub(super) async fn measure(
    mut wanted: watch::Receiver<Vec<Measured>>,
    usages: watch::Sender<Usages>,
) {
    let mut counts = BTreeMap::new();
    loop {
        let exports = wanted.borrow_and_update().clone();
        counts.retain(|uid, _| exports.iter().any(|export| export.uid == *uid));
        let mut found = Usages::new();
        for export in exports {
            if let Some(usage) = usage_of(&export, &mut counts).await {
                found.insert(export.uid, usage);
            }
        }
        usages.send_if_modified(|known| {
            let is_new = *known != found;
            *known = found;
            is_new
        });
        if let Ok(Err(_)) = tokio::time::timeout(PAUSE, wanted.changed()).await {
            return;
        }
    }
}

async fn usage_of(
    export: &Measured,
    counts: &mut BTreeMap<FileServerUid, Count>,
) -> Option<StorageUsage> {
    let path = export.path.clone();
    let space = blocking(move || space(&path)).await?;
    let used_bytes = match export.by {
        Measure::FileSystem => space.used_bytes,
        Measure::Quota { project } => {
            let path = export.path.clone();
            blocking(move || quota::usage(&File::open(path)?, project)).await?
        }
        Measure::Files => counted(export, space, counts).await?,
    };
    let free_bytes = match export.by {
        Measure::Quota { .. } => {
            let left = export.limit_bytes.saturating_sub(used_bytes);
            left.min(space.free_bytes)
        }
        Measure::FileSystem | Measure::Files => space.free_bytes,
    };
    Some(StorageUsage {
        used_bytes,
        free_bytes,
    })
}

async fn counted(
    export: &Measured,
    space: Space,
    counts: &mut BTreeMap<FileServerUid, Count>,
) -> Option<u64> {
    if let Some(count) = counts.get(&export.uid)
        && (count.not_before > Instant::now() || count.file_system_used_bytes == space.used_bytes)
    {
        return Some(count.used_bytes);
    }
    let (started, path) = (Instant::now(), export.path.clone());
    let used_bytes = blocking(move || {
        // For this thread only, which tokio uses again: it is given back below.
        let previous = rustix::process::getpriority_process(None)?;
        rustix::process::setpriority_process(None, 19).ok();
        let counted = count(&path, started + WALK_MAX);
        rustix::process::setpriority_process(None, previous).ok();
        counted
    })
    .await?;
    let took = started.elapsed();
    let count = Count {
        used_bytes,
        file_system_used_bytes: space.used_bytes,
        not_before: Instant::now() + WALK_PAUSE.max(took * 20),
    };
    counts.insert(export.uid.clone(), count);
    Some(used_bytes)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            tracing::debug!(%error, "cannot measure an export");
            None
        }
        Err(error) => {
            tracing::error!(%error, "measuring an export ended badly");
            None
        }
    }
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    used_bytes: u64,
    /// What others than root can still write.
    free_bytes: u64,
}

fn space(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space {
        used_bytes: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        free_bytes: bytes(found.f_bavail),
    })
}

/// The bytes that the files of one file system below a directory take on disk. Directories that
/// vanish meanwhile are no error; running out of time is.
fn count(top: &Path, deadline: Instant) -> io::Result<u64> {
    let device = top.symlink_metadata()?.dev();
    let mut waiting = vec![top.to_owned()];
    let (mut bytes, mut entries, mut links) = (0, 0_u32, HashSet::new());
    while let Some(directory) = waiting.pop() {
        let Ok(listed) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in listed {
            let Ok(metadata) = entry.and_then(|entry| {
                let metadata = entry.path().symlink_metadata()?;
                if metadata.is_dir() && metadata.dev() == device {
                    waiting.push(entry.path());
                }
                Ok(metadata)
            }) else {
                continue;
            };
            let has_names = metadata.nlink() > 1 && !metadata.is_dir();
            let is_known = has_names && !links.insert(metadata.ino());
            if metadata.dev() == device && !is_known {
                bytes += metadata.blocks() * 512;
            }
            if links.len() > LINKS_MAX || Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            entries += 1;
            if entries.is_multiple_of(WALK_STEP) {
                std::thread::sleep(WALK_REST);
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn files_are_counted_once_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (top, outside) = (folder.path().join("top"), folder.path().join("outside"));
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("large"), vec![1; 1 << 20]).unwrap();
        let empty = count(&top, soon()).unwrap();
        std::fs::write(top.join("a/b/file"), vec![1; 64 << 10]).unwrap();
        std::fs::hard_link(top.join("a/b/file"), top.join("again")).unwrap();
        std::os::unix::fs::symlink(&outside, top.join("out")).unwrap();
        let full = count(&top, soon()).unwrap();
        let file = std::fs::metadata(top.join("again")).unwrap().blocks() * 512;
        assert!(
            (empty + file..empty + file + 8192).contains(&full),
            "{full}"
        );
    }

    #[test]
    fn there_is_an_end_to_counting() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "").unwrap();
        let past = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        let error = count(folder.path(), past).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_file_system_of_its_own_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let export = Measured {
            uid: FileServerUid::new("u"),
            path: folder.path().to_owned(),
            by: Measure::FileSystem,
            limit_bytes: 1,
        };
        let usage = usage_of(&export, &mut BTreeMap::new()).await.unwrap();
        assert!(usage.free_bytes > 0);
        let gone = Measured {
            path: folder.path().join("gone"),
            ..export
        };
        assert_eq!(usage_of(&gone, &mut BTreeMap::new()).await, None);
    }
}
