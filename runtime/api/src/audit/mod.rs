//! The audit log: who did what, when, and what came of it.
//!
//! One line of JSON for each request that changes something, and for each that
//! was refused with 401 or 403; reads as well if the operator wants them. The
//! line is written before the answer leaves. While lines cannot be written,
//! changes are refused before they are made.
//!
//! * [`line`] — what a line says.
//! * [`log`] — the file: a thread that appends, and rotates by size.
//!
//! Invariant: no secret gets into a line. Queries, heads and bodies are left out
//! (but for the name of a file that is written), and so are parts of a path that may be links or tokens.

mod line;
mod log;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lote_model::access::permission::Kind;

use crate::auth::Principal;
use crate::auth::guard::Needed;
use crate::error::{ApiError, ErrorCode};
use crate::server::Peer;
use crate::state::ApiState;

pub use log::{AuditLog, AuditSink, Rotation};

/// The file of a file server that a request was about; stays with the answer until
/// it is written down, as it stands in the query only.
#[derive(Clone, Debug)]
pub(crate) struct File(pub(crate) String);

/// What is known of a request before it is answered.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    method: String,
    path: String,
    remote: Option<String>,
    claimed: Option<String>,
    /// Stands in the answer as well.
    pub(crate) request_id: String,
    /// Who asks, once that is known.
    pub(crate) principal: Option<Principal>,
}

impl Visit {
    /// What a request says of itself.
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            method: request.method().to_string(),
            path: line::shown_path(request.uri().path()),
            remote: request
                .extensions()
                .get::<Peer>()
                .map(|peer| peer.0.to_string()),
            claimed: crate::auth::claimed(request.headers()),
            request_id: uuid::Uuid::new_v4().to_string(),
            principal: None,
        }
    }
}

/// Writes the line of a request, if it gets one. The answer is another one if a
/// change could not be written down.
pub(crate) async fn record(state: &ApiState, visit: &Visit, mut response: Response) -> Response {
    let needed = response.extensions_mut().remove::<Needed>();
    let code = response.extensions_mut().remove::<ErrorCode>();
    let file = response.extensions_mut().remove::<File>();
    let Some(log) = &state.config.audit else {
        return response;
    };
    let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&response.status());
    let changes = needed
        .as_ref()
        .is_some_and(|needed| needed.permission.kind() != Kind::Read);
    let reads = state.config.audit_reads && needed.is_some();
    if !(refused || changes || reads) {
        return response;
    }
    let text = line::compose(
        state.now(),
        visit,
        needed.as_ref(),
        file.as_ref().map(|file| file.0.as_str()),
        response.status().as_u16(),
        code.as_ref().map(|code| code.0.as_str()),
    );
    match log.write(text).await {
        Ok(()) => response,
        Err(error) => {
            tracing::error!(
                method = visit.method,
                path = visit.path,
                status = response.status().as_u16(),
                "a request could not be written to the audit log: {error}"
            );
            if changes && response.status().is_success() {
                unwritten("the change may have been made").into_response()
            } else {
                response
            }
        }
    }
}

fn unwritten(outcome: &str) -> ApiError {
    let message = format!(
        "the audit log of the daemon cannot be written, so nothing may be changed; {outcome}; the \
         daemon's own log says why"
    );
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "AuditLogUnavailable",
        message,
    )
}

impl ApiState {
    /// 503 if a change could not be written down; asked before it is made.
    pub(crate) async fn audit_can_be_written(&self) -> Result<(), ApiError> {
        let Some(log) = &self.config.audit else {
            return Ok(());
        };
        log.make_room().await.map_err(|error| {
            tracing::error!("the audit log cannot be written; changes are refused: {error}");
            unwritten("nothing was changed")
        })
    }
}
