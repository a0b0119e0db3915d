//! Plugins that do everything wrong: their jobs fail with an error that names
//! plugin, step and finding, and the daemon goes on.

use std::path::PathBuf;

use lote_tests::client::{Client, first_error, shell_job};
use lote_tests::daemon::Daemon;
use serde_json::{Value, json};

/// Where `cargo xtask plugins` puts the plugin that exists for tests.
pub(crate) fn test_plugins() -> PathBuf {
    let folder = std::env::var_os("LOTE_PLUGIN_DIR").map_or_else(
        || {
            let own = std::env::current_exe().expect("a program knows its own path");
            let target = own
                .ancestors()
                .nth(3)
                .expect("it lies in Cargo's target folder");
            target.join("plugins")
        },
        PathBuf::from,
    );
    let folder = folder.join("test");
    assert!(
        folder.join("hostile.wasm").is_file(),
        "{} has no plugins: run `cargo xtask plugins` first",
        folder.display()
    );
    folder
}

pub(crate) fn hostile_job(act: &str) -> Value {
    let mut job = shell_job("");
    job.as_object_mut().unwrap().remove("customToolkitSettings");
    job["hostileSettings"] = json!({"act": act});
    job
}

/// The error of a job whose plugin misbehaves in `plan`.
fn error_of(client: &Client, experiment: &str, act: &str) -> Value {
    let path = client.submit(experiment, act, &hostile_job(act));
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "failed", "{act}: {ended}");
    first_error(&ended)
}

#[test]
fn a_plugin_that_misbehaves_fails_its_job_by_name_and_nothing_else() {
    let folder = test_plugins();
    let daemon = Daemon::start(&["--plugin-dir", folder.to_str().unwrap()]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let cases = [
        ("loop", "did not end `plan` within"),
        ("grow", "memory"),
        ("panic", "out of coffee"),
        ("recurse", "`plan`"),
        ("dotdot", "/files/"),
        ("absolute", "/files/"),
        ("foreign-gpu", "/processes/0/gpus"),
        ("foreign-node", "/processes/0/node"),
        ("reserved", "LOTE_TOKEN"),
        ("nul", "/processes/0/command"),
        ("endless", "primary"),
        ("huge", "processes"),
    ];
    for (act, finding) in cases {
        let error = error_of(&client, &experiment, act);
        let text = error.to_string();
        assert!(
            text.contains("hostile 6.6.6"),
            "{act}: names the plugin: {text}"
        );
        assert!(text.contains("plan"), "{act}: names the step: {text}");
        assert!(
            text.contains(finding),
            "{act}: names the finding '{finding}': {text}"
        );
    }
    // The daemon goes on, and so do other jobs and this plugin's good ones.
    for job in [shell_job("true"), hostile_job("none")] {
        let name = if job.get("hostileSettings").is_some() {
            "good"
        } else {
            "other"
        };
        let path = client.submit(&experiment, name, &job);
        assert_eq!(
            client.wait_for_end(&path)["executionState"],
            "succeeded",
            "{name}"
        );
    }
}

#[test]
fn a_plugin_that_loops_while_it_validates_costs_one_request() {
    let folder = test_plugins();
    let daemon = Daemon::start(&["--plugin-dir", folder.to_str().unwrap()]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = format!("{experiment}/jobs/j");
    let answer = client.put(&path, &json!({"properties": hostile_job("validate-loop")}));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text.contains("hostile 6.6.6"), "{answer:?}");
    assert_eq!(client.get(&path).status, 404, "nothing was stored");
}

#[test]
fn a_broken_file_in_the_plugin_folder_takes_no_plugin_away() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("broken.wasm"), b"not a component").unwrap();
    let daemon = Daemon::start(&["--plugin-dir", folder.path().to_str().unwrap()]);
    assert!(daemon.log().contains("broken.wasm"), "{}", daemon.log());
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &shell_job("true"));
    assert_eq!(client.wait_for_end(&path)["executionState"], "succeeded");
}
