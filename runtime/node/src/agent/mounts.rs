//! The file systems of a job on this node: mounted before its directories are made, left after
//! its last process.

use std::path::Path;
use std::time::Duration;

use lote_model::job::{DirectoryLocation, ErrorRecord};
use lote_model::planned_mount::{
    FileServerSource, GANG_SHARE_ERROR, MOUNT_EXIT_CODE, PlannedMounts,
};
use lote_model::report::Outcome;

use super::process_spec::{JobContext, attempt_name};
use super::{Node, secrets};
use crate::export;
use crate::isolation::Identity;
use crate::mount::{self, Made, Making, known, scratch};

/// How long the shared directory of a gang may take to be removed, with all that is in it.
const REMOVAL_MAX: Duration = Duration::from_mins(2);

/// Mounts what the job asks for, or finds what an earlier daemon has mounted for it. `tell` hears
/// how it goes on.
pub(super) async fn mount(
    node: &Node,
    job: &JobContext,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Vec<Made>, Outcome> {
    if job.plan.mounts.is_empty() {
        return Ok(Vec::new());
    }
    if job.has_started() {
        return Ok(known(&job.layout.directory));
    }
    let identity = job
        .identity
        .ok_or_else(|| failed(not_isolated(node, &job.plan.mounts)))?;
    if let Some(share) = job.plan.mounts.share() {
        tell("waiting for the directory that its nodes share");
        serve_share(node, job, share).await.map_err(failed)?;
    }
    let making = Making {
        config: &node.config.mounts,
        node: &node.config.name,
        layout: &job.layout,
        identity,
        keys: secrets::account_keys(node, &job.plan, &job.layout.mounts).await,
    };
    let made = making.mount(tell).await.map_err(failed)?;
    share_scratch(node, job, identity).await.map_err(failed)?;
    Ok(made)
}

/// The first node serves what the gang shares; the others wait until it does.
async fn serve_share(
    node: &Node,
    job: &JobContext,
    share: &FileServerSource,
) -> Result<(), ErrorRecord> {
    let own = node.config.name.as_str();
    if share.node == node.config.name {
        let others = job
            .plan
            .gang
            .iter()
            .filter(|it| it.node != node.config.name);
        let clients = others.map(|member| member.address.clone()).collect();
        let name = attempt_name(&job.allocation);
        let served = node.shares.serve(&name, job.plan.unix_id, clients).await;
        return served.map_err(|error| error.with("node", own));
    }
    if export::wait_until_served(&share.address, &share.point).await {
        return Ok(());
    }
    let message = format!(
        "the {} is not served: node '{}' does not answer at port {}, or not to this node; see that \
         its NFS server can be reached from here",
        share.name, share.node, share.point.nfs_port
    );
    Err(ErrorRecord::new(GANG_SHARE_ERROR, message)
        .with("node", own)
        .with("step", "mount"))
}

fn failed(error: ErrorRecord) -> Outcome {
    Outcome::Failed {
        exit_code: Some(MOUNT_EXIT_CODE),
        error,
    }
}

/// Without isolation every process of the machine would see the files, and nothing could be
/// mounted without root.
fn not_isolated(node: &Node, mounts: &PlannedMounts) -> ErrorRecord {
    let first = mounts.cluster.iter().chain(&mounts.job).next();
    let code = first.map_or("MountError", |mount| mount.source.error_code());
    let message = "this node mounts no file systems, because its daemon runs with --isolation \
                   none; run the job without mountVolumes, or on nodes whose daemons run as root \
                   with isolation";
    let error = ErrorRecord::new(code, message).with("node", node.config.name.as_str());
    let error = error.with("step", "mount");
    match first {
        Some(mount) => error.with("relativeMountPath", &mount.relative_path),
        None => error,
    }
}

/// The directory that the nodes of a gang share, if they have one.
async fn share_scratch(
    node: &Node,
    job: &JobContext,
    identity: Identity,
) -> Result<(), ErrorRecord> {
    let on_server = job.paths.shared_scratch.as_ref();
    let Some(path) = on_server.filter(|_| job.plan.mounts.share().is_none()) else {
        return Ok(());
    };
    let Some((placed, _)) = job.layout.innermost(path) else {
        return Ok(());
    };
    let mount = job.layout.host_path(placed);
    let name = attempt_name(&job.allocation);
    let limit = node.config.mounts.time_limit;
    let made = scratch::make(&mount, &name, identity, limit).await;
    made.map_err(|error| {
        let message = format!(
            "the directory that the nodes of the job share cannot be made on the file server at \
             '{}': {error}; the workspace's user must be able to write there",
            placed.relative
        );
        ErrorRecord::new(placed.source.error_code(), message)
            .with("node", node.config.name.as_str())
            .with("step", "mount")
            .with("relativeMountPath", &placed.relative)
    })
}

/// Unmounts everything of the job. The first node takes the shared directory away.
pub(super) async fn leave(node: &Node, job: &JobContext) {
    // A container has its place among them.
    if job.plan.mounts.is_empty() && job.plan.container.is_none() {
        return;
    }
    let name = attempt_name(&job.allocation);
    if job.plan.rank == 0
        && job.plan.mounts.share().is_none()
        && let (Some(path), Some(identity)) = (&job.paths.shared_scratch, job.identity)
        && let Some((placed, _)) = job.layout.innermost(path)
        && known(&job.layout.directory)
            .iter()
            .any(|made| made.root == placed.root && made.relative == placed.relative)
    {
        let mount = job.layout.host_path(placed);
        if let Err(error) = scratch::remove(&mount, &name, identity, REMOVAL_MAX).await {
            tracing::warn!(%error, job = %job.plan.job, "the shared directory of a job stays behind");
        }
    }
    mount::leave(&node.config.data_directory, &name).await;
}

/// Ends what this node serves to the others of the gang, and removes it.
pub(super) async fn end_share(node: &Node, job: &JobContext) {
    let share = job.plan.mounts.share();
    if share.is_some_and(|share| share.node == node.config.name) {
        node.shares.remove(&attempt_name(&job.allocation)).await;
    }
}

/// Where the job's directories lie.
pub(super) fn locations<'a>(
    node: &Node,
    job: &JobContext,
    made: &[Made],
    directories: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<DirectoryLocation> {
    let name = &node.config.name;
    let location = |(id, path)| mount::location(&job.layout, made, name, id, path);
    directories.map(location).collect()
}

/// Where everything of an attempt is mounted.
pub(super) fn layout(
    data_directory: &Path,
    attempt: &str,
    mounts: &PlannedMounts,
    paths: &lote_model::environment::JobPaths,
) -> mount::Layout {
    // As the kernel names what is mounted there.
    let data_directory = mount::resolved(data_directory);
    mount::Layout::new(&data_directory, attempt, mounts, paths)
}
