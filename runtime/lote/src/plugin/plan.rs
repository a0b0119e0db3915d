//! `lote plugin plan`: the plan of a job file, on nodes that are made up.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use lote_cli::args::plugin::PluginPlanArgs;
use lote_cli::{job_body, job_file, show};
use lote_model::framework::{PLUGIN_SETTINGS, PluginRequest};
use lote_model::job_request::{self, JobRequest};
use lote_model::plan::{AllocationInput, Issue, JobInput};
use lote_model::planned_mount::mounts_for_plugin;
use lote_model::problem::Problem;
use lote_plugin_host::{CallFigures, Plugin, PluginInfo, Trial, ValidateError};
use serde_json::{Map, Value, json};

use super::{Error, Terminal, load, load_builtin, verdict};

/// The cluster of job files that name none.
const CLUSTER: &str = "/v1/groups/default/workspaces/default/clusters/local";

/// Where mounts are on nodes that are made up.
const MOUNT_ROOT: &str = "/mnt/batch/tasks/shared";

/// Shows the plan; exit code 1 when there is none.
pub(super) fn run(terminal: &Terminal, args: &PluginPlanArgs) -> Result<ExitCode, Error> {
    // The command line has exactly one of the two.
    let plugin = match (&args.source.framework, &args.source.file) {
        (Some(name), _) => load_builtin(name)?,
        (None, file) => load(file.as_deref().unwrap_or(Path::new("-")))?,
    };
    let request = read_job(&args.job, plugin.info())?;
    let nodes = args.nodes.unwrap_or(request.properties.node_count);
    let gang = json!({
        "gpusPerNode": args.gpus,
        "sharedScratch": args.shared_scratch,
        "peerLauncher": args.peer_launcher,
    });
    let allocation = lote_plugin_cases::allocation(nodes.into(), &gang);
    let allocation: AllocationInput =
        serde_json::from_value(allocation).map_err(|error| Error::Cases(error.to_string()))?;
    let trial = plugin.try_out(job_input(&request, nodes), &allocation);
    let (value, is_planned) = answer(&plugin, &request, &allocation, &trial);
    terminal.print(&value, || {
        let style = terminal.console.style_out();
        let plan = serde_json::from_value::<show::PlanAnswer>(value.clone()).ok();
        let plan = plan
            .map(|plan| show::plan(&plan, style))
            .unwrap_or_default();
        plan + &figures(&trial)
    });
    if !is_planned {
        terminal.say(&format!("error: {}", failure(&trial, &request.plugin)));
    }
    Ok(verdict(is_planned))
}

