//! JSON over HTTP, as any user's program would.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::HeaderMap;

use crate::{PATIENCE, wait_for};

/// An answer: status and body, JSON where it is JSON.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; null if it is empty or no JSON.
    pub json: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// The code in the error envelope.
    pub fn error_code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or_default()
    }

    /// A header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// A client of one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

/// What the old clients send with every request, bodies or not.
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

/// The workspace that every daemon has.
pub const DEFAULT_WORKSPACE: &str = "/v1/groups/default/workspaces/default";

impl Client {
    /// A client of the daemon at `url` (`http://127.0.0.1:PORT`).
    pub fn new(url: impl Into<String>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            // A connection from before a kill must not be mistaken for a failure.
            .max_idle_connections(0)
            .build();
        Self {
            agent: config.into(),
            url: url.into(),
            token: None,
        }
    }

    /// The same client with a token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self
        }
    }

    /// Sends a request; `None` if the daemon did not answer.
    pub fn try_send(&self, method: &str, path: &str, body: Option<&str>) -> Option<Answer> {
        self.attempt(method, path, &[JSON], body).ok()
    }

    fn attempt(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, ureq::Error> {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.url)
        };
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let sent = match body {
            Some(body) => self.agent.run(request.body(body)?),
            None => self.agent.run(request.body(())?),
        };
        let mut response = sent?;
        let text = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            json,
            text,
        })
    }

    /// Sends a request to a daemon that must answer.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let text = body.map(Value::to_string);
        self.attempt(method, path, &[JSON], text.as_deref())
            .unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"))
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    /// GET of the bytes from `first` on, as clients follow a growing file.
    pub fn get_from(&self, path: &str, first: usize) -> Answer {
        let range = format!("bytes={first}-");
        self.attempt("GET", path, &[("range", &range)], None)
            .unwrap_or_else(|error| panic!("no answer to GET {path} from {first}: {error}"))
    }

    /// PUT with a JSON body.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some(body))
    }

    /// POST without a body.
    pub fn post(&self, path: &str) -> Answer {
        self.send("POST", path, None)
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None)
    }

    /// Makes an experiment in the default workspace; gives its path.
    pub fn experiment(&self, name: &str) -> String {
        let path = format!("{DEFAULT_WORKSPACE}/experiments/{name}");
        let answer = self.put(&path, &json!({}));
        assert_eq!(answer.status, 200, "{answer:?}");
        path
    }

    /// Submits a job that must be accepted; gives its path.
    pub fn submit(&self, experiment: &str, name: &str, properties: &Value) -> String {
        let path = format!("{experiment}/jobs/{name}");
        let answer = self.put(&path, &json!({"properties": properties}));
        assert_eq!(answer.status, 200, "{answer:?}");
        path
    }

    /// The `properties` of a job.
    pub fn job(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["properties"].clone()
    }

    /// Waits until a job has ended; gives its `properties`. Survives a daemon
    /// that is away for a while.
    pub fn wait_for_end(&self, path: &str) -> Value {
        wait_for(&format!("the end of {path}"), 2 * PATIENCE, || {
            let answer = self.try_send("GET", path, None)?;
            let properties = &answer.json["properties"];
            let ended = ["succeeded", "failed"].contains(&properties["executionState"].as_str()?);
            ended.then(|| properties.clone())
        })
    }

    /// Waits until a job runs.
    pub fn wait_for_state(&self, path: &str, state: &str) -> Value {
        wait_for(&format!("{path} to be {state}"), PATIENCE, || {
            let properties = self.try_send("GET", path, None)?.json["properties"].clone();
            (properties["executionState"] == state).then_some(properties)
        })
    }

    /// Reads an output file through the link that the listing gives; `None` while
    /// it does not exist.
    pub fn output(&self, job: &str, directory: &str, file: &str) -> Option<String> {
        let path = format!("{job}/listOutputFiles?outputdirectoryid={directory}");
        let listing = self.post(&path);
        assert_eq!(listing.status, 200, "{listing:?}");
        let files = listing.json["value"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let link = files.iter().find(|entry| entry["name"] == file)?["downloadUrl"]
            .as_str()?
            .to_owned();
        let answer = self.get(&link);
        assert!(answer.status == 200 || answer.status == 206, "{answer:?}");
        Some(answer.text)
    }

    /// The whole standard output of a job with one process.
    pub fn stdout(&self, job: &str) -> String {
        self.output(job, "stdouterr", "stdout.txt")
            .unwrap_or_default()
    }
}

/// A job of one shell line on the cluster that every daemon has.
pub fn shell_job(command_line: &str) -> Value {
    json!({
        "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/local")},
        "nodeCount": 1,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
        "customToolkitSettings": {"commandLine": command_line},
    })
}

/// The same with a member of `properties.lote`.
pub fn shell_job_with(command_line: &str, lote: Value) -> Value {
    let mut job = shell_job(command_line);
    job["lote"] = lote;
    job
}

/// The first error of an ended job.
pub fn first_error(properties: &Value) -> Value {
    properties["executionInfo"]["errors"][0].clone()
}

/// A detail of an error by its name.
pub fn detail<'a>(error: &'a Value, name: &str) -> &'a str {
    error["details"]
        .as_array()
        .and_then(|details| details.iter().find(|detail| detail["name"] == name))
        .and_then(|detail| detail["value"].as_str())
        .unwrap_or_default()
}
