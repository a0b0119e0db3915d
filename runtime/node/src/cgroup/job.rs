//! The cgroup of one job.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::CgroupError;
use super::files::{self, create_directory};
use super::filter;
use super::layout::{CgroupLayout, Controller, DeviceControl, V1Hierarchy};
use super::limits::{Limits, MEMORY_BYTES_MIN};

/// How long, and how often, a directory is tried that the kernel calls busy.
const REMOVAL_MAX: Duration = Duration::from_secs(30);
const REMOVAL_INTERVAL: Duration = Duration::from_millis(1);

/// The directories of one job, one per hierarchy in use. Holding it keeps nothing
/// alive and dropping it removes nothing. It can be stored and read back, so the
/// cgroup is found again even if a later daemon starts elsewhere in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCgroup {
    pub(super) v1: Vec<(Vec<Controller>, PathBuf)>,
    pub(super) v2: Option<PathBuf>,
}

impl JobCgroup {
    /// Creates the job's cgroup and sets its limits. One left over from a crash
    /// between creation and start is taken over.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Unsupported`] for a limit this machine cannot keep; nothing
    /// is created then.
    pub fn create(layout: &CgroupLayout, name: &str, limits: &Limits) -> Result<Self, CgroupError> {
        check_supported(layout, limits)?;
        let cgroup = Self::paths(layout, name, |hierarchy| needed(hierarchy, layout, limits))?;
        match cgroup.build(layout, limits) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                cgroup.remove_directories().ok();
                Err(error)
            }
        }
    }

    /// The cgroup of a job that was created before, in whatever hierarchies it
    /// exists. `None` if it exists in none.
    pub fn open(layout: &CgroupLayout, name: &str) -> Result<Option<Self>, CgroupError> {
        let mut cgroup = Self::paths(layout, name, |_| true)?;
        cgroup.v1.retain(|(_, directory)| directory.is_dir());
        cgroup.v2 = cgroup.v2.filter(|directory| directory.is_dir());
        let exists = cgroup.directories().next().is_some();
        Ok(exists.then_some(cgroup))
    }

    /// Whether all its directories are there.
    pub fn exists(&self) -> bool {
        self.directories().all(Path::is_dir)
    }

    /// A cgroup below this one, for one process of the job: its own account, and
    /// a kill of its own. The limits of the job hold for all together.
    pub fn child(&self, name: &str) -> Result<Self, CgroupError> {
        check_name(name)?;
        let child = Self {
            v1: self
                .v1
                .iter()
                .map(|(c, directory)| (c.clone(), directory.join(name)))
                .collect(),
            v2: self.v2.as_ref().map(|directory| directory.join(name)),
        };
        child.directories().try_for_each(create_directory)?;
        Ok(child)
    }

    /// The files a process writes `0` to in order to join. The one that
    /// [`kill`](Self::kill) uses comes first, so a process that has joined
    /// anything can be killed.
    pub fn procs_files(&self) -> Vec<PathBuf> {
        self.directories()
            .map(|directory| directory.join("cgroup.procs"))
            .collect()
    }

    /// Removes the directories. Processes that are still inside are killed.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Undead`] or [`CgroupError::Io`] if that does not succeed in
    /// half a minute.
    pub async fn remove(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + REMOVAL_MAX;
        loop {
            match self.remove_directories() {
                Err(error) if error.is_busy() && Instant::now() < deadline => self.kill().await?,
                result => return result,
            }
            // Empty, but the kernel has not noticed yet.
            tokio::time::sleep(REMOVAL_INTERVAL).await;
        }
    }

    /// All directories, the one for killing first.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.v2
            .iter()
            .map(PathBuf::as_path)
            .chain(self.v1.iter().map(|(_, d)| d.as_path()))
    }

    fn paths(
        layout: &CgroupLayout,
        name: &str,
        keep: impl Fn(&V1Hierarchy) -> bool,
    ) -> Result<Self, CgroupError> {
        check_name(name)?;
        let v1 = layout.v1.iter().filter(|hierarchy| keep(hierarchy));
        let mut v1: Vec<_> = v1
            .map(|h| (h.controllers.clone(), h.jobs.join(name)))
            .collect();
        v1.sort_by_key(|(controllers, _)| !controllers.contains(&Controller::Freezer));
        Ok(Self {
            v1,
            v2: layout.v2.as_ref().map(|v2| v2.jobs.join(name)),
        })
    }

    fn build(&self, layout: &CgroupLayout, limits: &Limits) -> Result<(), CgroupError> {
        if let (Some(directory), Some(v2)) = (&self.v2, &layout.v2) {
            create_directory(directory)?;
            v2.controllers
                .iter()
                .try_for_each(|c| limits.set(*c, directory, true))?;
            if let (Some(rules), DeviceControl::Filter) = (&limits.devices, &layout.device_control)
            {
                filter::attach(directory, rules)?;
            }
        }
        for (controllers, directory) in &self.v1 {
            create_directory(directory)?;
            controllers
                .iter()
                .try_for_each(|c| limits.set(*c, directory, false))?;
        }
        Ok(())
    }

    fn remove_directories(&self) -> Result<(), CgroupError> {
        self.directories().try_for_each(remove_tree)
    }
}

