//! Requests to the daemon.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lote_model::problem::Problem;
use lote_model::transfer::{Digest, content_digest, parse_content_digest};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::config::Config;
use ureq::http::request::Builder;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, AsSendBody, Body};

use crate::answer;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::tls::connector::TlsConnector;
use crate::tls::verifier::NotBelieved;
use crate::tls::{Trust, TrustError, client_config};

/// A daemon that accepts no connection for this long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Every answer begins within this time; only a stream's body takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// A part of a file arrives within this time.
const PART_TIMEOUT: Duration = Duration::from_mins(10);

/// The most bytes of an answer that is read as a whole: a page of a thousand large jobs.
const ANSWER_LENGTH_MAX: u64 = 256 << 20;

/// The first wait between two looks at a long-running operation; the next are
/// longer, up to what the daemon asks for.
const POLL_FIRST: Duration = Duration::from_millis(20);

/// The longest wait between two looks.
const POLL_MAX: Duration = Duration::from_secs(1);

/// How long a daemon may be away while an operation is watched: it is restarted,
/// say. The operation goes on.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// A client of one daemon. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

/// What a request to create or to end something got.
#[derive(Debug)]
pub enum Done {
    /// The answer's body; null if there was none.
    Now(Value),
    /// It goes on; the URL says how far it is.
    Later(String),
}

/// A file, or a part of it, as it arrives.
pub struct Fetched {
    /// Whether it is the part that was asked for.
    pub is_part: bool,
    /// What tells this state of the file from others.
    pub etag: Option<String>,
    /// The SHA-256 of what arrives.
    pub digest: Option<Digest>,
    /// How much arrives, in bytes.
    pub length: Option<u64>,
    /// The size of the whole file in bytes.
    pub size: Option<u64>,
    /// What arrives.
    pub body: Stream,
}

impl Fetched {
    fn of(response: Response<Body>) -> Self {
        let text = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        let length = text("content-length").and_then(|text| text.parse().ok());
        let of_range = text("content-range").and_then(|text| text.rsplit_once('/')?.1.parse().ok());
        Self {
            is_part,
            etag: text("etag").map(str::to_owned),
            digest: text("content-digest").and_then(parse_content_digest),
            length,
            size: of_range.or(length.filter(|_| !is_part)),
            body: Box::new(response.into_body().into_reader()),
        }
    }
}

/// The body of an answer as it arrives.
pub type Stream = Box<dyn Read + Send>;

