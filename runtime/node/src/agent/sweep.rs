//! After a restart, removes what no allocation asks for: what is left of jobs
//! that ended, or were given to others, while this daemon was away.
//!
//! The directory of run records is made before anything else of a job and
//! removed after everything else, so it names all there can be. Control groups
//! are not searched: other daemons on this machine have theirs beside ours.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use lote_model::problem::explain;
use nix::sys::signal::Signal;

use super::preparation::remove_job_directory;
use super::{Node, cgroup_record};
use crate::cgroup::CgroupError;
use crate::launch::{Attached, attach, tombstone};

/// Ends and removes every run of a job that is not `expected` (job uids).
pub(super) async fn remove_strays(node: Arc<Node>, expected: BTreeSet<String>) {
    let runs = node.run_directory();
    for name in names_in(&runs) {
        let uid = name.rsplit_once('.').map_or(name.as_str(), |(uid, _)| uid);
        if expected.contains(uid) {
            continue;
        }
        tracing::info!(run = name, "ending a run that no allocation asks for");
        let records = runs.join(&name);
        end_processes(&records).await;
        if let Err(error) = remove_cgroup(&node, &records, &name).await {
            tracing::error!(
                error = explain(&error),
                name,
                "cannot remove a stray control group"
            );
            continue;
        }
        remove_directories(&node, uid);
        if let Err(error) = std::fs::remove_dir_all(&records) {
            tracing::warn!(%error, records = %records.display(), "cannot remove stray run records");
        }
    }
}

async fn end_processes(records: &Path) {
    for name in names_in(records).into_iter().filter(|name| is_record(name)) {
        let record = records.join(name);
        tombstone(&record).ok();
        if let Ok(Attached::Running(process)) = attach(&record) {
            process.signal(Signal::SIGKILL).ok();
            process.wait().await.ok();
        }
    }
}

/// Not the note about the control group, and no draft that a crash left.
fn is_record(name: &str) -> bool {
    const DRAFT: &str = ".new";
    name != cgroup_record::FILE_NAME && !name.ends_with(DRAFT)
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
