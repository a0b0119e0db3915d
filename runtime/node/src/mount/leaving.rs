//! The directory of an attempt's mounts, from its making to its end.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lote_model::planned_mount::MountRoot;

use super::kernel::{self, Leaving, Point};
use super::layout::MOUNTS;
use super::{resolved, state};
use crate::directories;
use crate::mount::state::Made;

/// How long unmounting something may take: the last data goes to its server then, which may just
/// be starting again.
const UNMOUNT_MAX: Duration = Duration::from_mins(3);

/// How long it may take when its data is given up.
const FORCE_MAX: Duration = Duration::from_secs(10);

/// How often what is mounted is looked at again: what is covered shows when what covers it is gone.
const PASSES_MAX: usize = 5;

/// Held while directories of attempts come and go: the last one takes the file system in memory
/// with it.
static AREA: Mutex<()> = Mutex::new(());

/// Where what lies below another file system is mounted first.
pub(super) fn stage(directory: &Path) -> PathBuf {
    directory.join("stage")
}

/// Makes the directory of an attempt's mounts, on a file system in memory: mounts end with the
/// machine, and so does that. The job's user may pass through, because its files are read with its
/// rights; jobs see nothing of it, their own mounts apart.
pub(crate) fn open(directory: &Path, gid: u32) -> io::Result<()> {
    let _guard = AREA.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(area) = directory.parent() {
        directories::with_mode(area, 0o711)?;
        if !kernel::is_mount_point(area)? {
            kernel::mount_memory(area)?;
        }
    }
    directories::with_mode(directory, 0o710)?;
    chown(directory, Some(0), Some(gid))?;
    for name in ["cluster", "job", "own"] {
        directories::with_mode(&directory.join(name), 0o755)?;
    }
    directories::with_mode(&stage(directory), 0o700)
}

/// Unmounts everything of the attempt of this name. `false` if something is still mounted.
pub(crate) async fn leave(data_directory: &Path, attempt: &str) -> bool {
    leave_directory(&resolved(data_directory).join(MOUNTS).join(attempt)).await
}

pub(super) async fn leave_directory(directory: &Path) -> bool {
    if fs::symlink_metadata(directory).is_err() {
        return true;
    }
    let made = state::read(directory);
    for _ in 0..PASSES_MAX {
        match kernel::points_in(directory) {
            Ok(points) if points.is_empty() => break,
            Ok(points) => {
                for point in points {
                    unmount(&point, &made).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot tell what is mounted for a job");
                return false;
            }
        }
    }
    for client in made.iter().filter_map(|made| made.client) {
        client.end().await;
    }
    let removed = {
        let directory = directory.to_owned();
        tokio::task::spawn_blocking(move || remove(&directory)).await
    };
    match removed {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, directory = %directory.display(), "mounts of a job stay behind");
            false
        }
        Err(_) => false,
    }
}

/// Unmounts it whatever happens to it, and says so if it is not as usual.
async fn unmount(point: &Point, made: &[Made]) {
    let leave = |limit, how| {
        let path = point.path.clone();
        kernel::bounded(limit, move || kernel::leave(&path, how))
    };
    let path = point.path.display();
    // What jobs share goes with them: nobody needs its last data, and its server may be gone.
    let is_shared =
        |made: &&Made| made.root == MountRoot::Own && point.path.ends_with(&made.relative);
    if let Some(shared) = made.iter().find(is_shared) {
        if let Some(client) = shared.client {
            client.kill();
        }
        leave(FORCE_MAX, Leaving::ByForce).await;
        return;
    }
    match leave(UNMOUNT_MAX, Leaving::Unused).await {
        Some(Ok(())) => return,
        Some(Err(error)) => {
            tracing::warn!(%error, %path, "a file system of a job is in use; it is unmounted lazily");
        }
        None => {
            tracing::warn!(%path, "a file system of a job does not answer; it is unmounted by force");
            made.iter()
                .filter_map(|made| made.client)
                .for_each(super::client::Client::kill);
            leave(FORCE_MAX, Leaving::ByForce).await;
        }
    }
    if let Some(Err(error)) = leave(FORCE_MAX, Leaving::Lazily).await {
        tracing::warn!(%error, %path, "a file system of a job cannot be unmounted");
    }
}

/// Removes the directory of an attempt that had no file systems to leave, and says so if it
/// cannot.
pub(crate) fn close(directory: &Path) {
    if let Err(error) = remove(directory) {
        tracing::warn!(%error, directory = %directory.display(), "the place of mounts stays behind");
    }
}

/// Removes the directory when nothing is mounted there any more, and the file system in memory
/// with the last one.
fn remove(directory: &Path) -> io::Result<()> {
    let _guard = AREA.lock().unwrap_or_else(PoisonError::into_inner);
    if !kernel::points_in(directory)?.is_empty() {
        return Err(io::Error::other("something is mounted there"));
    }
    let Some(area) = directory.parent() else {
        return Ok(());
    };
    empty(directory, fs::symlink_metadata(area)?.dev())?;
    fs::remove_dir(directory)?;
    if fs::read_dir(area)?.next().is_none() && kernel::is_mount_point(area)? {
        // Nothing is in it, so nothing is lost if another name space holds on to it.
        if kernel::leave(area, Leaving::Unused).is_err() {
            kernel::leave(area, Leaving::Lazily)?;
        }
        fs::remove_dir(area).ok();
    }
    Ok(())
}

/// Removes what is in a directory, as long as it is on this device: nothing else is ours.
fn empty(directory: &Path, device: u64) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.dev() != device {
            return Err(io::Error::other("another file system is there"));
        }
        if metadata.is_dir() {
            empty(&path, device)?;
            fs::remove_dir(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Lets go of all that is mounted below a directory that is about to be removed, so that the
/// removal walks into nothing that is somebody else's. Blocks.
///
/// # Errors
///
/// If something stays mounted there.
pub(crate) fn detach_below(directory: &Path) -> io::Result<()> {
    let directory = resolved(directory);
    let points = kernel::points_in(&directory)?;
    if points.is_empty() {
        return Ok(());
    }
    for point in points {
        tracing::warn!(path = %point.path.display(), "something is mounted in the directory of a job; it is unmounted");
        kernel::leave(&point.path, Leaving::Lazily)?;
    }
    match kernel::points_in(&directory)?.first() {
        None => Ok(()),
        Some(point) => Err(io::Error::other(format!(
            "{} is still mounted",
            point.path.display()
        ))),
    }
}
