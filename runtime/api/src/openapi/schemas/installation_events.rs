//! The data of events about all resources (`/v1/events`). Each event has a name,
//! the store's revision as its id, and one of these as JSON.

use utoipa::ToSchema;

/// The data of `job`, `cluster` and `fileServer`: a user wants something of a resource, or something else than before.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteWishEvent {
    /// The resource.
    id: String,
    /// Since when a job shall end.
    #[schema(format = DateTime, required)]
    terminate_requested_at: Option<String>,
    /// Since when it shall be gone.
    #[schema(format = DateTime, required)]
    delete_requested_at: Option<String>,
}

/// The data of `jobStatus`, `clusterStatus` and `fileServerStatus`: what the leader has made of a resource.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteChangeEvent {
    /// The resource.
    id: String,
    /// Its new status; of a job as in the job's own events.
    status: serde_json::Value,
}

/// The data of `deleted`: a resource is gone.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteGoneEvent {
    /// The resource.
    id: String,
}
