//! What all resources have in common.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// The outer members of a workspace.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Resource {
    /// The path of the resource, under the prefix of the request.
    #[schema(read_only)]
    id: Option<String>,
    /// The name, spelled as at creation.
    #[schema(read_only)]
    name: Option<String>,
    /// The kind of the resource.
    #[schema(read_only, rename = "type")]
    kind: Option<String>,
    /// The region given at creation.
    #[schema(read_only)]
    location: Option<String>,
    /// Free texts of the user.
    #[schema(read_only)]
    tags: Option<BTreeMap<String, String>>,
}

/// The outer members of everything inside a workspace.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ProxyResource {
    /// The path of the resource, under the prefix of the request.
    #[schema(read_only)]
    id: Option<String>,
    /// The name, spelled as at creation.
    #[schema(read_only)]
    name: Option<String>,
    /// The kind of the resource.
    #[schema(read_only, rename = "type")]
    kind: Option<String>,
}

/// Names another resource.
#[derive(ToSchema)]
pub(crate) struct ResourceId {
    /// Its full id, under either prefix.
    id: String,
}

/// A name and a value.
#[derive(ToSchema)]
pub(crate) struct NameValuePair {
    /// The name.
    name: Option<String>,
    /// The value.
    value: Option<String>,
}

/// How far a resource is with coming to be or going away.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum ProvisioningState {
    Creating,
    Deleting,
    Succeeded,
    Failed,
}
