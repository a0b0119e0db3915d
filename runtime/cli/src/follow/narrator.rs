//! What is said about a job while it is followed: on a terminal a line that
//! changes in place, elsewhere one plain line per change.

use jiff::Timestamp;
use lote_model::state::ExecutionState;

use crate::answer::{Job, Preparing};
use crate::console::Console;
use crate::output::{Colour, seconds, span_between};
use crate::show;

/// Tells how a job fares, on standard error.
pub(super) struct Narrator {
    console: Console,
    last: String,
    quiet: bool,
}

impl Narrator {
    /// A narrator; a quiet one tells nothing but trouble.
    pub(super) fn new(console: &Console, quiet: bool) -> Self {
        Self {
            console: console.clone(),
            last: String::new(),
            quiet,
        }
    }

    /// Tells where the job is, if that is news. `now` counts the time it waits.
    pub(super) fn tell(&mut self, job: &Job, now: Timestamp) {
        if self.quiet || job.properties.execution_state.is_terminal() {
            return;
        }
        let sentence = sentence(job);
        if self.console.is_live() {
            let since = job
                .properties
                .execution_state_transition_time
                .or(job.properties.creation_time);
            let elapsed = since.map_or_else(String::new, |since| {
                format!("  {}", span_between(since, now))
            });
            self.console.status(&format!("{sentence}{elapsed}"));
        } else if sentence != self.last {
            self.console.error(&format!("{sentence}\n"));
            self.last = sentence;
        }
    }

    /// Tells how it ended.
    pub(super) fn tell_end(&self, job: &Job) {
        self.console.clear_status();
        if !self.quiet {
            self.console.error(&ending(job, &self.console));
        }
    }

    /// Tells something that went wrong on the way, or what happens next.
    pub(super) fn remark(&self, text: &str) {
        self.console.error(&format!("lote: {text}\n"));
    }
}

/// One sentence about a live job.
fn sentence(job: &Job) -> String {
    let name = &job.name;
    let properties = &job.properties;
    match properties.execution_state {
        ExecutionState::Queued => match (&properties.lote.waiting, &properties.lote.requeued) {
            (Some(reason), _) => format!("job {name} waits: {reason}"),
            (None, Some(requeued)) => format!("job {name} waits again: {}", requeued.message),
            (None, None) => format!("job {name} is queued"),
        },
        ExecutionState::Running => match &*properties.lote.preparing {
            [] if properties.lote.nodes.is_empty() => format!("job {name} is running"),
            [] => format!(
                "job {name} is running on {}",
                show::names(&properties.lote.nodes)
            ),
            [Preparing { node, doing }] => {
                format!("job {name} is being prepared on {node}: {doing}")
            }
            [Preparing { node, doing }, others @ ..] => format!(
                "job {name} is being prepared on {} nodes, {node} of them: {doing}",
                others.len() + 1
            ),
        },
        ExecutionState::Terminating => format!("job {name} is being terminated"),
        ExecutionState::Succeeded => format!("job {name} succeeded"),
        ExecutionState::Failed => format!("job {name} failed"),
    }
}

/// The last word: how it ended, after what time, and where to read more.
fn ending(job: &Job, console: &Console) -> String {
    let info = &job.properties.execution_info;
    let style = console.style_err();
    let ran = match (info.start_time, info.end_time) {
        (Some(start), Some(end)) => format!(" after {}", span_between(start, end)),
        _ => String::new(),
    };
    let used = job
        .properties
        .lote
        .account
        .as_ref()
        .map_or_else(String::new, |account| {
            format!(", processor time {}", seconds(account.cpu_seconds))
        });
    if job.properties.execution_state == ExecutionState::Succeeded {
        return format!(
            "{}{ran}{used}\n",
            style.paint(Colour::Green, &format!("job {} succeeded", job.name))
        );
    }
    let code = info
        .exit_code
        .map_or_else(String::new, |code| format!(" with exit code {code}"));
    let head = style.paint(Colour::Red, &format!("job {} failed{code}", job.name));
    let errors: String = info
        .errors
        .iter()
        .map(|error| show::error_block(error) + "\n")
        .collect();
    let experiment = match job.properties.experiment_name.as_deref() {
        None | Some("default") => String::new(),
        Some(name) => format!(" -e {name}"),
    };
    format!(
        "{head}{ran}\n{errors}  more: lote job show {}{experiment}\n",
        job.name
    )
}
