//! `lote plugin test`.

use std::process::ExitCode;

use lote_cli::args::plugin::PluginTestArgs;
use lote_cli::output::Colour;
use lote_model::plan::{AllocationInput, JobInput};
use lote_plugin_cases::{Case, Mode, Outcome};
use lote_plugin_host::{PlanError, Plugin, ValidateError};
use serde_json::{Value, json};

use super::{Error, Terminal, load, verdict};

/// Runs the cases; exit code 1 when an answer differs.
pub(super) fn run(terminal: &Terminal, args: &PluginTestArgs) -> Result<ExitCode, Error> {
    let plugin = load(&args.file)?;
    let mode = if args.accept {
        Mode::Accept
    } else {
        Mode::Compare
    };
    let outcomes = lote_plugin_cases::run(&args.cases, mode, |case| answer(&plugin, case))
        .map_err(Error::Cases)?;
    let failed = outcomes.iter().filter(|it| it.problem.is_some()).count();
    let value: Vec<Value> = outcomes
        .iter()
        .map(|outcome| json!({"case": outcome.case, "problem": outcome.problem}))
        .collect();
    let style = terminal.console.style_out();
    let well = if args.accept { "written" } else { "ok" };
    let line = |outcome: &Outcome| match &outcome.problem {
        None => format!(
            "{:<11} {}\n",
            style.paint(Colour::Green, well),
            outcome.case
        ),
        Some(problem) => format!(
            "{:<11} {}: {problem}\n",
            style.paint(Colour::Red, "failed"),
            outcome.case
        ),
    };
    terminal.print(&Value::Array(value), || outcomes.iter().map(line).collect());
    if failed > 0 {
        terminal.say(&format!(
            "{failed} of {} cases failed; --accept writes what the plugin answers as what is expected",
            outcomes.len()
        ));
    }
    Ok(verdict(failed == 0))
}

/// What the component answers to a case, in the form of its expected plan.
fn answer(plugin: &Plugin, case: &Case) -> Result<Value, String> {
    let job: JobInput =
        serde_json::from_value(case.job.clone()).map_err(|error| error.to_string())?;
    let allocation: AllocationInput =
        serde_json::from_value(case.allocation.clone()).map_err(|error| error.to_string())?;
    let settings = match plugin.validate(&job) {
        Ok(settings) => settings,
        Err(ValidateError::Invalid(issues)) => return Ok(json!({ "issues": issues })),
        Err(ValidateError::Plugin(error)) => return Err(error.sentence()),
    };
    match plugin.plan(&job, &allocation) {
        Ok(plan) => Ok(json!({ "settings": settings, "plan": plan })),
        Err(PlanError::Declined(failure)) => {
            Ok(json!({ "settings": settings, "failure": failure }))
        }
        Err(PlanError::Plugin(error)) => Err(error.sentence()),
    }
}
