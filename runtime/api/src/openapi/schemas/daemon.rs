//! What the daemon says about itself.

use utoipa::ToSchema;

/// The daemon answers.
#[derive(ToSchema)]
pub(crate) struct LoteHealth {
    /// Always `ok`.
    status: String,
}

/// What is running.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteVersion {
    /// Always `lote`.
    name: String,
    /// The version of the daemon.
    version: String,
    /// The versions of the Batch AI API that it speaks.
    api_versions: Vec<String>,
}

/// The plugins that are loaded, and those that are not.
#[derive(ToSchema)]
pub(crate) struct LotePluginListResult {
    /// Those in use, by name; of one name the highest version first.
    value: Vec<LotePlugin>,
    /// Those that are not in use.
    rejected: Vec<LoteRejectedPlugin>,
}

/// A component that is not in use.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteRejectedPlugin {
    /// The file it is in, or the name of a built-in one.
    origin: String,
    /// What is wrong with it, and what to do.
    reason: String,
    /// The SHA-256 of the component, if it could be read.
    digest: Option<String>,
}

/// A framework plugin.
#[derive(ToSchema)]
pub(crate) struct LotePlugin {
    /// Its path.
    id: String,
    /// The framework's short name.
    name: String,
    /// The kind of the resource.
    #[schema(rename = "type")]
    kind: String,
    /// What it is.
    properties: LotePluginProperties,
}

/// What a plugin is.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LotePluginProperties {
    /// The framework's short name, a job's `toolType`.
    name: String,
    /// The member of a job's properties that selects it.
    settings_member: String,
    /// The plugin's own version.
    version: String,
    /// What it is for, in a sentence.
    summary: String,
    /// The SHA-256 of the component.
    digest: String,
    /// The version of the plugin contract.
    contract: String,
    /// The file it came from, or `built in`.
    origin: String,
    /// Whether a job that asks for no version gets this one.
    is_default: bool,
}
