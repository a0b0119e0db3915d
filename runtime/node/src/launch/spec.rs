//! What the daemon asks the spawner to run.

use std::path::PathBuf;

use lote_model::secret::SecretText;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::isolation::{Identity, MountPlan};

/// One process, complete: the shim needs nothing else to run it.
///
/// All paths are absolute. The specification travels through a private socket
/// only, because the environment may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The run record: a file that must not exist yet, in a directory that only
    /// the daemon can read. Missing parent directories are created (mode 0700).
    pub record: PathBuf,
    /// What the launcher's log calls the process.
    pub title: String,
    /// The command and its arguments. A command without `/` is looked up in the
    /// `PATH` of [`env`](Self::env).
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// What is added to [`env`](Self::env) and never shown.
    pub secret_env: SecretVariables,
    /// The directory the process starts in, as it is named inside the mounts.
    pub working_directory: PathBuf,
    /// File that standard output is appended to, created by the process's user.
    pub stdout: PathBuf,
    /// The same for standard error; may be the same file.
    pub stderr: PathBuf,
    /// Whether these are named pipes in a directory of the daemon's own, which has made them. What
    /// is in them outlives the daemon, and the shim waits for it to be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub piped: bool,
    /// The named pipe that standard input comes from, until the daemon closes it; `/dev/null`
    /// without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<PathBuf>,
    /// The launcher's own log, if one is kept: a line when the process starts
    /// and one when it ends, written with the rights of the process's user.
    pub execution_log: Option<PathBuf>,
    /// Whether these files lie in a directory of the daemon's own, which the process never gets
    /// to see: they are opened before anything is mounted, and then belong to the process's user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spooled: bool,
    /// Directories to create (with their parents) as the process's user before
    /// the output files are opened. Existing ones are left as they are.
    pub directories: Vec<DirectorySpec>,
    /// Whom the process runs as; `None` leaves the daemon's user (no isolation).
    pub identity: Option<Identity>,
    /// `cgroup.procs` files to join, from
    /// [`JobCgroup::procs_files`](crate::cgroup::JobCgroup::procs_files).
    pub cgroup_procs: Vec<PathBuf>,
    /// The private view of the file system; `None` shares the host's.
    pub mounts: Option<MountPlan>,
    /// Limits set in addition to "no core dumps".
    pub resource_limits: Vec<ResourceLimit>,
    /// Mode bits that new files do not get, such as `0o022`.
    pub umask: u32,
    /// The file with the time after which the process must not run, because the node is
    /// cut off; absent where nothing is fenced.
    pub fence: Option<PathBuf>,
    /// How much sooner than others the kernel kills the process when the machine
    /// runs out of memory, -1000 to 1000.
    pub oom_score_adjustment: i32,
}

/// Variables with secret values. They are written out only into a specification, which
/// travels through the private socket to the spawner and is kept nowhere; the names
/// alone are shown by `Debug`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretVariables(pub Vec<(String, SecretText)>);

impl Serialize for SecretVariables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pairs = serializer.serialize_seq(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            pairs.serialize_element(&(name, value.expose()))?;
        }
        pairs.end()
    }
}

impl<'de> Deserialize<'de> for SecretVariables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(String, String)>::deserialize(deserializer)?;
        let hidden = |(name, value): (String, String)| (name, SecretText::new(value));
        Ok(Self(pairs.into_iter().map(hidden).collect()))
    }
}

/// A directory that must exist before the process starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectorySpec {
    /// Absolute path; missing parents are created as well.
    pub path: PathBuf,
    /// Permission bits of the directories that are created, such as `0o755`.
    pub mode: u32,
}

/// A limit the kernel enforces per process (see `setrlimit(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// What is limited.
    pub resource: LimitedResource,
    /// The soft and hard limit; `None` is unlimited.
    pub value: Option<u64>,
}

/// The resources a [`ResourceLimit`] can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedResource {
    /// Open files.
    OpenFiles,
    /// Bytes locked into memory (RDMA and pinned host memory need much).
    LockedMemoryBytes,
    /// Stack bytes of the main thread.
    StackBytes,
    /// Bytes of a core dump; 0 unless given.
    CoreBytes,
}
