//! How far a token reaches, and what a request concerns.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::GroupName;
use crate::path::WorkspacePath;

/// How far a token reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// The whole installation.
    #[default]
    Everything,
    /// One resource group with its workspaces.
    Group(GroupName),
    /// One workspace.
    Workspace(WorkspacePath),
}

/// What a request concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// What every token may see of the installation: either it is the same for
    /// all, or the handler leaves out what the token does not reach.
    Shared,
    /// The installation as a whole.
    Installation,
    /// A resource group itself.
    Group(GroupName),
    /// What a token reaches of a group: its name, and a filtered list.
    WithinGroup(GroupName),
    /// A workspace or anything in it.
    Workspace(WorkspacePath),
}

impl Scope {
    /// Whether a request about `target` is within reach.
    pub fn covers(&self, target: &Target) -> bool {
        match (self, target) {
            (Self::Everything, _) | (_, Target::Shared) => true,
            (_, Target::Installation) | (Self::Workspace(_), Target::Group(_)) => false,
            (Self::Group(own), Target::Group(group) | Target::WithinGroup(group)) => own == group,
            (Self::Group(own), Target::Workspace(path)) => *own == path.group,
            (Self::Workspace(own), Target::WithinGroup(group)) => own.group == *group,
            (Self::Workspace(own), Target::Workspace(path)) => own == path,
        }
    }

    /// Whether everything that `other` reaches is within reach.
    pub fn contains(&self, other: &Self) -> bool {
        self.covers(&other.target())
    }

    /// What a request about all of this scope concerns.
    pub fn target(&self) -> Target {
        match self {
            Self::Everything => Target::Installation,
            Self::Group(group) => Target::Group(group.clone()),
            Self::Workspace(path) => Target::Workspace(path.clone()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Workspace(path) => write!(f, "workspace {path}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared | Self::Installation => f.write_str("the whole installation"),
            Self::Group(group) | Self::WithinGroup(group) => write!(f, "group {group}"),
            Self::Workspace(path) => write!(f, "workspace {path}"),
        }
    }
}
