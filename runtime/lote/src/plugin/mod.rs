//! `lote plugin new|check|plan|test|install|remove`: for authors and operators of plugins,
//! on their own machine. No daemon is asked; what a daemon would do with a component is
//! done here by the same code.
//!
//! * `new` — a project that builds at once.
//! * `check` — each check of a load, with its verdict.
//! * `plan` — what a plugin makes of a job file.
//! * `cases` — a component's answers against those that are expected.
//! * `folder` — components into and out of a daemon's plugin folder.

mod cases;
mod check;
mod folder;
mod new;
mod plan;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lote_cli::LocalPluginArgs;
use lote_cli::args::plugin::LocalPluginCommand;
use lote_cli::args::{Format, GlobalArgs};
use lote_cli::console::Console;
use lote_cli::job_file::JobFileError;
use lote_model::problem::{Problem, explain};
use lote_plugin_host::{Host, HostError, MAX_COMPONENT_BYTES, Plugin, PluginError};
use serde_json::Value;

use crate::daemon::builtins;

/// Something could not be done. What a command finds wrong with a plugin is no error: it is
/// its answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is {bytes} bytes large; no plugin is larger than {}", path.display(), MAX_COMPONENT_BYTES)]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Plugin(#[from] RefusedError),
    #[error("there is no built-in plugin '{name}'; there are {}", known.join(", "))]
    NoBuiltin { name: String, known: Vec<String> },
    #[error("'{}' is no job file", path.display())]
    JobFile { path: PathBuf, source: JobFileError },
    #[error("the job is refused: {}", told(_0))]
    Job(Box<Problem>),
    #[error("{0}")]
    Cases(String),
    #[error(
        "'{0}' is no name of a plugin; take 1 to 64 lower-case letters, digits or '-', a letter first"
    )]
    Name(String),
    #[error("{} is there already; take another name, or remove it first", _0.display())]
    Exists(PathBuf),
    #[error("{} is there with another content; give a new version to the plugin, or --replace to replace this one", _0.display())]
    OtherContent(PathBuf),
    #[error("give NAME@VERSION; in {} there are: {}", folder.display(), there.join(", "))]
    NotInstalled { folder: PathBuf, there: Vec<String> },
}

/// A component that does not load.
#[derive(Debug, thiserror::Error)]
#[error("{}; `lote plugin check` says more", _0.sentence())]
struct RefusedError(PluginError);

/// A problem with all that it gathers.
fn told(problem: &Problem) -> String {
    let one = |problem: &Problem| match &problem.target {
        Some(target) => format!("{target}: {}", problem.message),
        None => problem.message.clone(),
    };
    let details = problem.details.iter().map(one);
    std::iter::once(one(problem))
        .chain(details)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Runs a command; its exit code is 1 when it found something wrong.
pub(crate) fn run(args: LocalPluginArgs) -> ExitCode {
    let terminal = Terminal {
        console: Console::of_process(),
        format: args.global.output.unwrap_or_default(),
    };
    match try_run(&terminal, args.global, args.command) {
        Ok(code) => code,
        Err(error) => {
            terminal
                .console
                .error(&format!("error: {}\n", explain(&error)));
            ExitCode::FAILURE
        }
    }
}

fn try_run(
    terminal: &Terminal,
    global: GlobalArgs,
    command: LocalPluginCommand,
) -> Result<ExitCode, Error> {
    match command {
        LocalPluginCommand::New(args) => new::run(terminal, &args),
        LocalPluginCommand::Check(args) => check::run(terminal, &args),
        LocalPluginCommand::Plan(args) => plan::run(terminal, &args),
        LocalPluginCommand::Test(args) => cases::run(terminal, &args),
        LocalPluginCommand::Install(args) => folder::install(terminal, global, &args),
        LocalPluginCommand::Remove(args) => folder::remove(terminal, &args),
    }
}

/// Where answers go, and how they look.
struct Terminal {
    console: Console,
    format: Format,
}

impl Terminal {
    /// Prints an answer, as text or as data.
    fn print(&self, value: &Value, text: impl FnOnce() -> String) {
        let text = match self.format {
            Format::Table => text(),
            Format::Json => format!("{value:#}\n"),
            Format::Yaml => lote_cli::command::yaml(value),
        };
        self.console.out(text.as_bytes());
    }

    /// Says what was done.
    fn say(&self, text: &str) {
        self.console.error(&format!("{text}\n"));
    }
}

/// Success, or that something was found.
fn verdict(is_well: bool) -> ExitCode {
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Reads a component, but not one that is too large for memory.
fn read_component(path: &Path) -> Result<Vec<u8>, Error> {
    let file = |source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::metadata(path).map_err(file)?.len();
    // Somewhat too large ones are read, so that the check of the size can say so.
    if bytes > 4 * MAX_COMPONENT_BYTES as u64 {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    std::fs::read(path).map_err(file)
}

/// Loads a component of a file.
fn load(path: &Path) -> Result<Plugin, Error> {
    let bytes = read_component(path)?;
    let origin = path.display().to_string();
    host()?
        .load(&origin, &bytes)
        .map_err(|error| RefusedError(error).into())
}

/// Loads a plugin of the program.
fn load_builtin(name: &str) -> Result<Plugin, Error> {
    let builtins = builtins();
    let found = builtins.iter().find(|builtin| builtin.name == name);
    let builtin = found.ok_or_else(|| Error::NoBuiltin {
        name: name.to_owned(),
        known: builtins.iter().map(|it| it.name.to_owned()).collect(),
    })?;
    host()?
        .load("built in", builtin.component)
        .map_err(|error| RefusedError(error).into())
}

/// A host that keeps what it has compiled for the user, if there is a place for that: a
/// plugin in Python takes seconds to compile.
fn host() -> Result<Host, HostError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let caches = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")));
    let folder = caches.map(|caches| caches.join("lote"));
    let made = folder.filter(|folder| std::fs::create_dir_all(folder).is_ok());
    match made.map(|folder| Host::new(Some(&folder.join("plugins")))) {
        Some(Err(HostError::Cache(_))) | None => Host::new(None),
        Some(host) => host,
    }
}
