//! Test cases of framework plugins.
//!
//! A case is `NAME.json` with a job and a gang of equal nodes:
//!
//! ```json
//! { "job":  { "nodeCount": 4, "settings": { "processCount": 8 } },
//!   "gang": { "gpusPerNode": 2, "sharedScratch": "/shared/job" } }
//! ```
//!
//! Beside it stands `NAME.plan.json` with what the plugin answers to it: `settings`
//! and `plan`, or `issues`, or `failure`. Who answers is the caller's business: the SDK
//! asks the plugin's code itself, `lote plugin test` and the host's tests the component.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A case, ready for the contract's functions: JSON of a job and of an allocation.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of its file.
    pub name: String,
    /// The job; its settings are a JSON object.
    pub job: Value,
    /// The allocation.
    pub allocation: Value,
}

/// What to do with the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Compare them with the expected ones.
    Compare,
    /// Write them down as the expected ones.
    Accept,
}

/// A case and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The case's name.
    pub case: String,
    /// What differs, or what could not be done.
    pub problem: Option<String>,
}

/// Runs every case of a folder, in the order of their names.
///
/// # Errors
/// A text for people, when the folder cannot be read or has no cases.
pub fn run(
    folder: &Path,
    mode: Mode,
    answer: impl Fn(&Case) -> Result<Value, String>,
) -> Result<Vec<Outcome>, String> {
    let files = case_files(folder)?;
    if files.is_empty() {
        return Err(format!("there are no cases in {}", folder.display()));
    }
    let outcome = |file: &PathBuf| {
        let answered = read_case(file).and_then(|case| settle(file, mode, &answer(&case)?));
        Outcome {
            case: name_of(file),
            problem: answered.err(),
        }
    };
    Ok(files.iter().map(outcome).collect())
}

fn case_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".json") && !name.ends_with(".plan.json")
        })
        .collect();
    files.sort();
    Ok(files)
}

fn read_case(file: &Path) -> Result<Case, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let case: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let mut job =
        json!({"id": "job", "nodeCount": 1, "settings": {}, "mounts": [], "variables": []});
    merge(&mut job, &case["job"]);
    let nodes = job["nodeCount"].as_u64().unwrap_or(1);
    Ok(Case {
        name: name_of(file),
        allocation: allocation(nodes, &case["gang"]),
        job,
    })
}

fn name_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn merge(base: &mut Value, over: &Value) {
    for (name, value) in over.as_object().into_iter().flatten() {
        base[name] = value.clone();
    }
}

/// A gang of equal nodes at 10.0.x.y with eight ports each from 2222.
pub fn allocation(nodes: u64, gang: &Value) -> Value {
    let gpus = gang["gpusPerNode"].as_u64().unwrap_or(0);
    let ports = gang["portsPerNode"].as_u64().unwrap_or(8);
    let mut allocation = json!({
        "nodes": (0..nodes).map(|rank| node(rank, gpus, ports)).collect::<Vec<_>>(),
        "sharedScratch": gang["sharedScratch"],
        "localScratch": "/scratch/job",
        "peerLauncher": gang["peerLauncher"],
        "attempt": 1,
    });
    if let Some(attempt) = gang.get("attempt") {
        allocation["attempt"] = attempt.clone();
    }
    allocation
}

fn node(rank: u64, gpus: u64, ports: u64) -> Value {
    let gpu =
        |minor| json!({"uuid": format!("GPU-{rank}-{minor}"), "minor": minor, "memoryMib": 81_920});
    json!({
        "rank": rank,
        "name": format!("node-{rank}"),
        "address": format!("10.0.{}.{}", (rank + 4) / 256, (rank + 4) % 256),
        "gpus": (0..gpus).map(gpu).collect::<Vec<_>>(),
        "cpuCores": 16,
        "ports": (0..ports).map(|port| 2222 + port).collect::<Vec<_>>(),
    })
}

fn settle(case: &Path, mode: Mode, answer: &Value) -> Result<(), String> {
    let file = case.with_extension("plan.json");
    let answer = without_nulls(answer.clone());
    if mode == Mode::Accept {
        let text = format!("{answer:#}\n");
        return fs::write(&file, text).map_err(|error| error.to_string());
    }
    let text = fs::read_to_string(&file)
        .map_err(|error| format!("no expected plan: {}: {error}", file.display()))?;
    let expected: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if expected == answer {
        return Ok(());
    }
    let (expected, answer) = (format!("{expected:#}"), format!("{answer:#}"));
    Err(first_difference(&expected, &answer))
}

/// An absent option is null in one JSON form and left out in the other.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn first_difference(expected: &str, answer: &str) -> String {
    let end = "(end)";
    let lines = expected
        .lines()
        .chain([end])
        .zip(answer.lines().chain([end]));
    let (number, (expected, answer)) = lines
        .enumerate()
        .find(|(_, (expected, answer))| expected != answer)
        .unwrap_or((0, (end, end)));
    format!(
        "line {} of the plan: expected `{expected}`, got `{answer}`",
        number + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(folder: &Path, mode: Mode, answer: &Value) -> Option<String> {
        let mut outcomes = run(folder, mode, |_| Ok(answer.clone())).unwrap();
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0).problem
    }

    #[test]
    fn answers_are_accepted_once_and_compared_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(run(path, Mode::Compare, |_| Ok(Value::Null)).is_err());
        fs::write(path.join("one.json"), r#"{"job": {"nodeCount": 2}}"#).unwrap();
        let answer = json!({"plan": {"files": [], "absent": null}});
        assert!(
            outcome(path, Mode::Compare, &answer)
                .unwrap()
                .contains("one.plan.json")
        );
        assert_eq!(outcome(path, Mode::Accept, &answer), None);
        assert_eq!(outcome(path, Mode::Compare, &answer), None);
        let other = json!({"plan": {"files": [1]}});
        let difference = outcome(path, Mode::Compare, &other).unwrap();
        assert!(
            difference.contains("expected `    \"files\": []`"),
            "{difference}"
        );
    }

    #[test]
    fn a_gang_has_addresses_and_ports_of_its_own() {
        let allocation = allocation(300, &json!({"gpusPerNode": 1}));
        let nodes = allocation["nodes"].as_array().unwrap();
        assert_eq!(nodes[0]["address"], "10.0.0.4");
        assert_eq!(nodes[299]["address"], "10.0.1.47");
        assert_eq!(nodes[0]["ports"][7], 2229);
    }
}
