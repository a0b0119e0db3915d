//! Quotas, enforced exactly: of two requests for the last place one gets it.

use lote_model::cluster::ScaleSettings;
use lote_model::key;
use lote_model::name::{GroupName, ResourceName};
use lote_store::{ListRequest, Revision, Store, StoreError, Transaction, get_json};

use crate::error::ApiError;
use crate::state::ApiState;

/// A place for one more cluster. Whoever takes it first makes it void for others.
pub(crate) struct Place {
    created: u64,
    revision: Revision,
}

impl Place {
    /// Finds one, or says that there is none.
    pub(crate) async fn for_cluster(
        state: &ApiState,
        name: &ResourceName,
    ) -> Result<Self, ApiError> {
        // Before the count: a cluster that appears in between makes it void.
        let created = get_json::<u64>(state.store(), key::CLUSTERS_CREATED).await?;
        let count = count(state.store(), key::CLUSTERS).await?;
        state
            .config
            .quotas
            .check_clusters(name.as_str(), count)
            .map_err(refused)?;
        Ok(match created {
            Some(created) => Self {
                created: created.value,
                revision: created.mod_revision,
            },
            None => Self {
                created: 0,
                revision: 0,
            },
        })
    }

    /// Takes it together with the rest of the transaction.
    pub(crate) fn take(self, transaction: Transaction) -> Result<Transaction, StoreError> {
        transaction
            .require_revision(key::CLUSTERS_CREATED, self.revision)
            .put_json(key::CLUSTERS_CREATED, &self.created.wrapping_add(1))
    }
}

/// Whether a group may have one more workspace. Exact if the creation compares
/// the group's record as it was before, because every creation writes it.
pub(crate) async fn check_workspaces(
    state: &ApiState,
    group: &GroupName,
    name: &ResourceName,
) -> Result<(), ApiError> {
    let count = count(state.store(), &key::workspaces_of(group)).await?;
    let quotas = &state.config.quotas;
    quotas
        .check_workspaces(name.as_str(), group.as_str(), count)
        .map_err(refused)
}

/// Whether a cluster may ask for so many nodes.
pub(crate) fn check_nodes(
    state: &ApiState,
    name: &ResourceName,
    scale: &ScaleSettings,
) -> Result<(), ApiError> {
    state
        .config
        .quotas
        .check_nodes(name.as_str(), scale)
        .map_err(refused)
}

/// 409, as the resource manager does.
fn refused(problem: lote_model::problem::Problem) -> ApiError {
    ApiError {
        status: axum::http::StatusCode::CONFLICT,
        problem,
    }
}

/// How many keys there are under a prefix.
pub(crate) async fn count(store: &dyn Store, prefix: &str) -> Result<usize, StoreError> {
    let request = ListRequest {
        keys_only: true,
        ..ListRequest::prefix(prefix)
    };
    Ok(store.list(request).await?.items.len())
}