impl Client {
    /// A client of the daemon that the settings name.
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        Self::at(&settings.url, settings.token.as_deref(), &settings.trust)
    }

    /// A client of the daemon at a URL without a slash at its end.
    pub fn at(url: &str, token: Option<&str>, trust: &Trust) -> Result<Self, Failure> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A node of the cluster is never behind the site's web proxy.
            .proxy(None)
            .user_agent(concat!("lote/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build();
        Ok(Self {
            agent: agent(config, url, trust)?,
            url: url.to_owned(),
            token: token.map(str::to_owned),
        })
    }

    /// The daemon's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads one resource. `action` completes the sentence "cannot …".
    pub fn get(&self, action: &str, path: &str) -> Result<Value, Failure> {
        self.value(action, self.send(action, Method::GET, path, None, None)?)
    }

    /// Reads one resource into what is known of it.
    pub fn get_as<T: DeserializeOwned>(&self, action: &str, path: &str) -> Result<T, Failure> {
        let value = self.get(action, path)?;
        self.understood(action, &value)
    }

    /// Reads all pages of a list.
    pub fn list(&self, action: &str, path: &str) -> Result<Vec<Value>, Failure> {
        self.pages(action, &Method::GET, path)
    }

    /// Reads all pages of a list that is asked for with POST.
    pub fn list_by_post(&self, action: &str, path: &str) -> Result<Vec<Value>, Failure> {
        self.pages(action, &Method::POST, path)
    }

    /// Sends a body and reads the answer's.
    pub fn put(&self, action: &str, path: &str, body: Option<&Value>) -> Result<Done, Failure> {
        self.done(action, self.send(action, Method::PUT, path, body, None)?)
    }

    /// Changes a resource.
    pub fn patch(&self, action: &str, path: &str, body: &Value) -> Result<Value, Failure> {
        self.value(
            action,
            self.send(action, Method::PATCH, path, Some(body), None)?,
        )
    }

    /// Asks for an action, or sends something to be looked at.
    pub fn post(&self, action: &str, path: &str, body: Option<&Value>) -> Result<Done, Failure> {
        self.done(action, self.send(action, Method::POST, path, body, None)?)
    }

    /// Removes a resource. None if it was not there.
    pub fn delete(&self, action: &str, path: &str) -> Result<Option<Done>, Failure> {
        let response = self.send(action, Method::DELETE, path, None, None)?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        self.done(action, response).map(Some)
    }

    /// Opens a stream, or a file's content.
    pub fn stream(&self, action: &str, path: &str, accept: &str) -> Result<Stream, Failure> {
        let response = self.send(action, Method::GET, path, None, Some(accept))?;
        let response = self.accepted(action, response)?;
        Ok(Box::new(response.into_body().into_reader()))
    }

    /// Opens a file, or a part of it from one byte to another, both included; all of
    /// it if the part is asked for with a validator that is not that of the file.
    pub fn fetch(
        &self,
        action: &str,
        path: &str,
        part: Option<(u64, u64)>,
        etag: Option<&str>,
    ) -> Result<Fetched, Failure> {
        let mut request = self.head_of(Method::GET, path, "*/*");
        if let Some((first, last)) = part {
            request = request.header("range", format!("bytes={first}-{last}"));
        }
        if let Some(etag) = etag {
            request = request.header("if-range", etag);
        }
        let response = self.exchange(request, None)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(Fetched::of(response));
        }
        self.accepted(action, response).map(Fetched::of)
    }

    /// Sends bytes with their digest.
    pub fn put_bytes(
        &self,
        action: &str,
        path: &str,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let request = self
            .head_of(Method::PUT, path, "application/json")
            .header("content-type", "application/octet-stream")
            .header("content-digest", content_digest(digest));
        let response = self.exchange(request, Some(bytes))?;
        self.value(action, response).map(drop)
    }

    fn head_of(&self, method: Method, path: &str, accept: &str) -> Builder {
        let url = self.absolute(path);
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header("accept", accept);
        // Links may lead to another host; the token is for this one only.
        match self.token.as_ref().filter(|_| self.is_own(&url)) {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Sends bytes or nothing; whatever comes back comes within a time.
    fn exchange(&self, request: Builder, body: Option<&[u8]>) -> Result<Response<Body>, Failure> {
        let sent = match body {
            Some(bytes) => request
                .body(bytes)
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(timed(&self.agent, request, PART_TIMEOUT))),
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(timed(&self.agent, request, PART_TIMEOUT))),
        };
        sent.map_err(|error| unreachable(&self.url, error))
    }

    /// Opens a stream that is asked for with POST.
    pub fn stream_by_post(&self, action: &str, path: &str) -> Result<Stream, Failure> {
        let response = self.send(action, Method::POST, path, None, Some("*/*"))?;
        let response = self.accepted(action, response)?;
        Ok(Box::new(response.into_body().into_reader()))
    }

    /// Waits until an operation has ended.
    pub fn wait(&self, action: &str, operation: &str) -> Result<(), Failure> {
        self.wait_telling(action, operation, || {})
    }

    /// The same; calls `meanwhile` each time it has not ended yet.
    pub fn wait_telling(
        &self,
        action: &str,
        operation: &str,
        mut meanwhile: impl FnMut(),
    ) -> Result<(), Failure> {
        let mut pause = POLL_FIRST;
        let mut answered = Instant::now();
        loop {
            match self.get(action, operation) {
                Ok(value) => {
                    answered = Instant::now();
                    match value["status"]
                        .as_str()
                        .unwrap_or_default()
                        .to_ascii_lowercase()
                        .as_str()
                    {
                        "succeeded" => return Ok(()),
                        "failed" | "canceled" => return Err(operation_failed(action, &value)),
                        _ => meanwhile(),
                    }
                }
                Err(failure) if failure.is_transient() && answered.elapsed() < AWAY_MAX => {}
                Err(failure) => return Err(failure),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// The body of an answer that is there at once or after waiting.
    pub fn finish(&self, action: &str, done: Done) -> Result<Value, Failure> {
        match done {
            Done::Now(value) => Ok(value),
            Done::Later(operation) => self.wait(action, &operation).map(|()| Value::Null),
        }
    }

    /// Reads a value into what is known of it.
    pub fn understood<T: DeserializeOwned>(
        &self,
        action: &str,
        value: &Value,
    ) -> Result<T, Failure> {
        answer::read(value).map_err(|source| self.odd(action, source))
    }

    fn pages(&self, action: &str, method: &Method, path: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let mut page = self.value(
                action,
                self.send(action, method.clone(), &path, None, None)?,
            )?;
            if let Value::Array(values) = page["value"].take() {
                items.extend(values);
            }
            next = page["nextLink"]
                .as_str()
                .filter(|link| !link.is_empty())
                .map(str::to_owned);
        }
        Ok(items)
    }

    fn send(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        accept: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        let takes_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
        let mut request = self.head_of(method, path, accept.unwrap_or("application/json"));
        let bytes = body
            .map(serde_json::to_vec)
            .transpose()
            .map_err(|source| self.odd(action, source))?;
        if bytes.is_some() {
            request = request.header("content-type", "application/json");
        }
        let sent = if takes_body {
            // Empty rather than absent: ureq sends an absent one in chunks.
            let request = request.body(bytes.unwrap_or_default());
            request
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request))
        } else {
            request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request))
        };
        sent.map_err(|error| unreachable(&self.url, error))
    }

    fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            format!("{}{path}", self.url)
        } else {
            path.to_owned()
        }
    }

    fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.url)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The body of a good answer.
    fn value(&self, action: &str, response: Response<Body>) -> Result<Value, Failure> {
        let bytes = self.read(action, self.accepted(action, response)?)?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|source| self.odd(action, source))
    }

    fn done(&self, action: &str, response: Response<Body>) -> Result<Done, Failure> {
        let operation = response
            .headers()
            .get("azure-asyncoperation")
            .and_then(|url| url.to_str().ok())
            .map(str::to_owned);
        match operation {
            Some(url) if response.status() == StatusCode::ACCEPTED => Ok(Done::Later(url)),
            _ => self.value(action, response).map(Done::Now),
        }
    }

    /// The same answer, unless the daemon said no.
    fn accepted(&self, action: &str, response: Response<Body>) -> Result<Response<Body>, Failure> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = self.read(action, response)?;
        Err(Failure::Refused {
            action: action.to_owned(),
            status: status.as_u16(),
            problem: Box::new(problem(status, &bytes)),
        })
    }

    fn read(&self, action: &str, mut response: Response<Body>) -> Result<Vec<u8>, Failure> {
        let body = response.body_mut().with_config().limit(ANSWER_LENGTH_MAX);
        body.read_to_vec().map_err(|error| Failure::Broken {
            action: action.to_owned(),
            url: self.url.clone(),
            source: error.into_io(),
        })
    }

    fn odd(&self, action: &str, source: serde_json::Error) -> Failure {
        Failure::Answer {
            action: action.to_owned(),
            url: self.url.clone(),
            source,
        }
    }
}