/// The job, which must be one for this plugin.
fn read_job(path: &Path, plugin: &PluginInfo) -> Result<JobRequest, Error> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| {
            file.take(job_file::FILE_LENGTH_MAX)
                .read_to_string(&mut text)
        })
        .map_err(|source| Error::File {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
    let members: Map<String, Value> =
        job_file::parse(&path.to_string_lossy(), &text).map_err(|source| Error::JobFile {
            path: path.to_owned(),
            source,
        })?;
    let body = job_body::of_file(members, None, CLUSTER);
    let descriptor = &plugin.descriptor;
    let mut served = vec![descriptor.settings_member.clone()];
    served.retain(|member| member != PLUGIN_SETTINGS);
    let request = job_request::parse(body.to_string().as_bytes(), &served)
        .map_err(|problem| Error::Job(Box::new(problem)))?;
    let asked = request.plugin.plugin.as_ref();
    let is_other = asked.is_some_and(|asked| {
        let version = asked.version.as_ref();
        asked.name != descriptor.name || version.is_some_and(|it| *it != descriptor.version)
    });
    if is_other {
        let message = format!(
            "the job asks for another plugin than {}@{}",
            descriptor.name, descriptor.version
        );
        let problem = Problem::invalid(request.plugin.name_pointer(), message);
        return Err(Error::Job(Box::new(problem)));
    }
    Ok(request)
}

fn job_input(request: &JobRequest, nodes: u32) -> JobInput {
    let properties = &request.properties;
    let volumes = properties.mount_volumes.iter();
    JobInput {
        id: "plan".to_owned(),
        node_count: nodes,
        settings: request.settings.clone(),
        mounts: volumes
            .flat_map(|volumes| mounts_for_plugin(MOUNT_ROOT, volumes.mount_paths()))
            .collect(),
        variables: properties.environment_variables.clone(),
    }
}

/// As the API answers a plan, and what it cost. Says whether there is one.
fn answer(
    plugin: &Plugin,
    request: &JobRequest,
    allocation: &AllocationInput,
    trial: &Trial,
) -> (Value, bool) {
    let about = plugin.info();
    let nodes: Vec<Value> = allocation
        .nodes
        .iter()
        .map(|node| json!({"rank": node.rank, "name": node.name, "address": node.address}))
        .collect();
    let properties = &request.properties;
    let mut value = json!({
        "attempt": allocation.attempt,
        "imagined": true,
        "plugin": format!("{} {} {}", about.descriptor.name, about.descriptor.version, about.digest),
        "nodes": nodes,
        "preparation": properties.job_preparation.as_ref().map(|it| &it.command_line),
        "workingDirectory": properties.lote.working_directory,
        "userVariables": properties.environment_variables,
        "validate": cost(&trial.validate),
    });
    if let Ok(settings) = &trial.settings {
        value["settings"] = settings.clone();
    }
    if let Some(figures) = &trial.planned {
        value["plan"] = cost(figures);
    }
    let Some(Ok(plan)) = &trial.plan else {
        value["error"] = failure(trial, &request.plugin).into();
        return (value, false);
    };
    if let Ok(Value::Object(members)) = serde_json::to_value(plan.plan()) {
        for (name, member) in members {
            value[name] = member;
        }
    }
    (value, true)
}

fn milliseconds(figures: &CallFigures) -> f64 {
    // Tenths of a millisecond are as fine as two calls are alike.
    (figures.took.as_secs_f64() * 10_000.0).round() / 10.0
}

fn cost(figures: &CallFigures) -> Value {
    json!({
        "milliseconds": milliseconds(figures),
        "memoryKib": figures.memory_bytes.div_ceil(1024),
        "reports": figures.reports,
    })
}

/// What the calls cost and what the plugin said, as lines.
fn figures(trial: &Trial) -> String {
    let calls = [
        ("validate", Some(&trial.validate)),
        ("plan", trial.planned.as_ref()),
    ];
    let lines = calls.into_iter().filter_map(|(name, figures)| {
        let figures = figures?;
        let mut text = format!(
            "{name:<9} {:.1} ms, {} KiB of memory\n",
            milliseconds(figures),
            figures.memory_bytes.div_ceil(1024)
        );
        for report in &figures.reports {
            let _ = writeln!(text, "  {:?}: {}", report.level, report.text);
        }
        Some(text)
    });
    format!("\n{}", lines.collect::<String>())
}

/// Why there is no plan, with places in the job.
fn failure(trial: &Trial, request: &PluginRequest) -> String {
    match (&trial.settings, &trial.plan) {
        (Err(ValidateError::Invalid(issues)), _) => {
            let base = request.settings_pointer();
            let line = |issue: &Issue| match &issue.hint {
                Some(hint) => format!("{base}{}: {}; {hint}", issue.path, issue.message),
                None => format!("{base}{}: {}", issue.path, issue.message),
            };
            issues.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        (Err(ValidateError::Plugin(error)), _)
        | (_, Some(Err(lote_plugin_host::PlanError::Plugin(error)))) => error.sentence(),
        (_, Some(Err(error))) => error.to_string(),
        (_, Some(Ok(_)) | None) => String::new(),
    }
}
