//! `lote job top`.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::{Context, Outcome};
use crate::answer::{Job, JobSamples};
use crate::args::Format;
use crate::args::job::TopArgs;
use crate::{exit, place, show};

/// How often the picture is drawn anew: twice as often as it could change would show nothing more.
const EVERY: Duration = Duration::from_secs(2);

/// Moves to the upper left corner and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) fn run(context: &Context<'_>, args: &TopArgs) -> Outcome {
    let path = place::job(&context.job(&args.name)?);
    let samples_path = format!("{path}/samples");
    let action = format!("watch job '{}'", args.name.job);
    let is_live =
        !args.once && context.settings.format == Format::Table && std::io::stdout().is_terminal();
    loop {
        let samples = context.client.get(&action, &samples_path)?;
        if !is_live {
            return context.print(&action, &samples, |samples: &JobSamples, style| {
                show::job_samples(&args.name.job, &samples.value, style)
            });
        }
        let job: Job = context.client.get_as(&action, &path)?;
        context.console.out(CLEAR.as_bytes());
        context.print(&action, &samples, |samples: &JobSamples, style| {
            show::job_samples(&args.name.job, &samples.value, style)
        })?;
        if job.properties.execution_state.is_terminal() {
            context.say(&format!("job '{}' has ended", args.name.job));
            return Ok(exit::SUCCESS);
        }
        std::thread::sleep(EVERY);
    }
}
