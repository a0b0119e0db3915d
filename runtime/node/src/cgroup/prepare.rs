//! Making the machine's hierarchies ready for jobs, once per start of the daemon.

use std::path::Path;

use super::CgroupError;
use super::files::{create_directory, read, write};
use super::layout::{CgroupLayout, Controller, DAEMON_DIRECTORY, V1Hierarchy, V2Hierarchy};

/// Takes limits of disks as `major:minor bytes`, 0 for none.
const READ_LIMIT: &str = "blkio.throttle.read_bps_device";

impl CgroupLayout {
    /// Creates the directory that holds the jobs' cgroups in each hierarchy. On v2
    /// moves the daemon into a leaf first, because a cgroup that limits its
    /// children may hold no processes itself.
    pub fn prepare(&self) -> Result<(), CgroupError> {
        self.v1.iter().try_for_each(prepare_v1)?;
        self.v2.as_ref().map_or(Ok(()), prepare_v2)
    }

    /// Removes the directories that [`prepare`](Self::prepare) created; those that
    /// still hold jobs are left.
    pub fn tidy(&self) {
        let v1 = self.v1.iter().map(|v1| &v1.jobs);
        for jobs in v1.chain(self.v2.iter().map(|v2| &v2.jobs)) {
            std::fs::remove_dir(jobs).ok();
        }
    }
}

fn prepare_v1(hierarchy: &V1Hierarchy) -> Result<(), CgroupError> {
    let jobs = &hierarchy.jobs;
    create_directory(jobs)?;
    // Old kernels count a child to its parent only where that was switched on.
    let switch = jobs.join("memory.use_hierarchy");
    let memory = hierarchy.controllers.contains(&Controller::Memory);
    if memory && read(&switch)?.is_some_and(|value| value.trim() == "0") {
        write(&switch, "1")?;
    }
    if hierarchy.controllers.contains(&Controller::Cpuset) {
        fill_cpuset(&hierarchy.base, jobs)?;
    }
    if hierarchy.controllers.contains(&Controller::Io) {
        count_transfers(jobs);
    }
    Ok(())
}

/// A new cgroup of v1 has no processors and no memory, and may give its children none.
fn fill_cpuset(base: &Path, jobs: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = read(&jobs.join(file))?;
        if own.is_some_and(|text| text.trim().is_empty()) {
            let whole = read(&base.join(file))?.unwrap_or_default();
            write(&jobs.join(file), whole.trim())?;
        }
    }
    Ok(())
}

/// Since Linux 6.10 v1 counts the transfers of a disk only once it was given a limit for some
/// cgroup. "No limit" is one.
fn count_transfers(jobs: &Path) {
    let Ok(disks) = std::fs::read_dir("/sys/block") else {
        return;
    };
    for disk in disks.flatten() {
        if let Ok(Some(number)) = read(&disk.path().join("dev")) {
            // One that takes no limit has no transfers of its own.
            write(&jobs.join(READ_LIMIT), &format!("{} 0", number.trim())).ok();
        }
    }
}

fn prepare_v2(hierarchy: &V2Hierarchy) -> Result<(), CgroupError> {
    let jobs = &hierarchy.jobs;
    create_directory(jobs)?;
    if hierarchy.controllers.is_empty() {
        return Ok(());
    }
    if !hierarchy.at_root {
        move_to_leaf(&hierarchy.base)?;
    }
    let names: Vec<_> = hierarchy
        .controllers
        .iter()
        .map(|c| format!("+{c}"))
        .collect();
    let names = names.join(" ");
    write(&hierarchy.base.join("cgroup.subtree_control"), &names)?;
    write(&jobs.join("cgroup.subtree_control"), &names)
}

fn move_to_leaf(base: &Path) -> Result<(), CgroupError> {
    let leaf = base.join(DAEMON_DIRECTORY);
    let procs = read(&base.join("cgroup.procs"))?.unwrap_or_default();
    if procs.trim().is_empty() {
        return Ok(());
    }
    create_directory(&leaf)?;
    for pid in procs.lines() {
        match write(&leaf.join("cgroup.procs"), pid) {
            // It ended meanwhile.
            Err(CgroupError::Io { source, .. })
                if source.raw_os_error() == Some(nix::libc::ESRCH) => {}
            result => result?,
        }
    }
    Ok(())
}
