//! Authentication: who asks.
//!
//! While no token exists anybody may do everything; the daemon listens on
//! loopback only then. The first token closes the door for good: revoking all
//! tokens does not open it again.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode, Uri};
use lote_model::access::operations::is_public;
use lote_model::access::token::{TokenRecord, TokenState, TokenText};
use lote_model::key;
use lote_store::get_json;

use super::bearer::{Shown, shown};
use super::principal::Principal;
use super::seats::Seats;
use super::secret::hash;
use crate::error::ApiError;
use crate::normalise::canonical;
use crate::state::ApiState;

/// What the doors of one daemon remember; the store knows better.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// Set once a token was seen to exist. It never opens again.
    closed: AtomicBool,
    /// Who is listening to what never ends by itself.
    pub(crate) seats: Seats,
}

impl Door {
    /// Whether requests need a token.
    pub(crate) async fn is_closed(&self, state: &ApiState) -> Result<bool, ApiError> {
        if !state.config.operator_tokens.is_empty() || self.closed.load(Ordering::Acquire) {
            return Ok(true);
        }
        let closed = state.store().get(key::DOOR).await?.is_some();
        self.closed.fetch_or(closed, Ordering::AcqRel);
        Ok(closed)
    }
}

/// Finds out who asks and notes it in the request. Public paths need nobody.
pub(crate) async fn authenticate(state: &ApiState, request: &mut Request) -> Result<(), ApiError> {
    let path = canonical(request.uri().path()).path;
    if is_public(request.method().as_str(), &path) {
        return Ok(());
    }
    let principal = principal(state, request.headers()).await?;
    request.extensions_mut().insert(principal);
    Ok(())
}

async fn principal(state: &ApiState, headers: &HeaderMap) -> Result<Principal, ApiError> {
    if !state.door.is_closed(state).await? {
        refuse_web_pages(headers)?;
        return Ok(Principal::open());
    }
    let text = match shown(headers) {
        Shown::Token(text) => text,
        Shown::Nothing => {
            return Err(unauthenticated(
                "this daemon wants a token: send `Authorization: Bearer TOKEN`",
            ));
        }
        Shown::Odd => {
            return Err(unauthenticated(
                "the Authorization header is not `Bearer` with one token",
            ));
        }
    };
    owner(state, text).await
}

/// Whether a token would be let in; anything would while there is none.
pub(crate) async fn accepts(state: &ApiState, text: &str) -> Result<bool, ApiError> {
    if !state.door.is_closed(state).await? {
        return Ok(true);
    }
    match owner(state, text).await {
        Ok(_) => Ok(true),
        Err(error) if error.status == StatusCode::UNAUTHORIZED => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whose token it is.
async fn owner(state: &ApiState, text: &str) -> Result<Principal, ApiError> {
    if let Some(name) = state.config.operator_tokens.find(text) {
        return Ok(Principal::operator(name));
    }
    let record = record(state, text).await?;
    match record.state(state.now()) {
        TokenState::Active => Ok(Principal::of(&record)),
        TokenState::Used => Err(unauthenticated(
            "the token was used as often as it could be; ask for a new one",
        )),
        TokenState::Expired => Err(unauthenticated("the token has expired; ask for a new one")),
        TokenState::Revoked => Err(unauthenticated("the token was revoked; ask for a new one")),
    }
}

/// The record of a token whose secret is right. Whether the id or the secret is
/// wrong is not told.
async fn record(state: &ApiState, text: &str) -> Result<TokenRecord, ApiError> {
    let token = TokenText::parse(text);
    let parsed = token.and_then(|token| Some((token.id()?, token.secret())));
    let Some((id, secret)) = parsed else {
        return Err(unauthenticated(
            "the token is not one of this installation: they look like lote_ID_SECRET",
        ));
    };
    let found = get_json::<TokenRecord>(state.store(), &key::token(&id)).await?;
    let shown = hash(secret);
    let found = found.filter(|found| shown.is_stored_as(&found.value.secret_hash));
    match found {
        Some(found) => Ok(found.value),
        None => Err(unauthenticated(
            "the token is not known to this installation",
        )),
    }
}

/// 401.
pub(crate) fn unauthenticated(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "AuthenticationFailed", message)
}

/// Without tokens the only protection is that nobody else reaches loopback. A
/// browser on this machine does, for any page that it shows; browsers say which
/// page a request comes from.
fn refuse_web_pages(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().ok().and_then(|text| text.parse().ok());
    if origin.as_ref().and_then(Uri::host).is_some_and(is_loopback) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "AuthorizationFailed",
        "a web page of another host may not talk to this daemon while it has no tokens",
    ))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_hosts_are_refused() {
        let from = |origin: &'static str| {
            refuse_web_pages(&[(ORIGIN, origin.parse().unwrap())].into_iter().collect())
        };
        assert!(refuse_web_pages(&HeaderMap::new()).is_ok());
        for own in [
            "http://localhost:8080",
            "http://127.0.0.1",
            "http://[::1]:3",
        ] {
            assert!(from(own).is_ok(), "{own}");
        }
        for other in [
            "null",
            "http://example.org",
            "https://127.0.0.1.example.org",
            "",
        ] {
            assert_eq!(from(other).unwrap_err().status, 403, "{other}");
        }
    }
}
