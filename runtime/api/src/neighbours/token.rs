//! The token endpoints of a directory (OAuth 2.0), for clients that insist on
//! logging in.
//!
//! A client's secret or password is its Lote token. The access token that it
//! gets has the shape of a JSON Web Token, because clients look into it, and
//! carries the Lote token as its third part: whoever checks requests takes the
//! last of three parts. It is worth no more and lasts no longer than that token.
//! A daemon that asks for no tokens accepts every secret.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::{Answer, ApiError};
use crate::request::{Body, Caller, Segments};
use crate::state::ApiState;

/// How long clients use an access token before they ask for another one.
const LIFETIME_SECONDS: i64 = 3_600;

/// What the tokens of Lote begin with.
const LOTE_TOKEN_PREFIX: &str = "lote_";

/// The third part where the secret is no token of Lote.
const NO_TOKEN: &str = "open";

/// Whether a secret is good enough for an access token. While there are no
/// tokens, every secret will do.
async fn is_known_token(state: &ApiState, secret: &str) -> Result<bool, ApiError> {
    crate::auth::accepts(state, secret).await
}

/// A refusal in the words of RFC 6749, §5.2.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
}

impl Refusal {
    const fn bad_request(error: &'static str, description: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description,
        }
    }
}

const WRONG_SECRET: Refusal = Refusal {
    status: StatusCode::UNAUTHORIZED,
    error: "invalid_client",
    description: "the secret or password must be a token of Lote; `lote token create` makes one",
};

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        (self.status, [(CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }
}

/// What a client asks with.
#[derive(Debug, PartialEq, Eq)]
struct Grant {
    /// Who it says it is.
    client: String,
    /// What proves it.
    secret: String,
    /// What the access token is for.
    audience: String,
}

/// The members of a form; of a repeated one the first counts.
fn form(body: &[u8]) -> HashMap<String, String> {
    let mut members = HashMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        members
            .entry(name.into_owned())
            .or_insert(value.into_owned());
    }
    members
}

impl Grant {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let mut members = form(body);
        let mut take = |name: &str| members.remove(name).unwrap_or_default();
        let client = take("client_id");
        let (client, secret) = match take("grant_type").as_str() {
            "client_credentials" => (client, take("client_secret")),
            "password" => (take("username"), take("password")),
            "refresh_token" => (client, take("refresh_token")),
            "" => {
                let description = "grant_type is missing; the body must be a form";
                return Err(Refusal::bad_request("invalid_request", description));
            }
            _ => {
                let description =
                    "grant_type must be client_credentials, password or refresh_token";
                return Err(Refusal::bad_request("unsupported_grant_type", description));
            }
        };
        if secret.is_empty() {
            let description = "client_secret, password or refresh_token is missing";
            return Err(Refusal::bad_request("invalid_request", description));
        }
        let audience = [take("resource"), take("scope")];
        Ok(Self {
            client,
            secret,
            audience: audience
                .into_iter()
                .find(|text| !text.is_empty())
                .unwrap_or_default(),
        })
    }

    /// `header.payload.token`.
    fn access_token(&self, caller: &Caller, tenant: &str, now: Timestamp) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let issued = now.as_second();
        let payload = json!({
            "aud": self.audience,
            "iss": format!("{}/{tenant}/", caller.base),
            "iat": issued,
            "nbf": issued,
            "exp": issued + LIFETIME_SECONDS,
            "appid": self.client,
            "sub": self.client,
            "tid": tenant,
            "ver": "1.0",
        });
        let header = json!({"typ": "JWT", "alg": "lote"});
        format!("{}.{}.{}", part(&header), part(&payload), self.third_part())
    }

    fn third_part(&self) -> &str {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let is_token = self.secret.starts_with(LOTE_TOKEN_PREFIX) && self.secret.chars().all(plain);
        if is_token { &self.secret } else { NO_TOKEN }
    }
}

