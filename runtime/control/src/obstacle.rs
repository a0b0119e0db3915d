//! What keeps a job from being started: something that it mounts is gone, or it asks for what
//! this version cannot do yet. It is accepted and waits like any other, and fails when it would
//! start, before anything of it runs.

use lote_model::job::{ErrorRecord, JobProperties};
use lote_model::planned_mount::PlannedMounts;

use crate::mounts;
use crate::snapshot::{LiveJob, Snapshot};

/// The exit code of a job whose surroundings could not be made (capabilities §5.1).
pub(crate) const EXIT_CODE: i32 = -1;

/// The code of a container that was not started.
pub const CONTAINER: &str = "FailedStartingContainer";

/// What is mounted for a job, or why it cannot be started, in the order in which its surroundings
/// are made: mounts, then the container.
pub(crate) fn surroundings(
    snapshot: &Snapshot,
    job: &LiveJob,
) -> Result<PlannedMounts, ErrorRecord> {
    let mounts = mounts::plan(snapshot, job)?;
    container(&job.record.properties).map_or(Ok(mounts), Err)
}

fn container(job: &JobProperties) -> Option<ErrorRecord> {
    let container = job.container_settings.as_ref()?;
    let message = "Failed to start the container: this version of Lote cannot run containers yet; \
         submit the job without containerSettings, to run it directly on its nodes";
    Some(
        ErrorRecord::new(CONTAINER, message)
            .with("step", "container")
            .with("imageName", &container.image_source_registry.image),
    )
}

#[cfg(test)]
mod tests;
