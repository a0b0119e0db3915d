//! The container a job runs in.

use utoipa::ToSchema;

use super::secret::KeyVaultSecretReference;

/// The container a job runs in.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ContainerSettings {
    /// Where its image is.
    image_source_registry: ImageSourceRegistry,
    /// The size of `/dev/shm`, such as `64m` or `8g`.
    shm_size: Option<String>,
}

/// Where an image is.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ImageSourceRegistry {
    /// The registry; the public one when absent.
    server_url: Option<String>,
    /// The image with its tag.
    image: String,
    /// How to log in there.
    credentials: Option<PrivateRegistryCredentials>,
}

/// How to log in at a registry.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct PrivateRegistryCredentials {
    /// The login name.
    username: String,
    /// The password; either this or the reference. Never answered.
    password: Option<String>,
    /// Where the password is kept.
    password_secret_reference: Option<KeyVaultSecretReference>,
}
