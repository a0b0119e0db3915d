//! Experiments.

use utoipa::ToSchema;

use super::resource::{ProvisioningState, ProxyResource};

/// An experiment: a container of jobs.
#[derive(ToSchema)]
pub(crate) struct Experiment {
    #[serde(flatten)]
    resource: ProxyResource,
    /// How it fares.
    properties: Option<ExperimentProperties>,
}

/// How an experiment fares.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ExperimentProperties {
    /// When it was created.
    #[schema(read_only, format = DateTime)]
    creation_time: Option<String>,
    /// How far it is with coming to be or going away.
    #[schema(read_only)]
    provisioning_state: Option<ProvisioningState>,
    /// Since when it is so.
    #[schema(read_only, format = DateTime)]
    provisioning_state_transition_time: Option<String>,
}

/// One page of experiments.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct ExperimentListResult {
    /// The experiments.
    #[schema(read_only)]
    value: Option<Vec<Experiment>>,
    /// The whole URL of the next page, if there is one.
    #[schema(read_only)]
    next_link: Option<String>,
}
