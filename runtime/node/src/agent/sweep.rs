//! After a restart, removes what no allocation asks for: what is left of jobs
//! that ended, or were given to others, while this daemon was away.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::Signal;

use super::Node;
use super::preparation::remove_job_directory;
use super::processes::explain;
use crate::cgroup::{self, JobCgroup};
use crate::launch::{Attached, attach, tombstone};

/// Ends and removes every run of a job that is not `expected` (job uids).
pub(super) async fn remove_strays(node: Arc<Node>, expected: BTreeSet<String>) {
    let stray = |name: &str| {
        let uid = name.rsplit_once('.').map_or(name, |(uid, _)| uid);
        !expected.contains(uid)
    };
    for name in names_in(&node.run_directory()).into_iter().filter(|name| stray(name)) {
        tracing::info!(run = name, "ending a run that no allocation asks for");
        end_processes(&node.run_directory().join(&name)).await;
    }
    if let Some(layout) = &node.cgroups {
        let names = cgroup::list(layout).unwrap_or_default();
        for name in names.into_iter().filter(|name| stray(name)) {
            if let Err(error) = remove_cgroup(layout, &name).await {
                tracing::error!(error = explain(&error), name, "cannot remove a stray control group");
            }
        }
    }
    remove_directories(&node, &stray);
    for name in names_in(&node.run_directory()).into_iter().filter(|name| stray(name)) {
        std::fs::remove_dir_all(node.run_directory().join(name)).ok();
    }
}

/// Directories of jobs: `users/{user}/jobs/{job}`.
fn remove_directories(node: &Node, stray: &impl Fn(&str) -> bool) {
    let users = Path::new(&node.record.work_directory).join("users");
    for user in names_in(&users) {
        let jobs = users.join(&user).join("jobs");
        for job in names_in(&jobs).into_iter().filter(|job| stray(job)) {
            if let Err(error) = remove_job_directory(&jobs.join(&job), node.cgroups.is_some()) {
                tracing::warn!(%error, "cannot remove the directory of a stray job");
            }
        }
    }
}

async fn remove_cgroup(layout: &cgroup::CgroupLayout, name: &str) -> Result<(), cgroup::CgroupError> {
    match JobCgroup::open(layout, name)? {
        Some(cgroup) => {
            cgroup.kill().await?;
            cgroup.remove().await
        }
        None => Ok(()),
    }
}

async fn end_processes(records: &Path) {
    for name in names_in(records) {
        let record = records.join(name);
        tombstone(&record).ok();
        if let Ok(Attached::Running(process)) = attach(&record) {
            process.signal(Signal::SIGKILL).ok();
            process.wait().await.ok();
        }
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
