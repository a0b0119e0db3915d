//! The checklist of the real clients (`docs/conformance.md`), line by line,
//! against a live daemon and under the resource manager's prefix. The name of a
//! test begins with the number of its line; what is tested in more depth
//! elsewhere stands in the document, which [`checklist`] keeps true.
//!
//! * [`answers`] — status codes, operations, paths, bodies that are accepted.
//! * [`bodies`] — what answers say: times, counts, secrets, defaults.
//! * [`files`] — pages, output files, when an end is told.
//! * [`running`] — variables, supporting processes, the neighbours of the API.

#![allow(
    clippy::panic,
    reason = "a test that meets what must not be says so by panicking"
)]

mod answers;
mod bodies;
mod checklist;
mod files;
mod running;

use lote_tests::client::{Answer, Client};
use lote_tests::daemon::Daemon;
use lote_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};

const SUBSCRIPTION: &str = "/subscriptions/00000000-0000-0000-0000-000000000001";
const PROVIDER: &str = "providers/Microsoft.BatchAI";
const VERSION: &str = "api-version=2018-05-01";

/// A daemon with workspace `Ws`, cluster `box` and experiment `exp` in group `Lab`.
struct Lab {
    daemon: Daemon,
    client: Client,
}

impl Lab {
    fn open() -> Self {
        let daemon = Daemon::start(&[]);
        let client = daemon.client();
        let lab = Self { daemon, client };
        for (rest, body) in [
            ("", json!({"location": "local"})),
            ("/clusters/box", cluster()),
            ("/experiments/exp", json!({})),
        ] {
            assert_eq!(lab.put(rest, &body).status, 200, "{rest}");
        }
        lab
    }

    fn get(&self, rest: &str) -> Answer {
        self.client.get(&url(rest))
    }

    fn put(&self, rest: &str, body: &Value) -> Answer {
        self.client.put(&url(rest), body)
    }

    fn post(&self, rest: &str) -> Answer {
        self.client.post(&url(rest))
    }

    fn delete(&self, rest: &str) -> Answer {
        self.client.delete(&url(rest))
    }

    /// Submits a job that must be accepted.
    fn submit(&self, name: &str, body: &Value) -> Value {
        let answer = self.put(&job_path(name), body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    }

    /// Waits until a job is in one of the states; gives its `properties`.
    fn wait_for_state(&self, name: &str, states: &[&str]) -> Value {
        wait_for(&format!("{name} to be {states:?}"), PATIENCE, || {
            let properties = self.get(&job_path(name)).json["properties"].clone();
            let state = properties["executionState"].as_str()?;
            states.contains(&state).then(|| properties.clone())
        })
    }

    fn wait_for_end(&self, name: &str) -> Value {
        self.wait_for_state(name, &["succeeded", "failed"])
    }

    /// The files of a job's directory, as listed.
    fn files(&self, job: &str, directory: &str) -> Vec<Value> {
        let answer = self.post(&files_of(job, directory, ""));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["value"].as_array().expect("a list").clone()
    }

    /// The signed link to one of a job's files; none while it is not listed.
    fn link(&self, job: &str, directory: &str, file: &str) -> Option<String> {
        let files = self.files(job, directory);
        let found = files.iter().find(|entry| entry["name"] == file)?;
        Some(found["downloadUrl"].as_str().expect("a link").to_owned())
    }

    /// The content of a file that must be listed.
    fn read(&self, job: &str, directory: &str, file: &str) -> String {
        let link = self.link(job, directory, file);
        let answer = self.client.get(&link.expect("the file is listed"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text
    }
}

/// The workspace, or something below it, as the clients spell it.
fn workspace(rest: &str) -> String {
    format!("{SUBSCRIPTION}/resourceGroups/Lab/{PROVIDER}/workspaces/Ws{rest}")
}

/// The same with the version behind it.
fn url(rest: &str) -> String {
    let separator = if rest.contains('?') { '&' } else { '?' };
    format!("{}{separator}{VERSION}", workspace(rest))
}

fn job_path(name: &str) -> String {
    format!("/experiments/exp/jobs/{name}")
}

fn files_of(job: &str, directory: &str, more: &str) -> String {
    let job = job_path(job);
    format!("{job}/listOutputFiles?outputdirectoryid={directory}{more}")
}

/// One node, and nothing that is not required.
fn cluster() -> Value {
    json!({"properties": {
        "vmSize": "cpu",
        "scaleSettings": {"manual": {"targetNodeCount": 1}},
        "userAccountSettings": {"adminUserName": "ops", "adminUserPassword": "not-shown-again"},
    }})
}

/// A job of one line, and nothing that is not required.
fn job(command_line: &str) -> Value {
    json!({"properties": {
        "cluster": {"id": workspace("/clusters/box")},
        "nodeCount": 1,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/logs",
        "customToolkitSettings": {"commandLine": command_line},
    }})
}

/// The same with further properties.
fn job_with(command_line: &str, more: Value) -> Value {
    let mut body = job(command_line);
    if let (Some(properties), Value::Object(more)) = (body["properties"].as_object_mut(), more) {
        properties.extend(more);
    }
    body
}

fn file_server() -> Value {
    json!({"properties": {
        "vmSize": "cpu",
        "sshConfiguration": {"userAccountSettings":
            {"adminUserName": "ops", "adminUserPassword": "not-shown-again"}},
        "dataDisks": {"diskSizeInGB": 10, "diskCount": 1, "storageAccountType": "Standard_LRS"},
    }})
}
