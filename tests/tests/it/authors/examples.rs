//! The examples below `plugins/examples`: built with their own tools, tested with their own
//! cases, and run.

use std::fs;
use std::path::Path;

use lote_tests::daemon::Daemon;
use serde_json::Value;

use super::workshop::Workshop;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// An example's folder and the contract, laid out as in the tree.
fn copied(workshop: &Workshop, name: &str) {
    workshop.run(&format!(
        "mkdir -p wit plugins/examples && cp -r '{ROOT}/wit/0.1' wit/ && cp -r '{ROOT}/plugins/examples/{name}' plugins/examples/ && rm -rf plugins/examples/{name}/node_modules plugins/examples/{name}/.venv"
    ));
}

/// The example's job with its code where this test has put it.
fn job(workshop: &Workshop, name: &str) -> Value {
    let folder = workshop.path(&format!("plugins/examples/{name}/job"));
    let text = fs::read_to_string(folder.join("job.json")).unwrap();
    let place = format!("/opt/{name}-example");
    assert!(text.contains(&place), "the job names its code");
    let text = text.replace(&place, folder.to_str().unwrap());
    serde_json::from_str(&text).unwrap()
}

/// Builds, tests, installs and runs an example; answers the job's path.
fn run(workshop: &Workshop, daemon: &Daemon, plugins: &Path, name: &str, build: &str) -> String {
    copied(workshop, name);
    let said = workshop.run(&format!(
        "cd plugins/examples/{name}\n{build}\nlote plugin check {name}.wasm\nlote plugin test {name}.wasm cases\n\
         LOTE_URL='{}' lote plugin install {name}.wasm --plugin-dir '{}' --wait",
        daemon.url(),
        plugins.display(),
    ));
    assert!(said.contains("example    ok"), "{said}");
    let client = daemon.client();
    let experiment = client.experiment(name);
    let mut properties = job(workshop, name)["properties"].clone();
    properties["cluster"] =
        serde_json::json!({"id": "/v1/groups/default/workspaces/default/clusters/local"});
    let path = client.submit(&experiment, name, &properties);
    let ended = client.wait_for_end(&path);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}");
    assert_eq!(ended["toolType"], name);
    assert_eq!(ended["pluginSettings"]["name"], name);
    path
}

fn daemon_with(plugins: &Path) -> Daemon {
    fs::create_dir(plugins).unwrap();
    Daemon::start(&["--plugin-dir", plugins.to_str().unwrap()])
}

/// A head, its workers, and a driver whose end ends the job.
#[test]
fn ray_in_python() {
    let workshop = Workshop::new();
    let plugins = workshop.path("installed");
    let daemon = daemon_with(&plugins);
    let build = "python3 -m venv .venv\n.venv/bin/pip install --quiet -r requirements.txt\n\
        .venv/bin/componentize-py -d ../../../wit/0.1 -w framework-plugin componentize --stub-wasi app -o ray.wasm";
    let job = run(&workshop, &daemon, &plugins, "ray", build);
    let said = daemon.client().stdout(&job);
    // The number of primes below 200,000, by as many processes as a worker offers.
    assert!(said.contains("17984 primes below 200000"), "{said}");
    assert!(said.contains("by 2 processes"), "{said}");
}

/// Ranks that average their gradients, and a file of settings that the plan wrote.
#[test]
fn deepspeed_in_javascript() {
    let workshop = Workshop::new();
    let plugins = workshop.path("installed");
    let daemon = daemon_with(&plugins);
    let build = "npm install --no-audit --no-fund\nnpm run build";
    let job = run(&workshop, &daemon, &plugins, "deepspeed", build);
    for rank in 0..3 {
        let file = format!("stdout-{rank}.txt");
        let said = daemon.client().output(&job, "stdouterr", &file).unwrap();
        assert!(
            said.contains(&format!("rank {rank} of 3: y = 3.00x + 1.00")),
            "{said}"
        );
    }
}
