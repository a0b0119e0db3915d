//! Workspaces.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::resource::{ProvisioningState, Resource};

/// A workspace: a container of clusters, file servers and experiments.
#[derive(ToSchema)]
pub(crate) struct Workspace {
    #[serde(flatten)]
    resource: Resource,
    /// How it fares.
    properties: Option<WorkspaceProperties>,
}

/// How a workspace fares.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct WorkspaceProperties {
    /// When it was created.
    #[schema(read_only, format = DateTime)]
    creation_time: Option<String>,
    /// How far it is with coming to be or going away.
    #[schema(read_only)]
    provisioning_state: Option<ProvisioningState>,
    /// Since when it is so.
    #[schema(read_only, format = DateTime)]
    provisioning_state_transition_time: Option<String>,
}

/// One page of workspaces.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct WorkspaceListResult {
    /// The workspaces.
    #[schema(read_only)]
    value: Option<Vec<Workspace>>,
    /// The whole URL of the next page, if there is one.
    #[schema(read_only)]
    next_link: Option<String>,
}

/// A workspace to be created.
#[derive(ToSchema)]
pub(crate) struct WorkspaceCreateParameters {
    /// A region. Lote has one; any name will do, and is kept.
    #[schema(pattern = r"\S")]
    location: String,
    /// Free texts of the user.
    tags: Option<BTreeMap<String, String>>,
}

/// A workspace to be created under `/v1`, where no region needs to be named.
#[derive(ToSchema)]
pub(crate) struct LoteWorkspaceCreateParameters {
    /// A region; `local` when absent.
    #[schema(pattern = r"\S")]
    location: Option<String>,
    /// Free texts of the user.
    tags: Option<BTreeMap<String, String>>,
}

/// What can be changed of a workspace.
#[derive(ToSchema)]
pub(crate) struct WorkspaceUpdateParameters {
    /// All tags it shall have.
    tags: Option<BTreeMap<String, String>>,
}