/// The names of the jobs that have a cgroup, for cleaning up after a crash.
pub fn list(layout: &CgroupLayout) -> Result<BTreeSet<String>, CgroupError> {
    let v1 = layout.v1.iter().map(|v1| &v1.jobs);
    let mut names = BTreeSet::new();
    for directory in v1.chain(layout.v2.iter().map(|v2| &v2.jobs)) {
        names.extend(child_names(directory)?);
    }
    Ok(names)
}

/// Which v1 hierarchies do something for a job with these limits.
fn needed(hierarchy: &V1Hierarchy, layout: &CgroupLayout, limits: &Limits) -> bool {
    hierarchy
        .controllers
        .iter()
        .any(|controller| match controller {
            // Those of io are for the account of each job.
            Controller::Memory | Controller::Io => true,
            Controller::Cpu | Controller::Pids | Controller::Cpuset => {
                limits.asked().any(|(asked, _)| asked == *controller)
            }
            Controller::Devices => {
                limits.devices.is_some() && layout.device_control == DeviceControl::Controller
            }
            Controller::Cpuacct | Controller::Freezer => layout.v2.is_none(),
        })
}

fn check_supported(layout: &CgroupLayout, limits: &Limits) -> Result<(), CgroupError> {
    if let Some((controller, what)) = limits.asked().find(|(c, _)| !layout.has(*c)) {
        return Err(CgroupError::Unsupported {
            what,
            reason: layout.lack(controller),
        });
    }
    if let (Some(_), DeviceControl::Missing(reason)) = (&limits.devices, &layout.device_control) {
        return Err(CgroupError::Unsupported {
            what: "which devices are opened",
            reason: reason.clone(),
        });
    }
    match limits.memory_bytes {
        Some(bytes) if bytes < MEMORY_BYTES_MIN => Err(CgroupError::Unsupported {
            what: "memory",
            reason: format!("{bytes} bytes are less than a process needs; ask for 1 MiB or more"),
        }),
        _ => Ok(()),
    }
}

pub(super) fn check_name(name: &str) -> Result<(), CgroupError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let usable = name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    // Names of the kernel's own files begin with a controller and a dot.
    if usable && name.len() <= 200 && !name.starts_with("cgroup.") {
        return Ok(());
    }
    Err(CgroupError::Name { name: name.into() })
}

/// Removes a cgroup with its children, deepest first.
pub(super) fn remove_tree(directory: &Path) -> Result<(), CgroupError> {
    match std::fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    for name in child_names(directory)? {
        remove_tree(&directory.join(name))?;
    }
    match std::fs::remove_dir(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(files::error("remove the cgroup", directory, source))
        }
        _ => Ok(()),
    }
}

/// The names of the cgroups in a directory.
pub(super) fn child_names(directory: &Path) -> Result<Vec<String>, CgroupError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(files::error("list", directory, source)),
    };
    let directories = entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    Ok(directories
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}
