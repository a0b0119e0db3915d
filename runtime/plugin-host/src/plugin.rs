//! A loaded plugin and its calls.

use std::sync::Arc;

use lote_model::plan::{AllocationInput, Descriptor, Issue, JobInput, LaunchPlan, PlanFailure};
use lote_model::plan_check::{self, CheckedPlan};
use serde_json::Value;
use wasmtime::Store;

use crate::contract::Contract;
use crate::error::{Identity, PlanError, PluginError, Problem, ValidateError};
use crate::sandbox::{CallState, Function, Level, Report, Sandbox};

/// What is known about a loaded plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInfo {
    /// What it says about itself.
    pub descriptor: Descriptor,
    /// SHA-256 of the component, 64 hexadecimal digits.
    pub digest: String,
    /// The contract version it was built for.
    pub contract: String,
    /// The file it came from, or `built in`.
    pub origin: String,
    /// Whether it can turn log lines into numbers (the `progress` interface).
    pub reads_progress: bool,
    /// Whether it wants to be asked about unforeseen ends (`supervision`).
    pub supervises: bool,
}

impl PluginInfo {
    /// Name, version and digest.
    pub fn identity(&self) -> Identity {
        Identity {
            name: self.descriptor.name.clone(),
            version: self.descriptor.version.clone(),
            digest: self.digest.clone(),
        }
    }
}

/// A loaded plugin. Clones share it; it lives as long as one of them, whatever the
/// registry has replaced it with since.
#[derive(Clone)]
pub struct Plugin {
    loaded: Arc<Loaded>,
}

struct Loaded {
    info: PluginInfo,
    sandbox: Arc<Sandbox>,
    contract: Contract,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Plugin").field(&self.loaded.info).finish()
    }
}

impl Plugin {
    pub(crate) fn new(info: PluginInfo, sandbox: Arc<Sandbox>, contract: Contract) -> Self {
        Self {
            loaded: Arc::new(Loaded {
                info,
                sandbox,
                contract,
            }),
        }
    }

    /// What is known about it.
    pub fn info(&self) -> &PluginInfo {
        &self.loaded.info
    }

    /// Checks a job's settings; answers them with defaults written in.
    ///
    /// # Errors
    /// What the user did wrong, or what the plugin did.
    pub fn validate(&self, job: &JobInput) -> Result<Value, ValidateError> {
        let settings = self
            .calls()
            .validate(job)
            .map_err(|problem| self.error(problem))?
            .map_err(ValidateError::Invalid)?;
        serde_json::from_str(&settings).map_err(|error| {
            let reason = error.to_string();
            self.error(Problem::BadSettings { reason }).into()
        })
    }

    /// Makes and checks the plan of a job on the nodes it was granted.
    ///
    /// # Errors
    /// Why the plugin declined, or what it did wrong.
    pub fn plan(
        &self,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> Result<CheckedPlan, PlanError> {
        let plan = self
            .calls()
            .plan(job, allocation)
            .map_err(|problem| self.error(problem))?
            .map_err(PlanError::Declined)?;
        plan_check::check(plan, allocation)
            .map_err(|findings| self.error(Problem::PlanRefused { findings }).into())
    }

    fn calls(&self) -> Calls<'_> {
        Calls {
            sandbox: &self.loaded.sandbox,
            contract: &self.loaded.contract,
            name: &self.loaded.info.descriptor.name,
        }
    }

    fn error(&self, problem: Problem) -> PluginError {
        PluginError::new(self.loaded.info.identity(), problem)
    }
}

/// The contract's functions, each in an instance of its own.
pub(crate) struct Calls<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) contract: &'a Contract,
    /// For the log.
    pub(crate) name: &'a str,
}

impl Calls<'_> {
    pub(crate) fn describe(&self) -> Result<Descriptor, Problem> {
        self.run(Function::Describe, |store| self.contract.describe(store))
    }

    pub(crate) fn validate(&self, job: &JobInput) -> Result<Result<String, Vec<Issue>>, Problem> {
        self.run(Function::Validate, |store| {
            self.contract.validate(store, job)
        })
    }

    pub(crate) fn plan(
        &self,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> Result<Result<LaunchPlan, PlanFailure>, Problem> {
        self.run(Function::Plan, |store| {
            self.contract.plan(store, job, allocation)
        })
    }

    fn run<R>(
        &self,
        function: Function,
        call: impl FnOnce(&mut Store<CallState>) -> wasmtime::Result<R>,
    ) -> Result<R, Problem> {
        let (result, reports) = self.sandbox.run(function, call);
        for report in &reports {
            log(self.name, function, report);
        }
        result
    }
}

fn log(plugin: &str, function: Function, report: &Report) {
    let (function, text) = (function.name(), &report.text);
    match report.level {
        Level::Debug => tracing::debug!(plugin, function, "{text}"),
        Level::Info => tracing::info!(plugin, function, "{text}"),
        Level::Warning => tracing::warn!(plugin, function, "{text}"),
        Level::Error => tracing::error!(plugin, function, "{text}"),
    }
}
