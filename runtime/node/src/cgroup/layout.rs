//! Which cgroup hierarchies this machine has and where ours are in them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::job::check_name;
use super::{CgroupError, files, filter};

/// Directory that holds the cgroups of all jobs, in each hierarchy, unless
/// [`CgroupLayout::in_directory`] names another.
const JOBS_DIRECTORY: &str = "lote";
/// What to say where neither version can restrict devices.
const NO_DEVICE_CONTROL: &str =
    "neither the controller 'devices' of cgroup v1 nor a cgroup2 hierarchy for filters is mounted";
/// Where the daemon goes on v2, which allows processes only in leaves.
pub(super) const DAEMON_DIRECTORY: &str = "lote-daemon";

/// A kind of resource control that jobs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controller {
    /// Shares and quota of processor time.
    Cpu,
    /// Account of processor time (v1 only; v2 always keeps one).
    Cpuacct,
    /// Memory limit and account.
    Memory,
    /// Number of processes and threads.
    Pids,
    /// Stopping all processes at once (v1 only; v2 always can).
    Freezer,
    /// Which processors and which memory are used.
    Cpuset,
    /// Account and weight of disk transfers (`blkio` on v1, `io` on v2).
    Io,
    /// Which device files can be opened (v1 only; v2 has filters instead).
    Devices,
}

/// By what the kernel keeps a job from opening devices that it was not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceControl {
    /// The controller `devices` of v1.
    Controller,
    /// A filter program at each job's cgroup of v2.
    Filter,
    /// Nothing, and why.
    Missing(String),
}

/// What the layout is detected from; tests give a tree of their own.
#[derive(Debug, Clone)]
pub struct LayoutSource {
    /// Contents of `/proc/self/mountinfo`.
    pub mountinfo: String,
    /// Contents of `/proc/self/cgroup`.
    pub own_cgroups: String,
    /// Put before every mount point; `/` on a real machine.
    pub root: PathBuf,
}

/// The hierarchies in use. Cheap to clone, valid for the life of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupLayout {
    pub(super) v1: Vec<V1Hierarchy>,
    pub(super) v2: Option<V2Hierarchy>,
    pub(super) device_control: DeviceControl,
}

/// A v1 hierarchy with at least one controller of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct V1Hierarchy {
    pub(super) controllers: Vec<Controller>,
    /// Our own cgroup in it.
    pub(super) base: PathBuf,
    /// The parent of the jobs' cgroups, below the base.
    pub(super) jobs: PathBuf,
}

/// The v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct V2Hierarchy {
    /// Controllers of interest that may be given to children.
    pub(super) controllers: Vec<Controller>,
    pub(super) base: PathBuf,
    /// The parent of the jobs' cgroups, below the base.
    pub(super) jobs: PathBuf,
    /// The base is the root of the hierarchy, where processes may stay.
    pub(super) at_root: bool,
}

/// What is in force on this machine, for people and the node's resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutSummary {
    /// `v1`, `hybrid`, `v2` or `none`.
    pub version: String,
    /// Controllers that limits can use.
    pub controllers: Vec<Controller>,
    /// One sentence for each thing this machine cannot do.
    pub missing: Vec<String>,
}

impl LayoutSource {
    /// This machine.
    pub fn host() -> Result<Self, CgroupError> {
        let read = |path: &str| Ok(files::read(Path::new(path))?.unwrap_or_default());
        Ok(Self {
            mountinfo: read("/proc/self/mountinfo")?,
            own_cgroups: read("/proc/self/cgroup")?,
            root: PathBuf::from("/"),
        })
    }
}

impl CgroupLayout {
    /// Finds the hierarchies. Changes nothing: see [`prepare`](Self::prepare).
    pub fn detect(source: &LayoutSource) -> Result<Self, CgroupError> {
        let mut layout = Self {
            v1: Vec::new(),
            v2: None,
            device_control: DeviceControl::Missing(NO_DEVICE_CONTROL.into()),
        };
        for mount in source.mountinfo.lines().filter_map(CgroupMount::parse) {
            let own = own_path(&source.own_cgroups, &mount);
            let base = mount.directory(&source.root, own.as_deref().unwrap_or("/"));
            if mount.v2 {
                layout.v2 = Some(V2Hierarchy::detect(
                    base,
                    &mount.directory(&source.root, "/"),
                )?);
            } else if !mount.controllers.is_empty() && !layout.has_v1(&mount.controllers) {
                let jobs = base.join(JOBS_DIRECTORY);
                layout.v1.push(V1Hierarchy {
                    controllers: mount.controllers,
                    base,
                    jobs,
                });
            }
        }
        if layout.has_v1(&[Controller::Devices]) {
            layout.device_control = DeviceControl::Controller;
        }
        Ok(layout)
    }

    /// Keeps the jobs' cgroups in a directory of another name. Daemons that share
    /// a machine need different ones, or each takes the other's jobs for its own
    /// leftovers.
    pub fn in_directory(mut self, name: &str) -> Result<Self, CgroupError> {
        check_name(name)?;
        self.v1
            .iter_mut()
            .for_each(|v1| v1.jobs = v1.base.join(name));
        self.v2
            .iter_mut()
            .for_each(|v2| v2.jobs = v2.base.join(name));
        Ok(self)
    }

