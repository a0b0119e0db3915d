//! `schemathesis` reads `/v1/openapi.json` and tries to prove it wrong.
//!
//! It submits jobs with command lines of its own making, so none may ever be
//! started: the daemon here is no root and has no `--isolation none`, and so its
//! node takes no jobs. The test makes sure of that before anything is sent.

use std::process::{Command, Output};

use lote_tests::client::{Client, shell_job};
use lote_tests::daemon::Daemon;
use lote_tests::processes;
use serde_json::json;

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/schemathesis.toml");

/// The program in the virtual environment that `cargo xtask test contract` makes.
fn schemathesis(test: &str) -> Option<String> {
    let found = std::env::var("LOTE_SCHEMATHESIS").ok();
    if found.is_none() {
        crate::skip(
            test,
            "LOTE_SCHEMATHESIS names no program; `cargo xtask test contract` installs it",
        );
    }
    found
}

/// A daemon whose only node takes no jobs, whoever runs the tests.
fn daemon_that_starts_nothing() -> Daemon {
    let daemon = if nix::unistd::geteuid().is_root() {
        Daemon::start_wrapped(&crate::unprivileged::AS_NOBODY, &[])
    } else {
        Daemon::start(&[])
    };
    let nodes = daemon.client().get("/v1/nodes").json;
    let nodes = nodes["value"].as_array().expect("a list of nodes").clone();
    assert!(!nodes.is_empty(), "the node has registered");
    for node in &nodes {
        assert_eq!(node["properties"]["state"], "unhealthy", "{node}");
        let conditions = node["properties"]["conditions"].as_array().expect("a list");
        let refuses = |condition: &serde_json::Value| {
            condition["code"] == "IsolationUnavailable" && condition["blocksJobs"] == true
        };
        assert!(conditions.iter().any(refuses), "{node}");
    }
    daemon
}

/// One resource of each kind, with the names that the configuration knows.
fn furnish(client: &Client) {
    let workspace = "/v1/groups/default/workspaces/w";
    let settings = json!({"properties": {
        "vmSize": "cpu",
        "scaleSettings": {"manual": {"targetNodeCount": 1}},
        "userAccountSettings": {"adminUserName": "ops", "adminUserPassword": "secret"},
    }});
    for (path, body) in [
        (workspace.to_owned(), json!({})),
        (format!("{workspace}/clusters/c"), settings),
        (format!("{workspace}/experiments/e"), json!({})),
    ] {
        assert_eq!(client.put(&path, &body).status, 200, "{path}");
    }
    let experiment = client.experiment("e");
    client.submit(&experiment, "j", &shell_job("true"));
}

/// An administrator's token. A request that is made up may make the first token,
/// and from then on nothing is answered to those without one.
fn token(client: &Client) -> String {
    let wanted = json!({"properties": {"role": "admin", "displayName": "contract"}});
    let answer = client.send("POST", "/v1/tokens", Some(&wanted));
    assert_eq!(answer.status, 201, "{answer:?}");
    let text = answer.json["properties"]["token"].as_str();
    text.expect("the text of the token").to_owned()
}

fn run(program: &str, daemon: &Daemon, token: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder for what it notes");
    Command::new(program)
        .args(["--config-file", CONFIGURATION, "run"])
        .arg(format!("{}/v1/openapi.json", daemon.url()))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .env("NO_COLOR", "1")
        .current_dir(folder.path())
        .output()
        .expect("the program runs")
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(program) = schemathesis("schemathesis_finds_nothing") else {
        return;
    };
    let daemon = daemon_that_starts_nothing();
    furnish(&daemon.client());
    let token = token(&daemon.client());
    let output = run(&program, &daemon, &token);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    println!("{stdout}");
    assert_eq!(daemon.client().get("/readyz").status, 200);
    let started = processes::mentioning(&format!("{}/work", daemon.data().display()));
    assert_eq!(started, Vec::<i32>::new(), "nothing was started");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
