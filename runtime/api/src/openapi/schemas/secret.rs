//! Environment variables, plain and secret.

use utoipa::ToSchema;

use super::resource::ResourceId;

/// An environment variable.
#[derive(ToSchema)]
pub(crate) struct EnvironmentVariable {
    /// Its name: letters, digits and `_`, no digit first.
    name: String,
    /// Its value.
    value: String,
}

/// An environment variable whose value is a secret. Answers hold the name only.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct EnvironmentVariableWithSecretValue {
    /// Its name.
    name: String,
    /// Its value; either this or the reference. Never answered.
    value: Option<String>,
    /// Where the value is kept.
    value_secret_reference: Option<KeyVaultSecretReference>,
}

/// A secret in a vault.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct KeyVaultSecretReference {
    /// The vault.
    source_vault: ResourceId,
    /// The secret's URL.
    secret_url: String,
}
