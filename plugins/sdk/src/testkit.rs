//! Runs a folder of test cases against their expected plans.
//!
//! A case is `NAME.json` with a job and a gang of equal nodes:
//!
//! ```json
//! { "job":  { "nodeCount": 4, "settings": { "processCount": 8 } },
//!   "gang": { "gpusPerNode": 2, "sharedScratch": "/shared/job" } }
//! ```
//!
//! Beside it stands `NAME.plan.json` with what the plugin answers to it: `settings`
//! and `plan`, or `issues`, or `failure`. `LOTE_UPDATE_PLANS=1` writes these files.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::bindings::exports::lote::framework::framework::Guest;
use crate::types::{Allocation, Job};
use crate::{Adapter, Framework};

/// The variable that makes a run write the expected plans instead of comparing.
pub const UPDATE_VARIABLE: &str = "LOTE_UPDATE_PLANS";

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

/// Runs every case of a folder natively and compares. Returns how many there were.
///
/// # Errors
/// A text for people: which cases differ and how, or what could not be read.
pub fn run<F: Framework>(folder: impl AsRef<Path>) -> Result<usize, String> {
    run_with(folder.as_ref(), answer_natively::<F>)
}

/// As [`run`], with the answers made by a function: through a component, say.
///
/// # Errors
/// As [`run`], or what the function says.
pub fn run_with(
    folder: &Path,
    answer: impl Fn(&Case) -> Result<Value, String>,
) -> Result<usize, String> {
    let files = case_files(folder)?;
    let mut problems = Vec::new();
    for file in &files {
        let outcome = read_case(file).and_then(|case| compare(file, &answer(&case)?));
        problems.extend(
            outcome
                .err()
                .map(|text| format!("{}: {text}", file.display())),
        );
    }
    match (files.len(), problems.is_empty()) {
        (0, _) => Err(format!("there are no cases in {}", folder.display())),
        (count, true) => Ok(count),
        _ => Err(problems.join("\n")),
    }
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
        name: file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        allocation: allocation(nodes, &case["gang"]),
        job,
    })
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

fn answer_natively<F: Framework>(case: &Case) -> Result<Value, String> {
    let mut job = case.job.clone();
    job["settings"] = Value::String(job["settings"].to_string());
    let job: Job = serde_json::from_value(job).map_err(|error| error.to_string())?;
    let allocation: Allocation =
        serde_json::from_value(case.allocation.clone()).map_err(|error| error.to_string())?;
    let settings = match Adapter::<F>::validate(job.clone()) {
        Ok(settings) => settings,
        Err(issues) => return to_json("issues", &issues).map(Value::Object),
    };
    let mut answer = match Adapter::<F>::plan(job, allocation) {
        Ok(plan) => to_json("plan", &plan)?,
        Err(failure) => to_json("failure", &failure)?,
    };
    let settings = serde_json::from_str(&settings).map_err(|error| error.to_string())?;
    answer.insert("settings".to_owned(), settings);
    Ok(Value::Object(answer))
}

fn to_json(name: &str, value: &impl Serialize) -> Result<Map<String, Value>, String> {
    let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
    Ok(Map::from_iter([(name.to_owned(), value)]))
}

fn compare(case: &Path, answer: &Value) -> Result<(), String> {
    let file = case.with_extension("plan.json");
    let answer = without_nulls(answer.clone());
    if std::env::var_os(UPDATE_VARIABLE).is_some() {
        let text = format!("{answer:#}\n");
        return fs::write(&file, text).map_err(|error| error.to_string());
    }
    let text = fs::read_to_string(&file)
        .map_err(|error| format!("no expected plan ({error}); {UPDATE_VARIABLE}=1 writes it"))?;
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
