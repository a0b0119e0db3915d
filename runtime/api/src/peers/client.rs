//! Asking the daemon of another node.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HOST,
    HeaderName, IF_RANGE, RANGE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lote_model::id::{FileServerUid, NodeName};
use lote_model::job::JobRecord;
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_model::path::ChildPath;
use lote_store::get_json;
use percent_encoding::utf8_percent_encode;
use rustls::pki_types::{DnsName, ServerName};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::credentials::PeerCredentials;
use crate::error::ApiError;
use crate::files::content::CONTENT_DIGEST;
use crate::files::link::elsewhere;
use crate::files::relative::RelativePath;
use crate::page::{ESCAPED, PageRequest};
use crate::server::notice_silence;
use crate::state::ApiState;

/// How long it may take until there is an encrypted connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a peer may take until it begins to answer.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// The same for one that is sent a part of a file first, and writes it to its disk.
/// The peer itself gives up earlier when nothing of the part comes.
const WRITTEN_TIMEOUT: Duration = Duration::from_mins(10);

/// The code of an answer that says a node is silent.
const UNREACHABLE: &str = "NodeUnreachable";

/// What travels with a request, and with its answer.
const SENT: [HeaderName; 3] = [RANGE, IF_RANGE, CONTENT_DIGEST];
const RETURNED: [HeaderName; 9] = [
    CONTENT_DIGEST,
    CONTENT_TYPE,
    ETAG,
    RETRY_AFTER,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    ACCEPT_RANGES,
    X_CONTENT_TYPE_OPTIONS,
    CACHE_CONTROL,
];

/// What a peer is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    method: Method,
    target: String,
    headers: HeaderMap,
    /// How long the answer's beginning may take.
    patience: Duration,
}

/// Which output of a job a peer is to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogErrand<'a> {
    /// The id of the output directory.
    pub(crate) directory: &'a str,
    /// The path below it.
    pub(crate) file: &'a RelativePath,
    /// Whether to stay until the job is over.
    pub(crate) follow: bool,
}

impl Errand {
    fn get(target: String) -> Self {
        Self {
            method: Method::GET,
            target,
            headers: HeaderMap::new(),
            patience: HEAD_TIMEOUT,
        }
    }

    /// The same with GET or HEAD.
    pub(crate) fn with_method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// The file of a signed link, or the bytes of it that a client asked for.
    pub(crate) fn download(token: &str, name: &str, method: Method, headers: &HeaderMap) -> Self {
        let target = format!("/peer/v1/files/{}/{}", escaped(token), escaped(name));
        Self {
            headers: sent(headers),
            ..Self::get(target).with_method(method)
        }
    }

    /// Something with a file of a file server of the peer's; `what` is the rest of the path.
    pub(crate) fn server_file<'a>(
        server: &'a ChildPath,
        uid: &'a FileServerUid,
        what: &str,
        method: Method,
        parameters: impl Iterator<Item = (&'a str, &'a str)>,
        headers: &HeaderMap,
    ) -> Self {
        let segments = [
            server.workspace.group.as_str(),
            server.workspace.workspace.as_str(),
            server.name.as_str(),
        ];
        let segments: Vec<String> = segments.into_iter().map(escaped).collect();
        let query: Vec<String> = std::iter::once(("uid", uid.as_str()))
            .chain(parameters)
            .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
            .collect();
        let (path, query) = (segments.join("/"), query.join("&"));
        let writes = method != Method::GET && method != Method::HEAD;
        Self {
            headers: sent(headers),
            patience: if writes {
                WRITTEN_TIMEOUT
            } else {
                HEAD_TIMEOUT
            },
            ..Self::get(format!("/peer/v1/fileservers/{path}/{what}?{query}")).with_method(method)
        }
    }

    /// One page of an output directory.
    pub(crate) fn list(
        job: &JobRecord,
        directory: &str,
        below: &RelativePath,
        page: &PageRequest,
    ) -> Self {
        let below = below.to_string();
        let limit = page.limit.to_string();
        let mut query = vec![
            ("directory", directory),
            ("below", &below),
            ("maxresults", &limit),
        ];
        query.extend(page.after.as_deref().map(|after| ("$skiptoken", after)));
        Self::get(target(job, "files", &query))
    }

    /// An output file.
    pub(crate) fn read(job: &JobRecord, log: LogErrand<'_>) -> Self {
        let file = log.file.to_string();
        let query = [
            ("directory", log.directory),
            ("file", &file),
            ("follow", if log.follow { "true" } else { "false" }),
        ];
        Self::get(target(job, "logs", &query))
    }

    /// What the job's part on the peer's node did of late.
    pub(crate) fn samples(job: &JobRecord) -> Self {
        Self::get(target(job, "samples", &[]))
    }
}

/// What of a client's headers travels on.
fn sent(headers: &HeaderMap) -> HeaderMap {
    let kept = |name: &HeaderName| Some((name.clone(), headers.get(name)?.clone()));
    SENT.iter().filter_map(kept).collect()
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn target(job: &JobRecord, what: &str, query: &[(&str, &str)]) -> String {
    let path = &job.path;
    let segments = [
        path.workspace.group.as_str(),
        path.workspace.workspace.as_str(),
        path.experiment.as_str(),
        path.job.as_str(),
    ];
    let segments: Vec<String> = segments.into_iter().map(escaped).collect();
    let uid = ("uid", job.uid.as_str());
    let query: Vec<String> = std::iter::once(&uid)
        .chain(query)
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    format!(
        "/peer/v1/jobs/{}/{what}?{}",
        segments.join("/"),
        query.join("&")
    )
}

/// Why a node could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silent {
    #[error("it is not in the cluster any more")]
    Unknown,
    #[error("its name cannot stand in a certificate")]
    Name,
    #[error("cannot connect to its daemon at {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("its daemon at {address} did not answer within {} s", .limit.as_secs())]
    Slow { address: String, limit: Duration },
    #[error("its daemon broke the connection off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("its daemon does not let this one in; see the logs of both")]
    Refused,
}

