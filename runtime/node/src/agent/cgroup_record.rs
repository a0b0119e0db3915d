//! Remembers where a job's control group is: a daemon that is started again may
//! itself be somewhere else in the tree.

use std::path::Path;

use crate::cgroup::{CgroupError, CgroupLayout, JobCgroup, Limits};

/// The file in the directory of an attempt's run records.
pub(super) const FILE_NAME: &str = "cgroup.json";

/// The job's control group, found or made; remembered before anything joins it.
pub(super) fn open_or_create(
    records: &Path,
    layout: &CgroupLayout,
    name: &str,
    limits: &Limits,
) -> Result<JobCgroup, CgroupError> {
    if let Some(cgroup) = remembered(records).filter(JobCgroup::exists) {
        return Ok(cgroup);
    }
    let cgroup = JobCgroup::create(layout, name, limits)?;
    remember(records, &cgroup)?;
    Ok(cgroup)
}

/// The job's control group, if there is one.
pub(super) fn open(
    records: &Path,
    layout: &CgroupLayout,
    name: &str,
) -> Result<Option<JobCgroup>, CgroupError> {
    match remembered(records) {
        Some(cgroup) => Ok(Some(cgroup)),
        None => JobCgroup::open(layout, name),
    }
}

fn remembered(records: &Path) -> Option<JobCgroup> {
    serde_json::from_slice(&std::fs::read(records.join(FILE_NAME)).ok()?).ok()
}

fn remember(records: &Path, cgroup: &JobCgroup) -> Result<(), CgroupError> {
    let path = records.join(FILE_NAME);
    let written = serde_json::to_vec(cgroup)
        .map_err(std::io::Error::from)
        .and_then(|text| std::fs::write(&path, text));
    written.map_err(|source| CgroupError::Io {
        action: "write".into(),
        path,
        source,
    })
}
