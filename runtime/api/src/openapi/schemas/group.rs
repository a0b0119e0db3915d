//! Resource groups.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// A resource group: a namespace of workspaces.
#[derive(ToSchema)]
pub(crate) struct LoteGroup {
    /// Its path, under the prefix of the request.
    id: String,
    /// Its name, spelled as at creation.
    name: String,
    /// The kind of the resource.
    #[schema(rename = "type")]
    kind: String,
    /// The region; Lote has one.
    location: String,
    /// How it fares.
    properties: LoteGroupProperties,
}

/// How a resource group fares.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteGroupProperties {
    /// Always `Succeeded`.
    provisioning_state: String,
}

/// A resource group to be created; the members are accepted and mean nothing.
#[derive(ToSchema)]
pub(crate) struct LoteGroupCreateParameters {
    /// A region.
    #[schema(value_type = Option<Value>)]
    location: Option<String>,
    /// Free texts.
    #[schema(value_type = Option<Value>)]
    tags: Option<BTreeMap<String, String>>,
}

/// One page of resource groups.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteGroupListResult {
    /// The groups.
    value: Vec<LoteGroup>,
    /// The whole URL of the next page, if there is one.
    next_link: Option<String>,
}
