//! How many nodes a cluster shall have.

use utoipa::ToSchema;

/// How many nodes a cluster shall have: exactly one of the two.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ScaleSettings {
    /// A fixed number.
    manual: Option<ManualScaleSettings>,
    /// As many as the work needs.
    auto_scale: Option<AutoScaleSettings>,
}

/// A fixed number of nodes.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ManualScaleSettings {
    /// How many nodes; 0 keeps the configuration without nodes.
    #[schema(minimum = 0, maximum = 10_000, default = 0)]
    target_node_count: i32,
    /// What happens to running jobs when the cluster shrinks.
    #[schema(default = "requeue")]
    node_deallocation_option: Option<DeallocationOption>,
}

/// What happens to running jobs when their cluster shrinks.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", default = "requeue")]
pub(crate) enum DeallocationOption {
    Requeue,
    Terminate,
    WaitForJobCompletion,
}

/// As many nodes as the work needs, between two bounds.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct AutoScaleSettings {
    /// Never fewer, if the pool has them.
    #[schema(minimum = 0, maximum = 10_000)]
    minimum_node_count: i32,
    /// Never more.
    #[schema(minimum = 0, maximum = 10_000)]
    maximum_node_count: i32,
    /// How many to start with; used at creation only.
    #[schema(minimum = 0, default = 0)]
    initial_node_count: Option<i32>,
}
