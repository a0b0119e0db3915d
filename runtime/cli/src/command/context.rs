//! What every command works with.

use lote_model::name::ResourceName;
use lote_model::path::{ChildPath, JobPath};
use serde_json::Value;

use super::Outcome;
use crate::answer;
use crate::args::Format;
use crate::args::job::JobName;
use crate::console::Console;
use crate::exit;
use crate::failure::Failure;
use crate::follow::interrupt::Interrupts;
use crate::http::{Client, Done};
use crate::output::Style;
use crate::settings::{Settings, Surroundings};

/// The settings, the client made of them, and the terminal.
pub struct Context<'a> {
    /// Requests to the daemon.
    pub client: Client,
    /// Which workspace, and how answers look.
    pub settings: Settings,
    /// Variables and the current directory.
    pub surroundings: &'a Surroundings,
    /// The terminal.
    pub console: &'a Console,
    /// Where interrupts come from, for commands that catch them.
    pub interrupts: &'a dyn Fn() -> Interrupts,
}

impl<'a> Context<'a> {
    /// A context for one command.
    pub fn new(
        settings: Settings,
        surroundings: &'a Surroundings,
        console: &'a Console,
        interrupts: &'a dyn Fn() -> Interrupts,
    ) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::new(&settings)?,
            settings,
            surroundings,
            console,
            interrupts,
        })
    }

    /// A child of the workspace: an experiment or a cluster.
    pub(super) fn child(&self, name: &str) -> Result<ChildPath, Failure> {
        Ok(self.settings.workspace.child(ResourceName::new(name)?))
    }

    /// A job of the workspace.
    pub(super) fn job(&self, name: &JobName) -> Result<JobPath, Failure> {
        self.job_in(&name.experiment, &name.job)
    }

    /// A job of an experiment.
    pub(super) fn job_in(&self, experiment: &str, job: &str) -> Result<JobPath, Failure> {
        Ok(JobPath::new(
            &self.child(experiment)?,
            ResourceName::new(job)?,
        ))
    }

    /// Prints an answer: as text made by `show`, or as the daemon sent it.
    pub(super) fn print<T: serde::de::DeserializeOwned>(
        &self,
        action: &str,
        value: &Value,
        show: impl FnOnce(&T, Style) -> String,
    ) -> Outcome {
        let text = match self.settings.format {
            Format::Table => show(
                &self.client.understood(action, value)?,
                self.console.style_out(),
            ),
            Format::Json => format!("{value:#}\n"),
            Format::Yaml => yaml(value),
        };
        self.console.out(text.as_bytes());
        Ok(exit::SUCCESS)
    }

    /// Prints a list of answers.
    pub(super) fn print_list<T: serde::de::DeserializeOwned>(
        &self,
        action: &str,
        values: Vec<Value>,
        show: impl FnOnce(&[T], Style) -> String,
    ) -> Outcome {
        self.print(action, &Value::Array(values), |items: &Vec<T>, style| {
            show(items, style)
        })
    }

    /// Says what was done, on standard error, so that answers stay clean.
    pub(super) fn say(&self, text: &str) {
        self.console.error(&format!("{text}\n"));
    }

    /// Asks before something that cannot be taken back.
    pub(super) fn confirm(&self, what: &str, yes: bool) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        match self.console.confirm(&format!("{what}?")) {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::Declined(what.to_owned())),
            None => Err(Failure::Unasked(what.to_owned())),
        }
    }

    /// Removes a resource: asks, deletes, waits.
    pub(super) fn delete(&self, what: &str, path: &str, yes: bool, no_wait: bool) -> Outcome {
        let action = format!("delete {what}");
        self.confirm(&action, yes)?;
        match self.client.delete(&action, path)? {
            None => self.say(&format!("{what} was not there")),
            Some(Done::Later(_)) if no_wait => self.say(&format!("{what} is being deleted")),
            Some(done) => {
                self.console.status(&format!("deleting {what}"));
                let finished = self.client.finish(&action, done);
                self.console.clear_status();
                finished?;
                self.say(&format!("deleted {what}"));
            }
        }
        Ok(exit::SUCCESS)
    }

    /// Creates a resource with PUT, waits if that takes time, and prints it.
    pub(super) fn create<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        body: Option<&Value>,
        show: impl FnOnce(&T, Style) -> String,
    ) -> Outcome {
        let action = format!("create {what}");
        let value = match self.client.put(&action, path, body)? {
            Done::Now(value) => value,
            Done::Later(operation) => {
                self.client.wait(&action, &operation)?;
                self.client.get(&action, path)?
            }
        };
        self.print(&action, &value, show)
    }
}

/// A value as YAML.
pub fn yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value).unwrap_or_else(|_| format!("{value}\n"));
    if text.ends_with('\n') {
        text
    } else {
        text + "\n"
    }
}

/// Reads a value into what is known of it, for values that were read before.
pub(super) fn known<T: serde::de::DeserializeOwned>(
    context: &Context<'_>,
    action: &str,
    value: &Value,
) -> Result<T, Failure> {
    answer::read(value).map_err(|source| Failure::Answer {
        action: action.to_owned(),
        url: context.client.url().to_owned(),
        source,
    })
}
