//! `POST /v1/export`: the whole state as lines of JSON, to keep or to import elsewhere.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use bytes::Bytes;
use lote_model::key;
use lote_store::dump::{Export, Header, VERSION};

use crate::auth::Principal;
use crate::error::Answer;
use crate::state::ApiState;

/// One JSON value in each line.
const JSON_LINES: &str = "application/jsonl";

/// Bound to leases: they mean nothing without their owners.
const LEFT_OUT: &[&str] = &[key::ALIVE, key::LEADER, key::LEADER_SYNC];

pub(crate) async fn export(State(state): State<ApiState>, principal: Principal) -> Answer {
    let header = Header {
        lote_export: VERSION,
        exported_at: state.now().to_string(),
        daemon_version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_key: state
            .config
            .sealing_key
            .as_ref()
            .map(lote_vault::SealingKey::fingerprint),
    };
    let id = uuid::Uuid::new_v4().to_string();
    let export = Export::begin(state.store(), header, id, LEFT_OUT).await?;
    tracing::info!(by = %principal.who, "the state is exported");
    let start = (state, export);
    // A client that gets an error gets no last line either, and knows that it has not got all.
    let lines = futures_util::stream::try_unfold(start, async |(state, mut export)| {
        let next = tokio::select! {
            next = export.next(state.store()) => next,
            () = state.stopping.cancelled() => Err(lote_store::StoreError::Closed),
        };
        let next = next.inspect_err(|error| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "an export broke off"
            );
        })?;
        Ok::<_, lote_store::StoreError>(next.map(|lines| (Bytes::from(lines), (state, export))))
    });
    let headers = [(CONTENT_TYPE, JSON_LINES), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}
