//! At the daemon's start, removes what no allocation asks for: what is left of jobs that
//! ended, or were given to others, while no daemon was here.
//!
//! The directory of run records is made before anything else of a job and
//! removed after everything else, so it names all there can be. Control groups
//! are not searched: other daemons on this machine have theirs beside ours.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lote_model::problem::explain;
use nix::sys::signal::Signal;

use super::allocations::Listed;
use super::preparation::remove_job_directory;
use super::{Node, cgroup_record, container};
use crate::cgroup::CgroupError;
use crate::container::strays;
use crate::directories;
use crate::gpu::METERS_FILE;
use crate::launch::{Attached, attach, is_pipe, tombstone};
use crate::mount::{self, MOUNTS};

/// How long a process may take to die of SIGKILL before that is an error.
const DEATH_MAX: Duration = Duration::from_secs(30);

/// How long the start of the node waits for a file system to be unmounted; then it goes on beside.
const UNMOUNT_WAIT: Duration = Duration::from_secs(20);

/// Ends and removes every run of an attempt that is not `listed`. `false` if something of one
/// may still run.
///
/// Output of jobs stays: it is not in their own directories, which are removed here as they
/// are at the end of a job.
pub(super) async fn remove_strays(node: &Arc<Node>, listed: &Listed) -> bool {
    let mut all_ended = true;
    let runs = node.run_directory();
    leave_strange_mounts(node, &runs).await;
    end_strange_shares(node, listed);
    let (ours, strays): (Vec<String>, Vec<String>) = names_in(&runs)
        .into_iter()
        .partition(|name| listed.has_run(name));
    for name in strays {
        tracing::info!(run = name, "ending a run that no allocation asks for");
        let records = runs.join(&name);
        all_ended &= end_processes(&records).await;
        if let Err(error) = remove_cgroup(node, &records, &name).await {
            tracing::error!(
                error = explain(&error),
                name,
                "cannot remove a stray control group"
            );
            all_ended = false;
            continue;
        }
        leave_mounts(node, &name).await;
        // All attempts of a job have one directory.
        let uid = job_of(&name).to_owned();
        let is_in_use = ours.iter().any(|run| job_of(run) == uid);
        let node = Arc::clone(node);
        let removed = tokio::task::spawn_blocking(move || {
            if !is_in_use {
                remove_directories(&node, &uid);
            }
            if let Err(error) = directories::remove(&node.peer_directory(&name)) {
                tracing::warn!(%error, name, "what a stray run saw of remote starts stays behind");
            }
            if let Err(error) = std::fs::remove_dir_all(&records) {
                tracing::warn!(%error, records = %records.display(), "cannot remove stray run records");
            }
        });
        removed.await.ok();
    }
    all_ended
}

/// Unmounts what belongs to no run: a step of mounting may come to its end when nobody waits for
/// it any more.
async fn leave_strange_mounts(node: &Node, runs: &Path) {
    let data = &node.config.data_directory;
    for name in names_in(&data.join(MOUNTS)).into_iter().chain(strays(data)) {
        if !runs.join(&name).exists() {
            leave_mounts(node, &name).await;
        }
    }
}

/// Ends what this node shared for attempts that have no allocation any more. Beside the start of the
/// node, because its NFS server may have to be told.
fn end_strange_shares(node: &Arc<Node>, listed: &Listed) {
    let mut names = node.shares.names();
    names.retain(|name| !listed.has_run(name));
    for name in names {
        let shares = Arc::clone(&node.shares);
        tokio::spawn(async move { shares.remove(&name).await });
    }
}

/// Unmounts what a run had, unless output of it still goes there. Nothing of it runs any more, so a
/// server that is away keeps no node from its work.
async fn leave_mounts(node: &Node, run: &str) {
    container::leave(node, run).await;
    if node.has_spool(run) {
        return;
    }
    let (data, run) = (node.config.data_directory.clone(), run.to_owned());
    let leaving = tokio::spawn(async move { mount::leave(&data, &run).await });
    if tokio::time::timeout(UNMOUNT_WAIT, leaving).await.is_err() {
        tracing::warn!("file systems of a stray run do not answer; they are unmounted beside");
    }
}

/// The job of a run, which is named `{uid}.{attempt}`.
fn job_of(run: &str) -> &str {
    run.rsplit_once('.').map_or(run, |(uid, _)| uid)
}

/// `false` if a process does not die.
async fn end_processes(records: &Path) -> bool {
    let mut all_ended = true;
    for name in names_in(records).into_iter().filter(|name| is_record(name)) {
        let record = records.join(name);
        tombstone(&record).ok();
        if let Ok(Attached::Running(process)) = attach(&record) {
            process.signal(Signal::SIGKILL).ok();
            let ended = tokio::time::timeout(DEATH_MAX, process.wait()).await;
            all_ended &= ended.is_ok();
        }
    }
    all_ended
}

/// Not the notes about the control group and the GPUs, no pipe, and no draft that a crash left.
fn is_record(name: &str) -> bool {
    const DRAFT: &str = ".new";
    let is_note = [cgroup_record::FILE_NAME, METERS_FILE].contains(&name);
    !is_note && !name.ends_with(DRAFT) && !is_pipe(name)
}

async fn remove_cgroup(node: &Node, records: &Path, name: &str) -> Result<(), CgroupError> {
    let Some(layout) = &node.cgroups else {
        return Ok(());
    };
    match cgroup_record::open(records, layout, name)? {
        Some(cgroup) => {
            cgroup.kill().await?;
            cgroup.remove().await
        }
        None => Ok(()),
    }
}

/// The job's directory, whichever user it belongs to: `users/{user}/jobs/{job}`.
fn remove_directories(node: &Node, uid: &str) {
    let users = Path::new(&node.record.work_directory).join("users");
    for user in names_in(&users) {
        let job = users.join(&user).join("jobs").join(uid);
        if let Err(error) = remove_job_directory(&job, node.cgroups.is_some()) {
            tracing::warn!(%error, "cannot remove the directory of a stray job");
        }
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
