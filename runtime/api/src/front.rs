//! What happens to every request before its handler and after.

use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{EXPECT, HOST, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use lote_model::path::IdStyle;
use lote_model::problem::Problem;
use tower::Service;

use crate::audit::{self, Visit};
use crate::auth::{self, Principal};
use crate::error::ApiError;
use crate::leftover::{self, Leftover};
use crate::normalise::{Origin, canonical};
use crate::request::{Caller, Parameters};
use crate::state::ApiState;

/// The versions of the Batch AI API that Lote speaks.
pub(crate) const API_VERSIONS: [&str; 1] = ["2018-05-01"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// The routes with what surrounds them.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) state: ApiState,
    pub(crate) routes: Router,
}

/// Answers any request.
pub(crate) async fn answer(State(mut front): State<Front>, mut request: Request) -> Response {
    let client_request_id = request.headers().get(CLIENT_REQUEST_ID).cloned();
    let mut visit = Visit::of(&request);
    let (method, begun) = (request.method().clone(), Instant::now());
    let leftover = lend_body(&mut request);
    let entered = enter(&front.state, &mut request).await;
    visit.principal = request.extensions().get::<Principal>().cloned();
    let response = match entered {
        Ok(()) => match front.routes.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        Err(error) => {
            drop(request);
            error.into_response()
        }
    };
    let meter = &front.state.requests;
    meter.answered(&method, response.status(), begun.elapsed());
    // A body that did not come in time is not waited for once more.
    let came = response.status() != StatusCode::REQUEST_TIMEOUT;
    if let Some(leftover) = leftover.filter(|_| came) {
        leftover.drain().await;
    }
    let mut response = audit::record(&front.state, &visit, response).await;
    mark(response.headers_mut(), &visit.request_id, client_request_id);
    response
}

/// Nothing of a request is looked at before it is known who asks.
async fn enter(state: &ApiState, request: &mut Request) -> Result<(), ApiError> {
    auth::authenticate(state, request).await?;
    admit(state, request)
}

/// Sees to it that the body is read, whatever becomes of the request. Not if the
/// client waits to be asked for the body: it sends none unless a handler reads.
fn lend_body(request: &mut Request) -> Option<Leftover> {
    if request.headers().contains_key(EXPECT) || request.body().is_end_stream() {
        return None;
    }
    let (lent, leftover) = leftover::lend(std::mem::take(request.body_mut()));
    *request.body_mut() = lent;
    Some(leftover)
}

fn mark(headers: &mut HeaderMap, request_id: &str, client_request_id: Option<HeaderValue>) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(id) = client_request_id {
        headers.insert(CLIENT_REQUEST_ID, id);
    }
}

/// Brings the path into the form of the routes and notes who asks, and how.
fn admit(state: &ApiState, request: &mut Request) -> Result<(), ApiError> {
    let uri = request.uri().clone();
    let canonical = canonical(uri.path());
    let (style, api_version) = match canonical.origin {
        Origin::Lote => (IdStyle::Lote, None),
        Origin::Provider => {
            let version = api_version(&Parameters::of(&uri)?, true)?;
            (IdStyle::Lote, Some(version))
        }
        Origin::ResourceManager {
            subscription,
            provider,
        } => {
            let version = api_version(&Parameters::of(&uri)?, provider)?;
            (
                IdStyle::ResourceManager {
                    subscription: checked_subscription(&subscription)?,
                },
                Some(version),
            )
        }
    };
    let base = base_url(state, request);
    request.extensions_mut().insert(Caller {
        style,
        base,
        path: uri.path().to_owned(),
        api_version,
    });
    if canonical.path != uri.path() {
        *request.uri_mut() = with_path(&uri, &canonical.path)?;
    }
    Ok(())
}

fn with_path(uri: &Uri, path: &str) -> Result<Uri, ApiError> {
    let target = uri
        .query()
        .map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    target
        .parse()
        .map_err(|_| ApiError::bad_request("InvalidUri", "the URL of the request is malformed"))
}

/// The subscription becomes part of output paths, so it must be a plain name.
fn checked_subscription(text: &str) -> Result<String, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    let fits =
        (1..=90).contains(&text.len()) && text.chars().all(plain) && text.chars().any(|c| c != '.');
    if fits {
        return Ok(text.to_owned());
    }
    let message = "a subscription id has 1 to 90 letters, digits, '-', '_' and '.'";
    Err(Problem::new("InvalidSubscriptionId", message).at("subscriptionId"))
}

fn api_version(parameters: &Parameters, provider: bool) -> Result<String, Problem> {
    let supported = API_VERSIONS.join(", ");
    let complaint = |code: &str, message: String| Problem::new(code, message).at("api-version");
    let Some(version) = parameters
        .get("api-version")
        .filter(|version| !version.is_empty())
    else {
        let message =
            format!("the query parameter api-version is required; supported: {supported}");
        return Err(complaint("MissingApiVersionParameter", message));
    };
    // The neighbours of Batch AI have versions of their own, which change often.
    if provider && !API_VERSIONS.contains(&version) {
        let message = format!("this api-version is not supported; supported: {supported}");
        return Err(complaint("InvalidApiVersionParameter", message));
    }
    Ok(version.to_owned())
}

/// The origin of absolute URLs in answers: as configured, else as the client
/// called us, else where we listen. A header that is no host is not repeated.
fn base_url(state: &ApiState, request: &Request) -> String {
    if let Some(url) = &state.config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let header = request
        .headers()
        .get(HOST)
        .and_then(|value| value.to_str().ok());
    let scheme = match &state.config.tls {
        Some(_) => "https",
        None => "http",
    };
    if let Some(host) = header.filter(|host| is_host(host)) {
        return format!("{scheme}://{host}");
    }
    match state.address.get() {
        Some(address) => format!("{scheme}://{address}"),
        None => format!("{scheme}://localhost"),
    }
}

fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    (1..=255).contains(&text.len())
        && text.chars().all(plain)
        && text
            .parse::<axum::http::uri::Authority>()
            .is_ok_and(|host| !host.host().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_are_repeated_in_urls() {
        for good in ["a", "localhost:8471", "10.0.0.1", "[::1]:80", "my_host.lan"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "a/b",
            "user@host",
            "a b",
            "\"",
            "evil.example/?x=",
            ":80",
            "[::1",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn subscriptions_cannot_climb() {
        assert!(checked_subscription("00000000-0000-0000-0000-000000000001").is_ok());
        for bad in ["", "..", ".", "%2e%2e", "a/b", "ä", &"x".repeat(91)] {
            assert!(checked_subscription(bad).is_err(), "{bad}");
        }
    }
}
