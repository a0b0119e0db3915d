//! Submits, follows and shows the job of the demo.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::command;
use crate::demo::announce;
use crate::demo::daemon::Daemon;
use crate::demo::folder::{self, Folder};
use crate::error::Error;
use crate::workspace::Workspace;

/// The job's name.
pub(super) const NAME: &str = "train-digits";

/// How long the training may take; it takes some ten seconds.
const TRAINING_LIMIT: Duration = Duration::from_mins(5);

/// What the network must reach: a network that learned nothing has 0.1.
const ACCURACY_MIN: f64 = 0.9;

/// The training script and the job, as a user would have them.
const SCRIPT: &str = "tests/demo/train_digits.py";
const JOB: &str = "tests/demo/job.json";

/// What the job leaves in its output directory `MODEL`.
const CHECKPOINT: &str = "checkpoint.pt";
const METRICS: &str = "metrics.json";

/// Submits the job, follows it to its end and shows what came of it.
pub(super) fn run(workspace: &Workspace, daemon: &Daemon, folder: &Folder) -> Result<(), Error> {
    let file = prepare(workspace, folder)?;
    announce("submitting the job");
    let submit = daemon.client(&["job", "create", NAME, "--file", &file.to_string_lossy()]);
    shown(submit)?;
    announce("following its output");
    shown(daemon.client(&["job", "logs", "--follow", NAME]))?;
    shown(daemon.client(&["job", "wait", NAME]))
        .map_err(|error| Error::Other(format!("the job did not succeed, see above ({error})")))?;
    announce("its plan: which processes started where, with which environment");
    shown(daemon.client(&["job", "plan", NAME]))?;
    announce("what became of it, and what it used");
    shown(daemon.client(&["job", "show", NAME]))?;
    announce("its files");
    shown(daemon.client(&["job", "files", NAME]))?;
    shown(daemon.client(&["job", "files", NAME, "--directory", "MODEL"]))?;
    let results = fetch(workspace, daemon)?;
    let accuracy = accuracy(&results.join(METRICS))?;
    println!("\nfetched into {}", results.display());
    println!("accuracy {accuracy:.4}");
    if accuracy < ACCURACY_MIN {
        return Err(Error::Other(format!(
            "the network reached an accuracy of {accuracy:.4} only, expected {ACCURACY_MIN} or \
             more; its output above should say why"
        )));
    }
    Ok(())
}

/// Runs a client command that the user sees, command line and output.
fn shown(mut client: std::process::Command) -> Result<(), Error> {
    let arguments: Vec<_> = client
        .get_args()
        .map(|text| text.to_string_lossy())
        .collect();
    println!("$ lote {}", arguments.join(" "));
    command::run_within(&mut client, TRAINING_LIMIT)
}

/// Puts the script where the job's user can read it, and writes the job file
/// that says so.
fn prepare(workspace: &Workspace, folder: &Folder) -> Result<PathBuf, Error> {
    let input = folder.readable("input")?;
    folder::copy_readable(&workspace.root.join(SCRIPT), &input.join("train_digits.py"))?;
    let template = read_json(&workspace.root.join(JOB))?;
    let file = folder.path.join("job.json");
    let job = with_input(template, &input);
    fs::write(&file, format!("{job:#}\n")).map_err(Error::file("write", &file))?;
    Ok(file)
}

/// The job with its input directory somewhere else.
fn with_input(mut job: Value, input: &Path) -> Value {
    job["properties"]["inputDirectories"][0]["path"] = json!(input);
    job
}

/// Fetches the checkpoint and the metrics through the daemon, so that they
/// outlive its folder.
fn fetch(workspace: &Workspace, daemon: &Daemon) -> Result<PathBuf, Error> {
    let results = workspace.target.join("demo");
    fs::create_dir_all(&results).map_err(Error::file("create", &results))?;
    for name in [CHECKPOINT, METRICS] {
        let to = results.join(name);
        // A file of an earlier run must not pass for this one's.
        if to.exists() {
            fs::remove_file(&to).map_err(Error::file("remove", &to))?;
        }
        let to = to.to_string_lossy();
        let arguments = [
            "job",
            "files",
            "get",
            NAME,
            name,
            "--directory",
            "MODEL",
            "--to",
            &to,
        ];
        shown(daemon.client(&arguments))?;
    }
    Ok(results)
}

fn accuracy(metrics: &Path) -> Result<f64, Error> {
    let metrics = read_json(metrics)?;
    metrics["accuracy"]
        .as_f64()
        .ok_or_else(|| Error::Other(format!("{METRICS} has no number `accuracy`")))
}

fn read_json(path: &Path) -> Result<Value, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    serde_json::from_str(&text).map_err(|source| Error::Json {
        what: "a JSON file of the demo",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_file_is_complete_but_for_the_place_of_its_input() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(JOB);
        let job = with_input(read_json(&path).unwrap(), Path::new("/somewhere"));
        let properties = &job["properties"];
        assert_eq!(properties["inputDirectories"][0]["path"], "/somewhere");
        assert_eq!(properties["inputDirectories"][0]["id"], "SCRIPT");
        assert_eq!(properties["outputDirectories"][0]["id"], "MODEL");
        assert_eq!(properties["pyTorchSettings"]["processCount"], 2);
    }
}
