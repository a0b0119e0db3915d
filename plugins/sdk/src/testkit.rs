//! Runs a folder of test cases against their expected plans.
//!
//! [`lote_plugin_cases`] says what a case is. `LOTE_UPDATE_PLANS=1` writes the expected
//! plans instead of comparing.

use std::path::Path;

use lote_plugin_cases::Mode;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bindings::exports::lote::framework::framework::Guest;
use crate::types::{Allocation, Job};
use crate::{Adapter, Framework};

pub use lote_plugin_cases::{Case, allocation};

/// The variable that makes a run write the expected plans instead of comparing.
pub const UPDATE_VARIABLE: &str = "LOTE_UPDATE_PLANS";

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
    let mode = match std::env::var_os(UPDATE_VARIABLE) {
        Some(_) => Mode::Accept,
        None => Mode::Compare,
    };
    let outcomes = lote_plugin_cases::run(folder, mode, answer)?;
    let problems: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| {
            let problem = outcome.problem.as_ref()?;
            Some(format!("{}/{}: {problem}", folder.display(), outcome.case))
        })
        .collect();
    if problems.is_empty() {
        return Ok(outcomes.len());
    }
    let advice = format!("{UPDATE_VARIABLE}=1 writes what the plugin answers as expected");
    Err(format!("{}\n{advice}", problems.join("\n")))
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
