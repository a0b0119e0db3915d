//! Authorisation, around every route and before its handler.

use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use lote_model::access::operations::{self, Operation, Reach};
use lote_model::access::permission::Kind;
use lote_model::access::{Permission, Target};

use super::door::unauthenticated;
use super::principal::Principal;
use super::seats::seated;
use crate::error::ApiError;
use crate::state::ApiState;

/// What a request needed; stays with the answer, for the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Needed {
    /// The permission.
    pub(crate) permission: Permission,
    /// What the request concerned, if its path named something.
    pub(crate) target: Option<Target>,
}

/// Lets a request through to its handler, or not. The names of the path are the
/// very ones that the handler is given, so no spelling leads around this.
pub(crate) async fn guard(
    State(state): State<ApiState>,
    pattern: MatchedPath,
    parameters: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let Some(row) = operations::find(request.method().as_str(), pattern.as_str()) else {
        return without_permission(request.method().as_str(), pattern.as_str()).into_response();
    };
    let principal = request.extensions().get::<Principal>().cloned();
    let target = parameters
        .map_err(|_| not_utf8())
        .and_then(|names| target(row, &names));
    let needed = Needed {
        permission: row.permission,
        target: target.as_ref().ok().cloned(),
    };
    let mut response = match check(&state, row, principal.as_ref(), target).await {
        Err(error) => error.into_response(),
        Ok(()) => match &principal {
            None => next.run(request).await,
            Some(principal) => seated(&state, principal, next.run(request).await).await,
        },
    };
    response.extensions_mut().insert(needed);
    response
}

fn target(row: &Operation, names: &RawPathParams) -> Result<Target, ApiError> {
    let name = |wanted: &str| {
        let mut all = names.iter();
        all.find(|(name, _)| *name == wanted)
            .map_or("", |(_, value)| value)
    };
    Ok(row.target(name)?)
}

async fn check(
    state: &ApiState,
    row: &Operation,
    principal: Option<&Principal>,
    target: Result<Target, ApiError>,
) -> Result<(), ApiError> {
    if row.reach == Reach::Public {
        return Ok(());
    }
    // `authenticate` has let nobody pass here without; this is the second lock.
    let principal = principal.ok_or_else(|| unauthenticated("this request needs a token"))?;
    principal.require(row.permission, &target?)?;
    if row.permission.kind() != Kind::Read {
        state.audit_can_be_written().await?;
    }
    Ok(())
}

/// A route that the table does not know is closed to everybody.
fn without_permission(method: &str, pattern: &str) -> ApiError {
    tracing::error!(method, pattern, "a route has no permission");
    ApiError::new(
        StatusCode::FORBIDDEN,
        "AuthorizationFailed",
        "nobody may do this: the operation has no permission assigned",
    )
}

fn not_utf8() -> ApiError {
    ApiError::bad_request(
        "InvalidResourceName",
        "a name in the URL is not valid UTF-8",
    )
}
