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

/// Whether a path is one of those that clients call before they have a token:
/// to get one, or to find out where. All others need one.
#[allow(dead_code, reason = "for whoever checks the tokens of requests")]
pub(crate) fn is_public(path: &str) -> bool {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    matches!(
        segments[..],
        [_, "oauth2", "token"]
            | [_, "oauth2", "v2.0", "token"]
            | [_, ".well-known", "openid-configuration"]
            | [_, "v2.0", ".well-known", "openid-configuration"]
            | ["metadata", "endpoints"]
    )
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn nothing_but_the_way_to_a_token_is_public() {
        for public in [
            "/adfs/oauth2/token",
            "/some-tenant/oauth2/v2.0/token",
            "/adfs/.well-known/openid-configuration",
            "/some-tenant/v2.0/.well-known/openid-configuration",
            "/metadata/endpoints",
        ] {
            assert!(is_public(public), "{public}");
        }
        for private in [
            "/",
            "/subscriptions",
            "/subscriptions/s/oauth2/token",
            "/subscriptions/s/providers/Microsoft.Storage/storageaccounts",
            "/v1/groups/oauth2/workspaces/token",
            "/v1/groups",
            "/tenants",
            "/metadata/endpoints/more",
        ] {
            assert!(!is_public(private), "{private}");
        }
    }
}
