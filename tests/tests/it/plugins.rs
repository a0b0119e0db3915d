//! Plugins that do everything wrong: their jobs fail with an error that names
//! plugin, step and finding, and the daemon goes on. And plugins that come and go while it
//! runs, in several versions.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use lote_tests::client::{Client, first_error, shell_job};
use lote_tests::daemon::Daemon;
use lote_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

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

/// The plugin for tests as another version of itself: its version stands in its data.
fn write_version(path: &Path, version: &str) {
    let mut bytes = fs::read(test_plugins().join("hostile.wasm")).unwrap();
    let old = b"6.6.6";
    let places = bytes.windows(old.len()).enumerate();
    let places: Vec<usize> = places
        .filter_map(|(at, it)| (it == old).then_some(at))
        .collect();
    assert_eq!((places.len(), version.len()), (1, old.len()));
    bytes[places[0]..places[0] + old.len()].copy_from_slice(version.as_bytes());
    fs::write(path, bytes).unwrap();
}

/// A folder that jobs can see into.
fn open_folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("lote-test-plugins-")
        .tempdir_in("/srv")
        .unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn well(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// Installs a version, and waits until the daemon has it.
fn install(daemon: &Daemon, folder: &Path, version: &str) {
    let file = folder.join(format!("build-{version}.component"));
    write_version(&file, version);
    let plugins = folder.join("plugins");
    let said = well(&daemon.lote(&[
        "plugin",
        "install",
        file.to_str().unwrap(),
        "--plugin-dir",
        plugins.to_str().unwrap(),
        "--wait",
    ]));
    assert!(said.contains(&format!("hostile@{version}.wasm")), "{said}");
}

fn by_name(name: &str, until: &Path) -> Value {
    let mut job = shell_job("");
    job.as_object_mut().unwrap().remove("customToolkitSettings");
    job["pluginSettings"] = json!({"name": name, "settings": {"until": until}});
    job
}

#[test]
fn a_plugin_is_replaced_while_jobs_run_and_wait() {
    let folder = open_folder();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let daemon = Daemon::start(&["--plugin-dir", plugins.to_str().unwrap()]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    install(&daemon, folder.path(), "6.6.6");

    // One runs; two wait, as each takes the whole node: one asks for its version, one not.
    let go = folder.path().join("go");
    let running = client.submit(&experiment, "running", &by_name("hostile", &go));
    client.wait_for_state(&running, "running");
    let pinned = client.submit(&experiment, "pinned", &by_name("hostile@6.6.6", &go));
    let free = client.submit(&experiment, "free", &by_name("hostile", &go));

    install(&daemon, folder.path(), "6.7.0");
    let late = client.submit(&experiment, "late", &by_name("hostile", &go));
    let version = |path: &str| client.job(path)["lote"]["framework"]["version"].clone();
    assert_eq!(version(&free), "6.6.6");
    assert_eq!(version(&late), "6.7.0");

    well(&daemon.lote(&[
        "plugin",
        "remove",
        "hostile@6.6.6",
        "--plugin-dir",
        plugins.to_str().unwrap(),
    ]));
    wait_for("the old version to go", PATIENCE, || {
        let gone = daemon.lote(&["plugin", "show", "hostile@6.6.6"]);
        (gone.status.code() == Some(3)).then_some(())
    });
    let refused = client.put(
        &format!("{experiment}/jobs/refused"),
        &json!({"properties": by_name("hostile@6.6.6", &go)}),
    );
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(refused.error_code(), "FrameworkNotAvailable");
    assert!(refused.text.contains("6.7.0"), "{refused:?}");

    // What ran has its plan, and ends well.
    fs::write(&go, "").unwrap();
    assert_eq!(client.wait_for_end(&running)["executionState"], "succeeded");
    let ended = client.wait_for_end(&pinned);
    assert_eq!(ended["executionState"], "failed", "{ended}");
    let error = first_error(&ended);
    assert_eq!(error["code"], "FrameworkPluginMissing");
    assert!(error.to_string().contains("version 6.6.6"), "{error}");
    for job in [&free, &late] {
        assert_eq!(client.wait_for_end(job)["executionState"], "succeeded");
        let plan = client.get(&format!("{job}/plan")).text;
        assert!(plan.contains("hostile 6.7.0 "), "{plan}");
    }
}

#[test]
fn only_plugins_on_the_list_are_loaded_and_others_are_told() {
    let folder = open_folder();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let allowed = folder.path().join("allowed");
    fs::write(&allowed, "# nothing yet\n").unwrap();
    write_version(&plugins.join("hostile.wasm"), "6.6.6");
    let daemon = Daemon::start(&[
        "--plugin-dir",
        plugins.to_str().unwrap(),
        "--plugin-allow",
        allowed.to_str().unwrap(),
    ]);
    let list = well(&daemon.lote(&["plugin", "list"]));
    assert!(
        list.contains("Not loaded") && list.contains("is not on the list"),
        "{list}"
    );
    assert!(list.contains("pytorch"), "{list}");
    assert!(
        daemon.log().contains("is not on the list"),
        "{}",
        daemon.log()
    );
    let refused = daemon.lote(&[
        "plugin",
        "install",
        plugins.join("hostile.wasm").to_str().unwrap(),
        "--plugin-dir",
        plugins.to_str().unwrap(),
        "--wait",
    ]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(
        said(&refused).contains("is not on the list"),
        "{}",
        said(&refused)
    );

    // What the reason says to add, added.
    let sums = std::process::Command::new("sha256sum")
        .arg(plugins.join("hostile.wasm"))
        .output()
        .unwrap();
    fs::write(&allowed, sums.stdout).unwrap();
    well(&daemon.lote(&["plugin", "show", "hostile@6.6.6", "--wait"]));
}

#[test]
fn authors_see_each_check_and_the_plan_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let lote = |arguments: &[&str]| {
        std::process::Command::new(lote_tests::daemon::binary())
            .args(arguments)
            .current_dir(folder.path())
            .env("XDG_CACHE_HOME", folder.path())
            .env("LOTE_URL", "http://127.0.0.1:9")
            .output()
            .unwrap()
    };
    write_version(&folder.path().join("x.wasm"), "6.6.6");
    let checked = well(&lote(&["plugin", "check", "x.wasm"]));
    assert_eq!(checked.lines().count(), 10, "{checked}");
    fs::write(folder.path().join("y.wasm"), "no component").unwrap();
    let failed = lote(&["plugin", "check", "y.wasm", "-o", "json"]);
    assert_eq!(failed.status.code(), Some(1));
    let failed: Value = serde_json::from_slice(&failed.stdout).unwrap();
    let outcome = |at: usize| failed["checks"][at]["outcome"].clone();
    assert_eq!(
        [outcome(0), outcome(1), outcome(2)],
        ["passed", "failed", "notReached"]
    );
    let not_installed = lote(&["plugin", "install", "y.wasm", "--plugin-dir", "p"]);
    assert_eq!(not_installed.status.code(), Some(1));
    assert!(!folder.path().join("p").exists());

    let job = json!({"properties": {
        "nodeCount": 1, "stdOutErrPathPrefix": "/out",
        "pyTorchSettings": {"pythonScriptFilePath": "train.py", "communicationBackend": "Gloo"}}});
    fs::write(folder.path().join("job.json"), job.to_string()).unwrap();
    let plan = [
        "plugin",
        "plan",
        "--framework",
        "pytorch",
        "--job",
        "job.json",
        "--nodes",
        "4",
        "--gpus",
        "2",
        "-o",
        "json",
    ];
    let planned: Value = serde_json::from_str(&well(&lote(&plan))).unwrap();
    assert_eq!(planned["processes"].as_array().unwrap().len(), 4);
    assert_eq!(planned["nodes"][3]["address"], "10.0.0.7");
    assert!(planned["plan"]["milliseconds"].is_number(), "{planned}");
    assert!(planned["plan"]["memoryKib"].as_u64().unwrap() > 0);
    let wrong = job.to_string().replace("Gloo", "Smoke");
    fs::write(folder.path().join("job.json"), wrong).unwrap();
    let refused = lote(&plan);
    assert_eq!(refused.status.code(), Some(1));
    let text = said(&refused);
    assert!(
        text.contains("/properties/pyTorchSettings/communicationBackend"),
        "{text}"
    );
    // It is a job for another plugin.
    let other = lote(&["plugin", "plan", "x.wasm", "--job", "job.json"]);
    assert_eq!(other.status.code(), Some(1), "{}", said(&other));
    assert!(said(&other).contains("pyTorchSettings"), "{}", said(&other));
}
