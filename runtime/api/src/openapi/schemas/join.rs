//! Machines that join.

use utoipa::ToSchema;

/// A machine that wants to join.
#[derive(ToSchema)]
pub(crate) struct LoteJoinParameters {
    /// What it asks for.
    properties: LoteJoinRequest,
}

/// What a machine asks for that wants to join.
#[derive(ToSchema)]
pub(crate) struct LoteJoinRequest {
    /// The name it is to have: like a host name, in lower case.
    #[schema(pattern = r"^[a-z0-9_.-]+$", max_length = 63)]
    name: String,
}

/// What a machine needs to be a daemon of the cluster. All of it is secret.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteJoinGrant {
    /// Which cluster it joins.
    cluster_id: String,
    /// The name it has there.
    name: String,
    /// The cluster's key, 64 hexadecimal digits.
    cluster_key: String,
    /// How the cluster's store is reached.
    etcd: LoteEtcdAccess,
}

/// How a daemon reaches the members of etcd.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteEtcdAccess {
    /// The URLs of the members.
    endpoints: Vec<String>,
    /// The authorities that sign the members' certificates, in PEM form.
    authorities: Option<String>,
    /// The certificate to show them, in PEM form.
    certificate: Option<String>,
    /// Its private key, in PEM form.
    private_key: Option<String>,
    /// Whether the members ask for a certificate, and every machine brings its own.
    bring_certificate: Option<bool>,
    /// What all keys of the cluster start with, if that is not the default.
    prefix: Option<String>,
}
