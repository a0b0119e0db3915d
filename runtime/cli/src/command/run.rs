//! `lote run`: submit, follow, end with the job's exit code.

use lote_model::path::JobPath;

use super::job::{exit_code, submit};
use super::{Context, Outcome, job_input};
use crate::args::run::RunArgs;
use crate::failure::Failure;
use crate::follow::{self, End, Options};
use crate::{exit, job_body, job_name, place};

pub(super) fn run(context: &Context<'_>, args: &RunArgs) -> Outcome {
    let path = path(context, args)?;
    let cluster = place::cluster_id(&context.settings.workspace, &args.cluster)?;
    // A container sees nothing of it.
    let directory = working_directory(context).filter(|_| args.image.is_none());
    if let Some(root) = directory.and_then(private_root) {
        context.say(&format!(
            "note: jobs have a {root} of their own, so they may not find what you have there"
        ));
    }
    let body = job_body::of_run(args, &cluster, directory, context.surroundings)?;
    // Caught from here on: a Ctrl-C between submission and following must not
    // leave a job behind that nobody asked to keep.
    let interrupts = (!args.detach).then(|| (context.interrupts)());
    submit(context, &path, &body)?;
    let Some(interrupts) = interrupts else {
        context.console.out(format!("{}\n", path.job).as_bytes());
        return Ok(exit::SUCCESS);
    };
    context.say(&format!("submitted job {}", path.job));
    let options = Options {
        output: true,
        only_file: None,
        quiet: false,
        interrupts: Some(interrupts),
        deadline: None,
    };
    match follow::follow(&context.client, &path, context.console, options)? {
        End::Ended(job) => Ok(exit_code(&job)),
        End::Left | End::TimedOut(_) => {
            context.say(&format!("left; job {} is being terminated", path.job));
            Ok(exit::INTERRUPTED)
        }
    }
}

fn path(context: &Context<'_>, args: &RunArgs) -> Result<JobPath, Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => job_input::generated(job_name::stem_of(&args.command)),
    };
    context.job_in(&args.experiment, &name)
}

/// The job starts where the user is, if the daemon's machine is this one. On
/// another machine the same path may hold something else.
fn working_directory<'a>(context: &Context<'a>) -> Option<&'a str> {
    let surroundings = context.surroundings;
    surroundings
        .current_directory
        .as_deref()
        .filter(|_| context.settings.daemon_is_local())
}

/// The directory above `path` of which every job has its own (unless the daemon
/// runs without isolation).
fn private_root(path: &str) -> Option<&'static str> {
    let below = |root: &str| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    ["/tmp", "/var/tmp", "/dev/shm"]
        .into_iter()
        .find(|root| below(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_jobs_do_not_share_are_known() {
        assert_eq!(private_root("/tmp"), Some("/tmp"));
        assert_eq!(private_root("/var/tmp/code"), Some("/var/tmp"));
        assert_eq!(private_root("/tmpfiles"), None);
        assert_eq!(private_root("/home/u"), None);
    }
}
