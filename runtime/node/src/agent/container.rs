//! The container of a job on this node: its image is fetched and its root made before anything of
//! the job runs, and both are left after its last process.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lote_model::allocation::NodePlan;
use lote_model::container::{
    CONTAINER_ERROR, CONTAINER_EXIT_CODE, PASSWORD_POINTER, PlannedContainer,
};
use lote_model::job::ErrorRecord;
use lote_model::key;
use lote_model::problem::explain;
use lote_model::report::Outcome;

use super::process_spec::{DIRECTORY_MODE, JobContext, attempt_name};
use super::{Node, secrets};
use crate::container::{self, ContainerError, Credentials, Found, JobRoot, Place, Source};
use crate::directories;
use crate::isolation::{FsIdentity, Identity};

/// What a job's processes run in.
#[derive(Debug)]
pub(super) enum Surroundings {
    /// The node itself; programs are looked for in this directory first.
    Node(Option<PathBuf>),
    /// A container whose image is there.
    Image(Source),
    /// A container that an earlier daemon has made.
    Made,
    /// A container that cannot be had.
    Refused(ContainerError),
}

/// What the processes of a job run in. One that has started stays where it is, whatever the
/// operator's table says by now.
pub(super) fn surroundings(
    node: &Node,
    plan: &NodePlan,
    made: Option<&JobRoot>,
    has_started: bool,
) -> Surroundings {
    let Some(container) = &plan.container else {
        return Surroundings::Node(None);
    };
    if made.is_some() {
        return Surroundings::Made;
    }
    match Source::find(&node.config.containers, container) {
        Ok(Found::Node(path)) => Surroundings::Node(path),
        _ if has_started => Surroundings::Node(None),
        Ok(Found::Image(source)) => Surroundings::Image(source),
        Err(error) => Surroundings::Refused(error),
    }
}

/// Makes the container of a job, unless it has none or an earlier daemon has made it.
/// `tell` hears how it goes on.
pub(super) async fn enter(
    node: &Arc<Node>,
    job: &Arc<JobContext>,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), Outcome> {
    let Some(container) = &job.plan.container else {
        return Ok(());
    };
    let failed = |error: &str| failed(node, container, error);
    let source = match &job.surroundings {
        Surroundings::Node(_) | Surroundings::Made => return Ok(()),
        Surroundings::Refused(error) => return Err(failed(&explain(error))),
        Surroundings::Image(source) => source,
    };
    if let Some(hidden) = lost_directory(job) {
        return Err(failed(&hidden));
    }
    let Some(identity) = job.identity else {
        return Err(failed(
            "this node keeps jobs apart by nothing, because its daemon runs with --isolation none; \
             submit the job without containerSettings, or to nodes whose daemons run as root with \
             isolation",
        ));
    };
    let tell = |line: &str| {
        log(job, line);
        tell(line);
    };
    let made = make(node, job, source, container, identity, &tell).await;
    let root = made.map_err(|error| failed(&explain(&error)))?;
    job.root.set(root).ok();
    Ok(())
}

async fn make(
    node: &Arc<Node>,
    job: &Arc<JobContext>,
    source: &Source,
    container: &PlannedContainer,
    identity: Identity,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<JobRoot, ContainerError> {
    let credentials = credentials(node, job, source, container).await?;
    let place = Place::new(&node.config.data_directory, &attempt_name(&job.allocation));
    let name = source.name.clone();
    let has_gpus = !job.allocation.grant.gpus.is_empty();
    let opened = place.clone();
    let private = blocking(move || Ok(opened.open(identity.gid)?.to_owned())).await?;
    let fetched = source.fetch(&node.images, credentials.as_ref(), &private, tell);
    let held = fetched.await?;
    let made = blocking(move || place.make(&name, &held, identity, has_gpus)).await?;
    tell(&format!("container of image {} is ready", made.image));
    Ok(made)
}

/// Work on the job's root; it does not begin when nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContainerError> + Send + 'static,
) -> Result<T, ContainerError> {
    let waiting = Arc::new(());
    let waits = Arc::downgrade(&waiting);
    let work = move || {
        container::one_at_a_time(|| match waits.strong_count() {
            0 => Err(ContainerError::Strange {
                what: "nobody wants it any more".to_owned(),
            }),
            _ => work(),
        })
    };
    let done = tokio::task::spawn_blocking(work).await;
    drop(waiting);
    done.unwrap_or_else(|error| {
        Err(ContainerError::Strange {
            what: error.to_string(),
        })
    })
}

async fn credentials(
    node: &Node,
    job: &JobContext,
    source: &Source,
    container: &PlannedContainer,
) -> Result<Option<Credentials>, ContainerError> {
    let Some(username) = container.username.as_ref() else {
        return Ok(None);
    };
    if !source.needs_credentials() {
        return Ok(None);
    }
    let store_key = key::job_secrets(&job.plan.uid);
    let password = secrets::text(
        node,
        &store_key,
        PASSWORD_POINTER,
        "the password of the registry",
    );
    Ok(Some(Credentials {
        username: username.clone(),
        password: password.await.map_err(ContainerError::Password)?,
    }))
}

/// What would be written where it is gone with the container.
fn lost_directory(job: &JobContext) -> Option<String> {
    let all = std::iter::once(&job.directories.stdouterr);
    let mut all = all.chain(job.directories.outputs.iter().map(|(_, path)| path));
    let lost = all.find(|path| !Path::new(path).starts_with(&job.paths.user_root))?;
    Some(format!(
        "'{lost}' is a directory of the node, of which a container sees nothing; put output below \
         $AZ_BATCHAI_MOUNT_ROOT or $AZ_BATCHAI_JOB_MOUNT_ROOT"
    ))
}

fn failed(node: &Node, container: &PlannedContainer, reason: &str) -> Outcome {
    let message = format!("Failed to start the container: {reason}");
    Outcome::Failed {
        exit_code: Some(CONTAINER_EXIT_CODE),
        error: ErrorRecord::new(CONTAINER_ERROR, message)
            .with("node", node.config.name.as_str())
            .with("step", "container")
            .with("imageName", &container.image),
    }
}

/// Removes the container of an attempt.
pub(super) async fn leave(node: &Node, attempt: &str) {
    let (data, attempt) = (node.config.data_directory.clone(), attempt.to_owned());
    let left = tokio::task::spawn_blocking(move || container::leave(&data, &attempt)).await;
    if let Ok(Err(error)) = left {
        tracing::warn!(%error, "the container of a job stays behind");
    }
}

/// Adds a line to the launcher's log, in which it can be seen what takes long. The log may lie on a
/// disk that is full, which is no reason to fail.
fn log(job: &JobContext, line: &str) {
    tracing::debug!(line, "container");
    let told = place_of_log(job).and_then(|()| job.log(line));
    if let Err(error) = told {
        tracing::debug!(%error, "cannot write to the log of a job");
    }
}

/// Makes the directory of the log, which would come later.
fn place_of_log(job: &JobContext) -> io::Result<()> {
    if job.spool.is_some() {
        return Ok(());
    }
    // As the user: where it has planted a link, nothing is made that it could not make.
    let _rights = FsIdentity::assume_if(job.identity)?;
    let directory = job.layout.to_host(Path::new(&job.directories.stdouterr));
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
}

/// Directories that any user of a container may write to.
pub(super) fn open_to_all(path: &Path) -> io::Result<()> {
    directories::with_mode(path, 0o1777)
}
