//! Starting processes that outlive the daemon, and learning how they ended.
//!
//! ```text
//! daemon ──socket──▶ spawner ──fork──▶ shim ──vfork + exec──▶ the process
//!   │                (tiny, one thread)   │
//!   └─── pidfd, run record ◀──────────────┘
//! ```
//!
//! * The **spawner** is a small single-threaded process that the daemon starts
//!   once. It only forks, which is cheap because it is small.
//! * A **shim** belongs to exactly one process. It survives the daemon and the
//!   spawner, stays outside the job's cgroup, and writes the end of the process
//!   durably before it ends itself.
//! * The **run record** is one file per process. It appears together with a lock
//!   that the shim holds for its life, so whoever looks at it later knows without
//!   doubt whether the process was never started, runs, ended, or was lost; and a
//!   second start of the same record is refused by the file system itself.
//!
//! * The **fence** is a file with the time after which nothing may run here any more,
//!   because the node was cut off from the cluster. Shims keep to it by themselves.
//!
//! What this module must never do: start a process without a record, or take a
//! process id for a process without holding proof (the record's lock) that it is
//! still the same one.

mod child;
mod execution_log;
mod exit;
mod fence;
mod handed_over;
mod launcher;
mod link;
mod members;
mod pipes;
mod record;
mod shim;
mod spawner;
mod spec;
mod supervised;
mod sys;
mod tail;

pub(crate) use execution_log::ExecutionLog;
pub use exit::{ExitCause, ExitRecord, LostReason, ProcessUsage, SetupFailure, SetupStep};
pub use fence::{FenceFile, boot_time, fenced_at};
pub(crate) use handed_over::open_handed_over;
pub use launcher::{LaunchError, Launcher, SpawnerCommand};
pub(crate) use pipes::{is_pipe, make_pipes, remove_pipes};
pub use record::{RecordError, Tombstone, remove_record, tombstone};
pub use spawner::{SPAWNER_SUBCOMMAND, spawner_main};
pub use spec::{DirectorySpec, LimitedResource, ProcessSpec, ResourceLimit, SecretVariables};
pub use supervised::{Attached, Outcome, Supervised, attach};
pub use tail::tail;
