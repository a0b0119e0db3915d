//! Everything that can go wrong with a plugin.

use std::fmt;
use std::time::Duration;

use lote_model::plan::{Issue, PlanFailure};
use lote_model::plan_check::Finding;

/// Which plugin: enough to find the file, the release and the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The framework's short name, or the file's until the plugin has said its own.
    pub name: String,
    /// The plugin's version; empty until it has said so.
    pub version: String,
    /// SHA-256 of the component, 64 hexadecimal digits.
    pub digest: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.version.is_empty() {
            "of unknown version"
        } else {
            &self.version
        };
        // Twelve digits tell any two files of a cluster apart.
        let digest = self.digest.get(..12).unwrap_or(&self.digest);
        write!(f, "{} {version} (sha256 {digest})", self.name)
    }
}

/// A plugin that failed, and how.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin}")]
pub struct PluginError {
    /// The plugin.
    pub plugin: Identity,
    /// What went wrong.
    #[source]
    pub problem: Box<Problem>,
}

impl PluginError {
    pub(crate) fn new(plugin: Identity, problem: Problem) -> Self {
        Self {
            plugin,
            problem: Box::new(problem),
        }
    }

    /// The error and its cause in one line, for logs and job records.
    pub fn sentence(&self) -> String {
        format!("{self} {}", self.problem)
    }
}

/// What can go wrong with a plugin. Reads after the plugin's name.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Larger than any plugin needs to be.
    #[error(
        "is {bytes} bytes large, at most {max} are allowed; build it in release mode and stripped"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes are not a well-formed component.
    #[error(
        "is not a WebAssembly component ({reason}); build it for wasm32-unknown-unknown with the linker wasm-component-ld"
    )]
    NotAComponent {
        /// What the parser says.
        reason: String,
    },
    /// A component, but it does not export what a plugin does.
    #[error(
        "exports no lote:framework/framework; build it with lote-plugin-sdk and its `register!`"
    )]
    NotAPlugin,
    /// Built for a contract that this host does not have.
    #[error(
        "was built for {built_for}, this Lote offers lote:framework@{offered}; rebuild it for that, or update Lote"
    )]
    OtherContract {
        /// The interface with its version.
        built_for: String,
        /// The host's versions.
        offered: String,
    },
    /// It wants what no plugin gets.
    #[error("imports {}, which no plugin may use; remove what needs it", names.join(", "))]
    ForeignImports {
        /// The interfaces.
        names: Vec<String>,
    },
    /// It could not be compiled.
    #[error("cannot be compiled: {reason}; rebuild it with a current toolchain")]
    CompileFailed {
        /// What the compiler says.
        reason: String,
    },
    /// Its imports or exports differ from the contract's.
    #[error(
        "does not fit the contract lote:framework@{offered}: {reason}; rebuild it against wit/{offered}"
    )]
    DoesNotFit {
        /// The host's version.
        offered: &'static str,
        /// What differs.
        reason: String,
    },
    /// What it says about itself is unusable.
    #[error("describes itself wrongly: {reason}")]
    BadDescriptor {
        /// What is wrong, and what it should be.
        reason: String,
    },
    /// The same job gave two results.
    #[error(
        "gave two different {what} for the same job; a plugin's functions must depend on their arguments only"
    )]
    Unpredictable {
        /// `plans` or `settings`.
        what: &'static str,
    },
    /// A call ended in a trap, mostly a panic.
    #[error("failed in `{function}`: {}; report it to the plugin's author{}", panic.as_deref().unwrap_or(reason), last_words(reports))]
    Trapped {
        /// The contract's function.
        function: &'static str,
        /// How it ended.
        reason: String,
        /// The panic's text and place, when the plugin sent it.
        panic: Option<String>,
        /// What it last reported.
        reports: Vec<String>,
    },
    /// A call took too long.
    #[error("did not end `{function}` within {} s and was stopped; report it to the plugin's author", limit.as_secs())]
    PastDeadline {
        /// The contract's function.
        function: &'static str,
        /// Its limit.
        limit: Duration,
    },
    /// A call asked for too much memory.
    #[error(
        "asked for more than {limit_mib} MiB of memory in `{function}`; report it to the plugin's author"
    )]
    OutOfMemory {
        /// The contract's function.
        function: &'static str,
        /// The limit in MiB.
        limit_mib: usize,
    },
    /// `validate` answered something that is not JSON.
    #[error("answered settings that are not JSON ({reason}); report it to the plugin's author")]
    BadSettings {
        /// What the parser says.
        reason: String,
    },
    /// The plan breaks a rule.
    #[error(
        "made a plan that is refused: {}; report it to the plugin's author",
        list(findings)
    )]
    PlanRefused {
        /// Each broken rule, with its place in the plan.
        findings: Vec<Finding>,
    },
    /// Another plugin already serves the same settings member, or is the same version.
    #[error("serves `{what}`, which {other} serves already; remove one of the two files")]
    Taken {
        /// The settings member, or name and version.
        what: String,
        /// The other file or built-in plugin.
        other: String,
    },
    /// The operator's list of plugins that may be loaded does not have it.
    #[error(
        "is not on the list {}, so it is not loaded; if it is to be trusted, add the line `{digest}  {file}`", list.display()
    )]
    NotAllowed {
        /// The list.
        list: std::path::PathBuf,
        /// SHA-256 of the component.
        digest: String,
        /// The name of the component's file.
        file: String,
    },
    /// The file could not be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What the system says.
        reason: String,
    },
}

/// Why there are no validated settings.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The user's settings are wrong.
    #[error("the settings are invalid: {}", issues_list(_0))]
    Invalid(Vec<Issue>),
    /// The plugin is.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The plugin declined.
    #[error("no plan: {}", failure_text(_0))]
    Declined(PlanFailure),
    /// The plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

fn last_words(reports: &[String]) -> String {
    if reports.is_empty() {
        return String::new();
    }
    format!("; it last reported: {}", reports.join(" | "))
}

fn list(findings: &[Finding]) -> String {
    let texts: Vec<String> = findings.iter().map(Finding::to_string).collect();
    texts.join("; ")
}

pub(crate) fn issues_list(issues: &[Issue]) -> String {
    let texts: Vec<String> = issues
        .iter()
        .map(|issue| match &issue.hint {
            Some(hint) => format!("{}: {} ({hint})", issue.path, issue.message),
            None => format!("{}: {}", issue.path, issue.message),
        })
        .collect();
    texts.join("; ")
}

fn failure_text(failure: &PlanFailure) -> String {
    match failure {
        PlanFailure::Invalid(issues) => issues_list(issues),
        PlanFailure::Unsuitable(reason) => reason.clone(),
    }
}