/// A request whose answer must be read within a time.
fn timed<B: AsSendBody>(agent: &Agent, request: Request<B>, limit: Duration) -> Request<B> {
    let configured = agent.configure_request(request);
    configured.timeout_recv_body(Some(limit)).build()
}

/// Why there is no answer: nobody is there, or it is somebody else.
fn unreachable(url: &str, error: ureq::Error) -> Failure {
    let url = url.to_owned();
    let reason = match &error {
        ureq::Error::Io(error) => error.get_ref(),
        _ => None,
    };
    let stranger = reason.and_then(|reason| reason.downcast_ref::<NotBelieved>());
    match stranger.cloned() {
        Some(source) => Failure::Untrusted { url, source },
        None => Failure::Unreachable {
            url,
            source: Box::new(error),
        },
    }
}

/// Plain connections, and encrypted ones where the daemon's URL asks for them.
fn agent(config: Config, url: &str, trust: &Trust) -> Result<Agent, TrustError> {
    if !url.starts_with("https://") {
        return Ok(Agent::new_with_config(config));
    }
    let tls = TlsConnector(Arc::new(client_config(trust)?));
    let connector = ().chain(TcpConnector::default()).chain(tls);
    Ok(Agent::with_parts(
        config,
        connector,
        DefaultResolver::default(),
    ))
}

/// What the daemon says is wrong; whatever it sends.
fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let parsed = serde_json::from_slice::<Value>(body).ok();
    let enveloped = parsed.and_then(|value| serde_json::from_value(value["error"].clone()).ok());
    enveloped.unwrap_or_else(|| {
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        let reason = status.canonical_reason().unwrap_or("unknown status");
        Problem::new(
            format!("Http{}", status.as_u16()),
            format!("{reason}: {text}").trim_end_matches([' ', ':']),
        )
    })
}

fn operation_failed(action: &str, value: &Value) -> Failure {
    let action = action.to_owned();
    if let Ok(problem) = serde_json::from_value::<Problem>(value["error"].clone()) {
        let problem = Box::new(problem);
        return Failure::Refused {
            action,
            status: 200,
            problem,
        };
    }
    let status = value["status"].as_str().unwrap_or("failed").to_owned();
    Failure::Operation { action, status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_strangers_still_say_something() {
        let status = StatusCode::BAD_GATEWAY;
        assert_eq!(problem(status, b"<html>").message, "Bad Gateway: <html>");
        assert_eq!(problem(status, b"").message, "Bad Gateway");
        assert_eq!(problem(status, b"{}").code, "Http502");
        let known = problem(
            status,
            br#"{"error": {"code": "C", "message": "m", "target": null}}"#,
        );
        assert_eq!((known.code.as_str(), known.message.as_str()), ("C", "m"));
    }
}
