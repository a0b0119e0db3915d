//! `lote job`, but for its output and files.

use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use lote_model::path::JobPath;
use serde_json::Value;

use super::context::known;
use super::{Context, Outcome, files, job_input, logs, top};
use crate::answer::{Container, Job};
use crate::args::job::{CreateArgs, EndArgs, JobCommand, PlanArgs, WaitArgs};
use crate::failure::Failure;
use crate::follow::{self, End, Options};
use crate::http::Done;
use crate::{exit, place, show};

/// The experiment that is made when a job needs it.
const EXPERIMENT_DEFAULT: &str = "default";

pub(super) fn run(context: &Context<'_>, command: JobCommand) -> Outcome {
    match command {
        JobCommand::Create(args) => create(context, &args),
        JobCommand::List { experiment, all } => list(context, &experiment, all),
        JobCommand::Show(name) => {
            let action = format!("show job '{}'", name.job);
            let value = context
                .client
                .get(&action, &place::job(&context.job(&name)?))?;
            context.print(&action, &value, |job, style| {
                show::job_details(job, Timestamp::now(), style)
            })
        }
        JobCommand::Nodes(name) => {
            let path = place::job(&context.job(&name)?);
            super::remote_login::run(context, &format!("job '{}'", name.job), &path)
        }
        JobCommand::Top(args) => top::run(context, &args),
        JobCommand::Plan(args) => plan(context, &args),
        JobCommand::Logs(args) => logs::run(context, args),
        JobCommand::Files(args) => files::run(context, args),
        JobCommand::Wait(args) => wait(context, &args),
        JobCommand::Terminate(args) => terminate(context, &args),
        JobCommand::Delete(args) => {
            let path = place::job(&context.job(&args.name)?);
            context.delete(
                &format!("job '{}'", args.name.job),
                &path,
                args.yes,
                args.no_wait,
            )
        }
    }
}

fn create(context: &Context<'_>, args: &CreateArgs) -> Outcome {
    let members = job_input::read_file(&args.file)?;
    let name = job_input::name(args.name.as_deref(), &members, &args.file);
    let body = job_input::body(context, members, args.cluster.as_deref())?;
    let path = context.job_in(&args.experiment, &name)?;
    let value = submit(context, &path, &body)?;
    context.print("create the job", &value, |job: &Job, _| {
        format!("{}\n", job.name)
    })
}

/// Submits a job; the default experiment is made if it is not there yet.
pub(super) fn submit(
    context: &Context<'_>,
    path: &JobPath,
    body: &Value,
) -> Result<Value, Failure> {
    let action = format!("create job '{}'", path.job);
    let url = place::job(path);
    let put = || context.client.put(&action, &url, Some(body));
    let done = match put() {
        Err(failure) if needs_experiment(&failure, path) => {
            let experiment = context.child(EXPERIMENT_DEFAULT)?;
            let experiment = place::child(&experiment, super::experiment::EXPERIMENTS);
            let made = context
                .client
                .put("create experiment 'default'", &experiment, None)?;
            context.client.finish("create experiment 'default'", made)?;
            put()?
        }
        other => other?,
    };
    match done {
        Done::Now(value) => Ok(value),
        Done::Later(operation) => {
            context.client.wait(&action, &operation)?;
            context.client.get(&action, &url)
        }
    }
}

fn needs_experiment(failure: &Failure, path: &JobPath) -> bool {
    failure.code() == Some("ExperimentNotFound") && path.experiment.folded() == EXPERIMENT_DEFAULT
}

fn list(context: &Context<'_>, experiment: &str, all: bool) -> Outcome {
    let action = "list jobs";
    let values = if all {
        all_jobs(context, action)?
    } else {
        match context
            .client
            .list(action, &place::jobs(&context.child(experiment)?))
        {
            // Nothing was submitted to it yet, so it is not there yet.
            Err(failure)
                if failure.code() == Some("ExperimentNotFound")
                    && experiment == EXPERIMENT_DEFAULT =>
            {
                Vec::new()
            }
            other => other?,
        }
    };
    context.print_list(action, values, |jobs, style| {
        show::job_table(jobs, all, style)
    })
}

fn all_jobs(context: &Context<'_>, action: &str) -> Result<Vec<Value>, Failure> {
    let collection = place::collection(&context.settings.workspace, super::experiment::EXPERIMENTS);
    let mut jobs = Vec::new();
    for experiment in context.client.list(action, &collection)? {
        let experiment: Container = known(context, action, &experiment)?;
        jobs.extend(
            context
                .client
                .list(action, &place::jobs(&context.child(&experiment.name)?))?,
        );
    }
    Ok(jobs)
}

/// A stored plan, or the plan that a file would get. What looks like a file and
/// exists is one; a job's name has neither dots nor slashes.
fn plan(context: &Context<'_>, args: &PlanArgs) -> Outcome {
    let file = Path::new(&args.subject);
    let action = format!("plan '{}'", args.subject);
    let value = if args.subject.contains(['.', '/']) || args.subject == "-" {
        let members = job_input::read_file(file)?;
        let name = job_input::name(None, &members, file);
        let body = job_input::body(context, members, args.cluster.as_deref())?;
        let url = format!(
            "{}/plan",
            place::job(&context.job_in(&args.experiment, &name)?)
        );
        let done = context.client.post(&action, &url, Some(&body))?;
        context.client.finish(&action, done)?
    } else {
        let path = context.job_in(&args.experiment, &args.subject)?;
        context
            .client
            .get(&action, &format!("{}/plan", place::job(&path)))?
    };
    context.print(&action, &value, show::plan)
}

fn wait(context: &Context<'_>, args: &WaitArgs) -> Outcome {
    let path = context.job(&args.name)?;
    let options = Options {
        output: false,
        only_file: None,
        quiet: false,
        interrupts: None,
        deadline: args.timeout.map(|timeout| Instant::now() + timeout),
    };
    match follow::follow(&context.client, &path, context.console, options)? {
        End::Ended(job) => Ok(exit_code(&job)),
        End::Left => Ok(exit::INTERRUPTED),
        End::TimedOut(state) => Err(Failure::WaitTimeout {
            job: args.name.job.clone(),
            state: format!("{state:?}").to_lowercase(),
            seconds: args.timeout.unwrap_or_default().as_secs(),
        }),
    }
}

/// The process's exit code for an ended job.
pub(super) fn exit_code(job: &Job) -> u8 {
    let succeeded = job.properties.execution_state == lote_model::state::ExecutionState::Succeeded;
    exit::of_job(succeeded, job.properties.execution_info.exit_code)
}

/// Ends a job. Its record and files stay, so nobody is asked.
fn terminate(context: &Context<'_>, args: &EndArgs) -> Outcome {
    let name = &args.name.job;
    let action = format!("terminate job '{name}'");
    let url = format!("{}/terminate", place::job(&context.job(&args.name)?));
    match context.client.post(&action, &url, None)? {
        Done::Now(_) => context.say(&format!("job '{name}' had ended already")),
        Done::Later(_) if args.no_wait => context.say(&format!("job '{name}' is being terminated")),
        Done::Later(operation) => {
            context.console.status(&format!("terminating job '{name}'"));
            let ended = context.client.wait(&action, &operation);
            context.console.clear_status();
            ended?;
            context.say(&format!("terminated job '{name}'"));
        }
    }
    Ok(exit::SUCCESS)
}
