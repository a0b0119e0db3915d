//! Where the nodes of a cluster or job can be logged in.

use utoipa::ToSchema;

/// Where a node can be logged in.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct RemoteLoginInformation {
    /// The node.
    #[schema(read_only)]
    node_id: Option<String>,
    /// Its address.
    #[schema(read_only)]
    ip_address: Option<String>,
    /// The port of its SSH server.
    #[schema(read_only, value_type = Option<f64>, format = Int32)]
    port: Option<f64>,
}

/// Where the nodes of a cluster or job can be logged in.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct RemoteLoginInformationListResult {
    /// One per node.
    #[schema(read_only)]
    value: Option<Vec<RemoteLoginInformation>>,
    /// The whole URL of the next page, if there is one; it is asked for with POST.
    #[schema(read_only)]
    next_link: Option<String>,
}
