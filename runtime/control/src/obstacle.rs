//! What keeps a job from being started: something that it mounts is gone. It is accepted and waits
//! like any other, and fails when it would start, before anything of it runs. Whether its
//! container can be had is known to its nodes alone.

use lote_model::job::ErrorRecord;
use lote_model::planned_mount::PlannedMounts;

use crate::mounts;
use crate::snapshot::{LiveJob, Snapshot};

/// The exit code of a job whose surroundings could not be made (capabilities §5.1).
pub(crate) const EXIT_CODE: i32 = -1;

/// What is mounted for a job, or why it cannot be started.
pub(crate) fn surroundings(
    snapshot: &Snapshot,
    job: &LiveJob,
) -> Result<PlannedMounts, ErrorRecord> {
    mounts::plan(snapshot, job)
}

#[cfg(test)]
mod tests;