/// Whether an error says that a node is silent.
pub(crate) fn is_unreachable(error: &ApiError) -> bool {
    error.problem.code == UNREACHABLE
}

fn unreachable(node: &NodeName, reason: &Silent) -> ApiError {
    tracing::warn!(%node, "another daemon could not be asked: {reason}");
    let message = format!(
        "what was asked for lies on node {node}, which cannot be reached: {reason}; `lote node \
         status {node}` says how it fares"
    );
    ApiError::new(StatusCode::BAD_GATEWAY, UNREACHABLE, message)
}

/// Asks the daemon of `node`; its answer comes as it is, refusals included.
pub(crate) async fn ask(
    state: &ApiState,
    node: &NodeName,
    errand: Errand,
) -> Result<Response, ApiError> {
    ask_with(state, node, errand, Body::empty()).await
}

/// The same with a body, which is passed on as it comes.
pub(crate) async fn ask_with(
    state: &ApiState,
    node: &NodeName,
    errand: Errand,
    body: Body,
) -> Result<Response, ApiError> {
    let Some(credentials) = &state.config.peers else {
        return Err(elsewhere(node));
    };
    let record = get_json::<NodeRecord>(state.store(), &key::node(node)).await?;
    let Some(record) = record else {
        return Err(unreachable(node, &Silent::Unknown));
    };
    let Some(address) = record.value.peer_address else {
        return Err(elsewhere(node));
    };
    match send(state, credentials, node, &address, errand, body).await {
        Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => {
            Err(unreachable(node, &Silent::Refused))
        }
        Ok(answer) => Ok(answer),
        Err(reason) => Err(unreachable(node, &reason)),
    }
}

async fn send(
    state: &ApiState,
    credentials: &PeerCredentials,
    node: &NodeName,
    address: &str,
    errand: Errand,
    body: Body,
) -> Result<Response, Silent> {
    let slow = |limit| Silent::Slow {
        address: address.to_owned(),
        limit,
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect(credentials, node, address))
        .await
        .map_err(|_| slow(CONNECT_TIMEOUT))??;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection to another daemon ended early: {error}");
        }
    });
    let connection = Connection(connection.abort_handle());
    let mut request = Request::new(body);
    *request.method_mut() = errand.method;
    *request.uri_mut() = errand.target.parse().map_err(|_| Silent::Name)?;
    *request.headers_mut() = errand.headers;
    let host = address.parse().map_err(|_| Silent::Name)?;
    request.headers_mut().insert(HOST, host);
    let answer = tokio::time::timeout(errand.patience, sender.send_request(request))
        .await
        .map_err(|_| slow(errand.patience))??;
    Ok(returned(answer, connection, state.stopping.clone()))
}

pub(super) async fn connect(
    credentials: &PeerCredentials,
    node: &NodeName,
    address: &str,
) -> Result<TlsStream<TcpStream>, Silent> {
    let name = DnsName::try_from(node.as_str().to_owned()).map_err(|_| Silent::Name)?;
    let failed = |source| Silent::Connect {
        address: address.to_owned(),
        source,
    };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    let _ = stream.set_nodelay(true);
    notice_silence(&stream);
    let connector = TlsConnector::from(credentials.client.clone());
    let encrypted = connector.connect(ServerName::DnsName(name), stream).await;
    encrypted.map_err(failed)
}

/// A connection that serves one answer; dropping it ends it, at the peer as well.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answer as a client may have it: its connection lives as long as its body.
fn returned(
    answer: hyper::Response<Incoming>,
    connection: Connection,
    stopping: CancellationToken,
) -> Response {
    let (head, body) = answer.into_parts();
    let body = body.into_data_stream();
    let start = (body, connection, stopping);
    let body = futures_util::stream::try_unfold(start, async |(mut body, connection, stopping)| {
        let next = tokio::select! {
            next = body.next() => next,
            () = stopping.cancelled() => return Err(io::Error::other("this daemon is stopping")),
        };
        match next.transpose() {
            Ok(chunk) => Ok(chunk.map(|chunk| (chunk, (body, connection, stopping)))),
            Err(error) => Err(io::Error::other(error)),
        }
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = head.status;
    let kept = |name: &HeaderName| Some((name.clone(), head.headers.get(name)?.clone()));
    response
        .headers_mut()
        .extend(RETURNED.iter().filter_map(kept));
    response
}

/// What a peer refused, as an error of ours; its answer otherwise.
pub(crate) async fn passed_on(node: &NodeName, answer: Response) -> Result<Response, ApiError> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body = http_body_util::Limited::new(answer.into_body(), 64 * 1024);
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let problem = bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
        .and_then(|value| serde_json::from_value(value.get("error")?.clone()).ok());
    match problem {
        Some(problem) => Err(ApiError { status, problem }),
        None => Err(ApiError::internal(&format!(
            "the daemon of node {node} answered {status} without an error"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_proves_who_asks_travels_on() {
        let headers = [
            ("authorization", "Bearer lote_x_y"),
            ("cookie", "a=b"),
            ("range", "bytes=1-"),
            ("x-forwarded-for", "10.0.0.1"),
        ];
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        let errand = Errand::download("t/../x", "a b", Method::HEAD, &headers);
        assert_eq!(errand.target, "/peer/v1/files/t%2F..%2Fx/a%20b");
        assert_eq!(errand.method, Method::HEAD);
        assert_eq!(errand.headers.keys().collect::<Vec<_>>(), [RANGE]);
    }
}
