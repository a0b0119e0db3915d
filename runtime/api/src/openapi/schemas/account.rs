//! The administrator's account on nodes.

use utoipa::ToSchema;

/// The administrator's account of a cluster's nodes or of a file server. A key or a password is needed.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct UserAccountSettings {
    /// The login name.
    admin_user_name: String,
    /// A public key for it.
    admin_user_ssh_public_key: Option<String>,
    /// Accepted, never kept, never answered.
    admin_user_password: Option<String>,
}
