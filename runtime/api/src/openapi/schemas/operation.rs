//! Long-running operations.

use utoipa::ToSchema;

use super::error::CloudErrorBody;

/// How far a long-running operation is.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteOperation {
    /// The whole URL of this operation.
    id: String,
    /// The last part of it.
    name: String,
    /// How far it is.
    status: LoteOperationStatus,
    /// When it was asked for.
    #[schema(format = DateTime)]
    start_time: String,
    /// When it was done.
    #[schema(format = DateTime)]
    end_time: Option<String>,
    /// What it is about, once it is done.
    properties: Option<LoteOperationProperties>,
    /// Why it failed.
    error: Option<CloudErrorBody>,
}

/// How far a long-running operation is.
#[derive(ToSchema)]
pub(crate) enum LoteOperationStatus {
    InProgress,
    Succeeded,
    Failed,
}

/// What a long-running operation is about.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteOperationProperties {
    /// The resource, in a form of its own.
    resource_id: String,
}
