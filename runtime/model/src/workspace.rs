//! Resource groups, workspaces and experiments: the containers of the rest.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::UnixId;
use crate::name::GroupName;
use crate::path::{ChildPath, WorkspacePath};

/// A resource group: a namespace for workspaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRecord {
    /// Its name, as spelled at creation.
    pub name: GroupName,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A workspace as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceRecord {
    /// Group and name, as spelled at creation.
    pub path: WorkspacePath,
    /// The region the client named; Lote has one region and echoes it.
    pub location: String,
    /// Free text for the user's own use.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Under whose user and group id jobs of this workspace run.
    pub unix_id: UnixId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Set once the user asked to delete it and everything in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_requested_at: Option<Timestamp>,
}

/// An experiment as stored: a container of jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentRecord {
    /// Workspace and name, as spelled at creation.
    pub path: ChildPath,
    /// When it was created.
    pub created_at: Timestamp,
    /// Set once the user asked to delete it and its jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_requested_at: Option<Timestamp>,
}
