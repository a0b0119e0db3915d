//! Whether the directories of a job have room left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lote_model::job::STDOUTERR;

use super::process_spec::JobContext;
use crate::mount::bounded;

/// Less room than this is none: what failed for want of it seldom used up the last byte.
const ROOM_MIN_BYTES: u64 = 1 << 20;

/// How long a file system may take to say how full it is.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A directory of a job without room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FullDirectory {
    /// The id of an output directory, `stdouterr`, or `scratch`.
    pub(super) id: String,
    /// Where the job sees it.
    pub(super) path: String,
}

/// The first directory that a job writes to and that has no room left.
pub(super) async fn full_directory(job: &JobContext) -> Option<FullDirectory> {
    let own = [
        (STDOUTERR, &job.directories.stdouterr),
        ("scratch", &job.paths.scratch),
    ];
    let outputs = job.directories.outputs.iter();
    let outputs = outputs.map(|(id, path)| (id.as_str(), path));
    let places: Vec<(FullDirectory, PathBuf)> = outputs
        .chain(own)
        .map(|(id, path)| {
            let directory = FullDirectory {
                id: id.to_owned(),
                path: path.clone(),
            };
            (directory, job.layout.to_host(Path::new(path)))
        })
        .collect();
    let find = move || {
        let mut places = places.into_iter();
        places.find(|(_, path)| is_full(path))
    };
    // A server that is away says nothing, and is another matter.
    let found = bounded(ANSWER_MAX, find).await.flatten();
    found.map(|(directory, _)| directory)
}

/// `false` also if there is no telling.
fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|room| {
        let bytes = room.f_bavail.saturating_mul(room.f_frsize);
        bytes < ROOM_MIN_BYTES || (room.f_files > 0 && room.f_favail == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_not_full() {
        assert!(!is_full(Path::new("/nowhere/at/all")));
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_full(folder.path()));
    }
}
