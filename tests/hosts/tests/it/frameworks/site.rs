//! Two hosts with what the recipes need.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lote_test_hosts::{Lab, LabOptions};
use lote_tests::client::Client;
use serde_json::{Value, json};

use crate::load::{CLUSTER, cluster};
use crate::storage::{FileServer, succeeds};

/// Where `cargo xtask test frameworks` installs frameworks.
const FRAMEWORKS: &str = "/opt/lote-frameworks";

/// Longer than any job here takes on a machine that others use; one that takes it hangs.
const HANGS: Duration = Duration::from_mins(4);

/// The checkout.
pub(super) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether a framework is installed; otherwise says that the test is skipped.
pub(super) fn is_installed(framework: &str) -> bool {
    let marker = format!("{FRAMEWORKS}/{framework}.installed");
    let found = Path::new(&marker).exists();
    if !found {
        println!(
            "skipped: {framework} is not installed; `cargo xtask test frameworks` installs it where \
             it finds the Python that it needs"
        );
    }
    found
}

/// Two hosts, a cluster of both, and a file server `nfs` on the first.
pub(super) struct Site {
    pub(super) lab: Lab,
}

impl Site {
    /// Starts it.
    pub(super) fn start() -> Self {
        Self::start_with(LabOptions::hosts(2))
    }

    /// Starts it with further options for the daemons. `mpirun` names files of the job on the first
    /// host to the others, so they must have the same paths there, as real machines do.
    pub(super) fn start_with(options: LabOptions) -> Self {
        let lab = Lab::start(&options.with_same_paths());
        cluster(&lab.client(), CLUSTER, 2);
        Self { lab }
    }

    /// A client of the first host.
    pub(super) fn client(&self) -> Client {
        self.lab.client()
    }

    /// Submits a recipe's job file with `lote`, as the recipe says; gives the job's path.
    pub(super) fn submit_recipe(&self, folder: &str, file: &str) -> String {
        FileServer::create(&self.lab, &json!({}));
        let recipe = checkout().join("docs/recipes").join(folder);
        let text = |path: &Path| path.display().to_string();
        let daemon = &self.lab.daemons[0];
        succeeds(&daemon.lote(&["file-server", "put", "nfs", &text(&recipe), "recipes/"]));
        let file = text(&recipe.join(file));
        let created = daemon.lote(&["job", "create", "-f", &file, "--cluster", CLUSTER, "recipe"]);
        succeeds(&created);
        let experiment = self.client().experiment("default");
        format!("{experiment}/jobs/recipe")
    }

    /// Waits until a job has ended. One that hangs fails the test with all that is known of it.
    pub(super) fn wait_for_end(&self, job: &str) -> Value {
        let client = self.client();
        let begin = Instant::now();
        loop {
            let properties = client.job(job);
            if matches!(
                properties["executionState"].as_str(),
                Some("succeeded" | "failed")
            ) {
                return properties;
            }
            assert!(
                begin.elapsed() < HANGS,
                "{job} has not ended after {HANGS:?}: {properties:#}\n{}",
                shown(&self.output(job))
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The names of the files of a job's output, and what is in them.
    pub(super) fn output(&self, job: &str) -> Vec<(String, String)> {
        let client = self.client();
        let listing = client.post(&format!(
            "{job}/listOutputFiles?outputdirectoryid=stdouterr"
        ));
        let files = listing.json["value"].as_array().cloned();
        let names = files.unwrap_or_default().into_iter();
        let mut output: Vec<(String, String)> = names
            .filter_map(|file| Some(file["name"].as_str()?.to_owned()))
            .map(|name| {
                let content = client.output(job, "stdouterr", &name);
                (name, content.unwrap_or_default())
            })
            .collect();
        output.sort();
        output
    }
}

/// What was written, for the message of a test that fails.
pub(super) fn shown(output: &[(String, String)]) -> String {
    let files = output.iter();
    let shown: Vec<String> = files
        .map(|(name, content)| format!("--- {name}\n{content}\n"))
        .collect();
    shown.concat()
}