async fn answer(
    state: &ApiState,
    caller: &Caller,
    tenant: &str,
    body: &[u8],
    describe: fn(&Grant, Timestamp) -> Value,
) -> Answer {
    let grant = match Grant::read(body) {
        Ok(grant) => grant,
        Err(refusal) => return Ok(refusal.into_response()),
    };
    if !is_known_token(state, &grant.secret).await? {
        return Ok(WRONG_SECRET.into_response());
    }
    let now = state.now();
    let mut answer = describe(&grant, now);
    answer["token_type"] = json!("Bearer");
    answer["access_token"] = json!(grant.access_token(caller, tenant, now));
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// The first form: numbers are texts, and the audience is repeated.
pub(crate) async fn v1(
    State(state): State<ApiState>,
    caller: Caller,
    Segments(tenant): Segments<String>,
    Body(body): Body,
) -> Answer {
    let describe = |grant: &Grant, now: Timestamp| {
        let expires = now.as_second() + LIFETIME_SECONDS;
        json!({
            "expires_in": LIFETIME_SECONDS.to_string(),
            "expires_on": expires.to_string(),
            "not_before": now.as_second().to_string(),
            "resource": grant.audience,
        })
    };
    answer(&state, &caller, &tenant, &body, describe).await
}

/// The second form.
pub(crate) async fn v2(
    State(state): State<ApiState>,
    caller: Caller,
    Segments(tenant): Segments<String>,
    Body(body): Body,
) -> Answer {
    let describe = |grant: &Grant, _: Timestamp| {
        json!({
            "expires_in": LIFETIME_SECONDS,
            "ext_expires_in": LIFETIME_SECONDS,
            "scope": grant.audience,
        })
    };
    answer(&state, &caller, &tenant, &body, describe).await
}

fn description(caller: &Caller, tenant: &str, version: &str) -> Value {
    let base = format!("{}/{tenant}", caller.base);
    json!({
        "issuer": format!("{base}{version}"),
        "authorization_endpoint": format!("{base}/oauth2{version}/authorize"),
        "token_endpoint": format!("{base}/oauth2{version}/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "grant_types_supported": ["client_credentials", "password", "refresh_token"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
    })
}

pub(crate) async fn describe_v1(caller: Caller, Segments(tenant): Segments<String>) -> Json<Value> {
    Json(description(&caller, &tenant, ""))
}

pub(crate) async fn describe_v2(caller: Caller, Segments(tenant): Segments<String>) -> Json<Value> {
    Json(description(&caller, &tenant, "/v2.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(body: &str) -> Result<Grant, &'static str> {
        Grant::read(body.as_bytes()).map_err(|refusal| refusal.error)
    }

    #[test]
    fn each_kind_of_grant_brings_its_secret() {
        for (body, client, secret) in [
            (
                "grant_type=client_credentials&client_id=a&client_secret=lote_x%2B1&resource=r",
                "a",
                "lote_x+1",
            ),
            (
                "grant_type=password&client_id=cli&username=u&password=p+q&scope=r",
                "u",
                "p q",
            ),
            (
                "grant_type=refresh_token&client_id=a&refresh_token=t&resource=r",
                "a",
                "t",
            ),
        ] {
            let read = grant(body).unwrap();
            assert_eq!(
                (read.client.as_str(), read.secret.as_str()),
                (client, secret)
            );
            assert_eq!(read.audience, "r");
        }
        assert_eq!(grant(""), Err("invalid_request"));
        assert_eq!(grant("{\"grant_type\":1}"), Err("invalid_request"));
        assert_eq!(
            grant("grant_type=client_credentials&client_id=a"),
            Err("invalid_request")
        );
        assert_eq!(
            grant("grant_type=device_code"),
            Err("unsupported_grant_type")
        );
    }

    #[test]
    fn only_a_token_of_lote_becomes_the_third_part() {
        for (secret, expected) in [
            ("lote_Ab-9", "lote_Ab-9"),
            ("secret", "open"),
            ("lote_a.b", "open"),
        ] {
            let grant = Grant {
                client: String::new(),
                secret: secret.into(),
                audience: String::new(),
            };
            assert_eq!(grant.third_part(), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = Grant::read(&body);
        }
    }
}
