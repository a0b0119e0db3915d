//! Every refusal, as the API's error envelope (capabilities §3.10 and §4.5).

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use lote_model::problem::Problem;
use lote_store::StoreError;
use serde_json::json;

/// A refusal: the HTTP status and what the envelope says.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct ApiError {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// Code, sentence, target, details.
    pub(crate) problem: Problem,
}

/// The code of a refusal; stays with the answer, for the audit log.
#[derive(Clone, Debug)]
pub(crate) struct ErrorCode(pub(crate) String);

/// What most handlers return.
pub(crate) type Answer = Result<Response, ApiError>;

impl ApiError {
    /// Any status with a code and a sentence.
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            problem: Problem::new(code, message),
        }
    }

    /// 400.
    pub(crate) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404.
    pub(crate) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409.
    pub(crate) fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 413: the limit that was exceeded.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        let limit = lote_model::quantity::format_bytes(limit_bytes as u64);
        let message = format!(
            "the request body is too large: at most {limit} are accepted; keep large data in files"
        );
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestBodyTooLarge",
            message,
        )
    }

    /// 500: something that should not happen; the log says what.
    pub(crate) fn internal(what: &dyn std::fmt::Display) -> Self {
        tracing::error!("a request failed inside: {what}");
        let message = "the request failed inside the daemon; its log says why";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            message,
        )
    }

    /// The same error, pointing at a member or parameter.
    #[must_use]
    pub(crate) fn at(mut self, target: &str) -> Self {
        self.problem.target = Some(target.to_owned());
        self
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            problem,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::RequestTooLarge { limit, .. } => Self::too_large(limit),
            StoreError::Unavailable { .. }
            | StoreError::OutcomeUnknown { .. }
            | StoreError::Full { .. }
            | StoreError::Closed => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the store did not answer a request"
                );
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "StoreUnavailable",
                    error.to_string(),
                )
            }
            other => {
                tracing::error!(
                    error = &other as &dyn std::error::Error,
                    "the store refused a request"
                );
                Self::internal(&other)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = ErrorCode(self.problem.code.clone());
        let mut response = (self.status, Json(json!({ "error": self.problem }))).into_response();
        response.extensions_mut().insert(code);
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                axum::http::HeaderValue::from_static("Bearer"),
            );
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
        }
        response
    }
}
