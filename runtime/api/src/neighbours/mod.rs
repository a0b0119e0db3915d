//! Neighbours of Batch AI that its unmodified clients call (capabilities §4.8
//! and §13.3 to §13.5): just enough of each for these clients to go on.
//!
//! `--no-neighbours` leaves them out. Resource groups, which they also call, are
//! not here: Lote has them itself.
//!
//! * [`token`] — the token endpoints of a directory, and what describes them.
//! * [`metadata`] — the description of a cloud, for `az cloud register`.
//! * [`subscriptions`] — the one subscription and the one tenant.
//! * [`providers`] — registration of resource providers.
//! * [`storage`] — storage accounts from the operator's table, and their keys.
//!
//! Every api-version is accepted, because those of the neighbours change often.

mod metadata;
mod providers;
mod storage;
mod subscriptions;
mod token;

use axum::Router;
use axum::routing::{get, post};

use crate::state::ApiState;

/// Their routes. A path below a subscription arrives with its fixed segments in
/// lower case.
pub(crate) fn routes() -> Router<ApiState> {
    directory().merge(below_subscription())
}

fn directory() -> Router<ApiState> {
    Router::new()
        .route("/{tenant}/oauth2/token", post(token::v1))
        .route("/{tenant}/oauth2/v2.0/token", post(token::v2))
        .route(
            "/{tenant}/.well-known/openid-configuration",
            get(token::describe_v1),
        )
        .route(
            "/{tenant}/v2.0/.well-known/openid-configuration",
            get(token::describe_v2),
        )
        .route("/metadata/endpoints", get(metadata::endpoints))
        .route("/tenants", get(subscriptions::tenants))
}

fn below_subscription() -> Router<ApiState> {
    const PROVIDERS: &str = "/subscriptions/{subscription}/providers";
    const ACCOUNTS_OF_GROUP: &str = "/subscriptions/{subscription}/resourcegroups/{group}/providers/{namespace}/storageaccounts";
    Router::new()
        .route("/subscriptions", get(subscriptions::list))
        .route("/subscriptions/{subscription}", get(subscriptions::get))
        .route(PROVIDERS, get(providers::list))
        .route(&format!("{PROVIDERS}/{{namespace}}"), get(providers::get))
        .route(
            &format!("{PROVIDERS}/{{namespace}}/register"),
            post(providers::get),
        )
        .route(
            &format!("{PROVIDERS}/{{namespace}}/storageaccounts"),
            get(storage::list),
        )
        .route(ACCOUNTS_OF_GROUP, get(storage::list_of_group))
        .route(
            &format!("{ACCOUNTS_OF_GROUP}/{{account}}"),
            get(storage::get),
        )
        .route(
            &format!("{ACCOUNTS_OF_GROUP}/{{account}}/listkeys"),
            post(storage::keys),
        )
}
