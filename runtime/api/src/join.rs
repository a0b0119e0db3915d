//! Machines that become nodes: `POST /v1/join`.
//!
//! Whoever joins is trusted with all that a daemon needs: any daemon can lead. So
//! only a token that was made for this may, and it may nothing else.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use lote_model::access::token::{TokenRecord, TokenState};
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::membership::{ClusterIdentity, EtcdAccess, JoinGrant, JoinRequest};
use lote_store::{Transaction, get_json};
use lote_vault::SealingKey;

use crate::auth::{Principal, Who, unauthenticated};
use crate::error::{Answer, ApiError};
use crate::records::{ATTEMPTS_MAX, contended};
use crate::request::Body;
use crate::state::ApiState;

/// What a machine gets that joins.
#[derive(Clone, Debug)]
pub struct JoinOffer {
    /// The cluster's key.
    pub key: SealingKey,
    /// How this daemon reaches the cluster's store, which the others do as well.
    pub etcd: EtcdAccess,
}

pub(crate) async fn join(
    State(state): State<ApiState>,
    principal: Principal,
    Body(request_body): Body,
) -> Answer {
    let wanted = JoinRequest::parse(&request_body)?;
    let offer = state.config.join_offer.as_ref().ok_or_else(alone)?;
    let identity = get_json::<ClusterIdentity>(state.store(), key::CLUSTER_IDENTITY).await?;
    let identity = identity.ok_or_else(alone)?.value;
    check_reachable(&offer.etcd)?;
    use_token(&state, &principal, &wanted.name).await?;
    tracing::info!(node = %wanted.name, by = %principal.who, "a machine joins the cluster");
    let grant = JoinGrant {
        cluster_id: identity.id,
        name: wanted.name,
        cluster_key: JoinGrant::key_text(offer.key.expose()),
        etcd: offer.etcd.clone(),
    };
    let headers = [(CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, Json(grant)).into_response())
}

/// 409: one machine is no cluster.
fn alone() -> ApiError {
    let message = "this daemon keeps the state of one machine, which nothing can join; run it with \
                   --store etcd first";
    ApiError::conflict("JoinNotPossible", message)
}

/// 409: an address that means something else on the machine that joins.
fn check_reachable(etcd: &EtcdAccess) -> Result<(), ApiError> {
    let local = etcd.endpoints.iter().find(|url| is_loopback(url));
    let Some(local) = local else { return Ok(()) };
    let message = format!(
        "this daemon reaches etcd at {local}, where other machines reach nothing: start it with \
         addresses in --etcd that hold on every machine, or ask another daemon"
    );
    Err(ApiError::conflict("JoinNotPossible", message))
}

fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => authority.split([':', '/']).next(),
    };
    let host = host.unwrap_or_default();
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// Uses the caller's token once. In the same step in which nobody lives under the
/// name, so that no more machines join than the token is for.
async fn use_token(
    state: &ApiState,
    principal: &Principal,
    name: &NodeName,
) -> Result<(), ApiError> {
    let Who::Token { id, .. } = &principal.who else {
        return Err(unauthenticated("only a stored token lets a machine join"));
    };
    let own_key = key::token(id);
    for _ in 0..ATTEMPTS_MAX {
        if state.store().get(&key::alive(name)).await?.is_some() {
            return Err(taken(name));
        }
        let found = get_json::<TokenRecord>(state.store(), &own_key).await?;
        let mut found = found
            .filter(|found| found.value.state(state.now()) == TokenState::Active)
            .ok_or_else(|| unauthenticated("the token is no longer valid"))?;
        let Some(left) = found.value.uses_left else {
            return Ok(());
        };
        found.value.uses_left = Some(left.saturating_sub(1));
        let transaction = Transaction::new()
            .require_revision(&own_key, found.mod_revision)
            .require_absent(key::alive(name))
            .put_json(&own_key, &found.value)?;
        if state.store().commit(transaction).await?.is_applied() {
            return Ok(());
        }
    }
    Err(contended())
}

/// 409: two machines of one name would take each other's work.
fn taken(name: &NodeName) -> ApiError {
    let message = format!(
        "there is a living node '{name}' in this cluster; stop it, or give this machine another \
         --name"
    );
    ApiError::conflict("NodeNameTaken", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_hold_on_one_machine_only_are_known() {
        for url in [
            "http://127.0.0.1:2379",
            "https://LocalHost:2379/",
            "https://[::1]:2379",
            "http://0.0.0.0",
            "http://127.0.1.1",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "https://10.0.0.1:2379",
            "https://e1",
            "https://[fd00::1]:2379",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