    /// Tries whether the kernel takes filters of devices, and uses these rather than the
    /// controller of v1: they cost a job's start a tenth. To be called once, after
    /// [`prepare`](Self::prepare).
    #[must_use]
    pub fn with_device_filter(mut self) -> Self {
        let Some(v2) = &self.v2 else { return self };
        match (filter::probe(&v2.jobs), &self.device_control) {
            (Ok(()), _) => self.device_control = DeviceControl::Filter,
            (Err(error), DeviceControl::Missing(_)) => {
                self.device_control = DeviceControl::Missing(lote_model::problem::explain(&error));
            }
            (Err(_), _) => {}
        }
        self
    }

    /// By what devices are restricted here.
    pub fn device_control(&self) -> &DeviceControl {
        &self.device_control
    }

    /// What can and cannot be done here.
    pub fn describe(&self) -> LayoutSummary {
        let version = match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => "v2",
            (Some(_), false) => "hybrid",
            (None, false) => "v1",
            (None, true) => "none",
        };
        let all = [
            Controller::Cpu,
            Controller::Memory,
            Controller::Pids,
            Controller::Cpuset,
            Controller::Io,
        ];
        let (controllers, missing): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|controller| self.has(*controller));
        let mut missing: Vec<String> = missing
            .into_iter()
            .map(|controller| self.lack(controller))
            .collect();
        if self.v2.is_none() && !self.has(Controller::Freezer) {
            missing.push(
                "no cgroup2 and no freezer: a job that forks fast may outrun its kill".into(),
            );
        }
        LayoutSummary {
            version: version.into(),
            controllers,
            missing,
        }
    }

    /// Whether a controller is available in any hierarchy.
    pub fn has(&self, controller: Controller) -> bool {
        self.has_v1(&[controller]) || self.v2_has(controller)
    }

    /// Why a controller is not available.
    pub(super) fn lack(&self, controller: Controller) -> String {
        match &self.v2 {
            Some(v2) if self.v1.is_empty() => format!(
                "the controller '{controller}' is not delegated to {}; run the daemon as root with Delegate=yes",
                v2.base.display()
            ),
            _ => format!(
                "no mounted cgroup hierarchy has the controller '{controller}'; mount it or boot with it"
            ),
        }
    }

    pub(super) fn v2_has(&self, controller: Controller) -> bool {
        self.v2
            .as_ref()
            .is_some_and(|v2| v2.controllers.contains(&controller))
    }

    fn has_v1(&self, controllers: &[Controller]) -> bool {
        self.v1
            .iter()
            .any(|h| h.controllers.iter().any(|c| controllers.contains(c)))
    }
}

impl V2Hierarchy {
    fn detect(own: PathBuf, mount_point: &Path) -> Result<Self, CgroupError> {
        // A daemon that was moved into its leaf by an earlier start of itself
        // (exec, upgrade) finds its jobs beside the leaf.
        let base = match own.parent() {
            Some(parent) if own.ends_with(DAEMON_DIRECTORY) => parent.to_path_buf(),
            _ => own,
        };
        let at_root = base == mount_point;
        let names = files::read(&base.join("cgroup.controllers"))?.unwrap_or_default();
        let wanted = [
            Controller::Cpu,
            Controller::Memory,
            Controller::Pids,
            Controller::Cpuset,
            Controller::Io,
        ];
        let controllers = names.split_whitespace().filter_map(Controller::from_name);
        let controllers = controllers.filter(|c| wanted.contains(c)).collect();
        let jobs = base.join(JOBS_DIRECTORY);
        Ok(Self {
            controllers,
            base,
            jobs,
            at_root,
        })
    }
}

impl Controller {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "cpu" => Self::Cpu,
            "cpuacct" => Self::Cpuacct,
            "memory" => Self::Memory,
            "pids" => Self::Pids,
            "freezer" => Self::Freezer,
            "cpuset" => Self::Cpuset,
            "blkio" | "io" => Self::Io,
            "devices" => Self::Devices,
            _ => return None,
        })
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
            Self::Cpuset => "cpuset",
            Self::Io => "io",
            Self::Devices => "devices",
        })
    }
}

/// A line of `mountinfo` that is a cgroup hierarchy.
struct CgroupMount {
    /// The part of the hierarchy that is mounted.
    root: String,
    mount_point: PathBuf,
    v2: bool,
    controllers: Vec<Controller>,
}

impl CgroupMount {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        let mut fields = after.split(' ');
        let v2 = match fields.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let options = fields.nth(1)?;
        Some(Self {
            root: unescape(root),
            mount_point: PathBuf::from(unescape(mount_point)),
            v2,
            controllers: options
                .split(',')
                .filter_map(Controller::from_name)
                .collect(),
        })
    }

    /// Where a cgroup of this hierarchy is in the file system.
    fn directory(&self, file_root: &Path, cgroup: &str) -> PathBuf {
        let relative = cgroup
            .strip_prefix(self.root.trim_end_matches('/'))
            .unwrap_or("");
        let mount_point = self
            .mount_point
            .strip_prefix("/")
            .unwrap_or(&self.mount_point);
        let directory = file_root.join(mount_point);
        match relative.trim_matches('/') {
            "" => directory,
            // Outside of what a container can see: all it has is the top.
            outside if outside.starts_with("..") => directory,
            relative => directory.join(relative),
        }
    }
}

/// Our cgroup in a hierarchy, from lines like `4:memory:/path` and `0::/path`.
fn own_path(own_cgroups: &str, mount: &CgroupMount) -> Option<String> {
    own_cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let mut controllers = names.split(',').filter_map(Controller::from_name);
        let shared = controllers.any(|controller| mount.controllers.contains(&controller));
        let matches = if mount.v2 { names.is_empty() } else { shared };
        matches.then(|| path.to_owned())
    })
}

/// `mountinfo` writes spaces and the like as three octal digits.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, character)| {
        text.replace(code, character)
    })
}
