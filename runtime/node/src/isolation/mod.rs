//! What keeps jobs apart from each other and from the daemon.

mod attributes;
mod dev;
mod fs_identity;
mod mounts;
mod privileges;
mod root;

use serde::{Deserialize, Serialize};

pub(crate) use attributes::map_ids;
pub use dev::DeviceNode;
pub use fs_identity::FsIdentity;
pub(crate) use mounts::apply as apply_mounts;
pub use mounts::{BindMount, MountPlan, MountedTree, PrivateDirectory, PrivateSource};
pub(crate) use privileges::{become_identity, become_root_of, drop_privileges_for_good};
pub use root::ContainerRoot;

/// The unprivileged user and group a job runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Numeric user id; never 0.
    pub uid: u32,
    /// Numeric group id; never 0. The process has no supplementary groups.
    pub gid: u32,
}
