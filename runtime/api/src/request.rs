//! What handlers are given of a request.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header::EXPECT};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use lote_model::id::NodeName;
use lote_model::name::{GroupName, ResourceName};
use lote_model::path::{ChildPath, IdStyle, JobPath, WorkspacePath};
use lote_model::problem::Problem;

use crate::error::ApiError;
use crate::state::ApiState;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Who asks, and in which form the answer goes back.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// How ids are written.
    pub(crate) style: IdStyle,
    /// `http://host:port`, the beginning of absolute URLs.
    pub(crate) base: String,
    /// The path as sent, for links to further pages.
    pub(crate) path: String,
    /// The version to repeat in URLs.
    pub(crate) api_version: Option<String>,
}

impl Caller {
    /// Whether terminal states are held back from this caller.
    pub(crate) fn is_old_client(&self) -> bool {
        matches!(self.style, IdStyle::ResourceManager { .. })
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Caller>()
            .cloned()
            .ok_or_else(|| ApiError::internal(&"a request without its caller"))
    }
}

/// The query parameters; names are compared without case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters(pub(crate) Vec<(String, String)>);

impl Parameters {
    /// The parameters of a URI.
    pub(crate) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let axum::extract::Query(pairs) =
            axum::extract::Query::try_from_uri(uri).map_err(|_| {
                ApiError::bad_request("InvalidQuery", "the query of the URL is malformed")
            })?;
        Ok(Self(pairs))
    }

    /// The value of a parameter, if it was sent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// A whole number between two bounds.
    pub(crate) fn number(
        &self,
        name: &str,
        bounds: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, Problem> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                let message = format!(
                    "{name} must be a whole number from {} to {}",
                    bounds.start(),
                    bounds.end()
                );
                Problem::invalid(name, message)
            })
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(Problem::invalid(
                name,
                format!("{name} must be true or false"),
            )),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.uri)
    }
}

/// The bytes of a body within the limits of size and time.
pub(crate) struct Body(pub(crate) Bytes);

impl FromRequest<ApiState> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let waits_for_consent = request.headers().contains_key(EXPECT);
        let mut body = request.into_body();
        let limit_bytes = state.config.body_limit_bytes;
        let announced = body.size_hint().lower();
        if waits_for_consent && announced > limit_bytes as u64 {
            return Err(ApiError::too_large(limit_bytes));
        }
        let read = tokio::time::timeout(BODY_TIMEOUT, read_body(&mut body, limit_bytes)).await;
        read.unwrap_or_else(|_| Err(too_slow())).map(Self)
    }
}

fn too_slow() -> ApiError {
    let message = format!(
        "the request body did not arrive within {} s",
        BODY_TIMEOUT.as_secs()
    );
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", message)
}

async fn read_body(body: &mut axum::body::Body, limit_bytes: usize) -> Result<Bytes, ApiError> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| ApiError::bad_request("IncompleteBody", "the request body broke off"))?;
        if let Ok(data) = frame.into_data() {
            if kept.len() + data.len() > limit_bytes {
                return Err(ApiError::too_large(limit_bytes));
            }
            kept.extend_from_slice(&data);
        }
    }
    Ok(kept.into())
}

/// The names in a path.
struct Names(RawPathParams);

impl Names {
    async fn of<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let wrong = |_| {
            ApiError::bad_request(
                "InvalidResourceName",
                "a name in the URL is not valid UTF-8",
            )
        };
        RawPathParams::from_request_parts(parts, state)
            .await
            .map(Self)
            .map_err(wrong)
    }

    fn text(&self, segment: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| *key == segment)
            .map_or("", |(_, value)| value)
    }

    fn group(&self) -> Result<GroupName, Problem> {
        GroupName::new(self.text("group")).map_err(|problem| problem.at("resourceGroupName"))
    }

    fn name(&self, segment: &str) -> Result<ResourceName, Problem> {
        ResourceName::new(self.text(segment))
            .map_err(|problem| problem.at(format!("{segment}Name")))
    }

    fn workspace(&self) -> Result<WorkspacePath, Problem> {
        Ok(WorkspacePath {
            group: self.group()?,
            workspace: self.name("workspace")?,
        })
    }

    fn child(&self, segment: &str) -> Result<ChildPath, Problem> {
        Ok(self.workspace()?.child(self.name(segment)?))
    }
}

/// The resource that a path names.
pub(crate) struct At<T>(pub(crate) T);

/// The experiment that a path names.
pub(crate) struct AtExperiment(pub(crate) ChildPath);

/// The cluster that a path names.
pub(crate) struct AtCluster(pub(crate) ChildPath);

/// The file server that a path names.
pub(crate) struct AtFileServer(pub(crate) ChildPath);

macro_rules! from_path {
    ($type:ty, $names:ident => $read:expr) => {
        impl<S: Send + Sync> FromRequestParts<S> for $type {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
                let $names = Names::of(parts, state).await?;
                Ok($read)
            }
        }
    };
}

from_path!(At<GroupName>, names => At(names.group()?));
from_path!(At<WorkspacePath>, names => At(names.workspace()?));
from_path!(At<JobPath>, names => At(JobPath::new(&names.child("experiment")?, names.name("job")?)));
from_path!(AtExperiment, names => AtExperiment(names.child("experiment")?));
from_path!(AtCluster, names => AtCluster(names.child("cluster")?));
from_path!(AtFileServer, names => AtFileServer(names.child("fileServer")?));
from_path!(At<NodeName>, names => At(NodeName::new(names.text("node").to_ascii_lowercase())));

/// The texts in a path, as sent.
pub(crate) struct Segments<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let wrong = |_| ApiError::bad_request("InvalidUri", "the URL of the request is malformed");
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(texts)| Self(texts))
            .map_err(wrong)
    }
}
