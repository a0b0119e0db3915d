//! A loaded plugin and its calls.

use std::sync::Arc;
use std::time::Duration;

use lote_model::plan::{AllocationInput, Descriptor, Issue, JobInput, LaunchPlan, PlanFailure};
use lote_model::plan_check::{self, CheckedPlan};
use serde_json::Value;
use wasmtime::Store;

use crate::contract::Contract;
use crate::error::{Identity, PlanError, PluginError, Problem, ValidateError};
use crate::sandbox::{CallState, Function, Level, Ran, Report, Sandbox};

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
    contract: Box<dyn Contract>,
}

/// What a call cost, and what the plugin said meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFigures {
    /// From the making of its instance to its end.
    pub took: Duration,
    /// What its memories had in the end, which is the most they had.
    pub memory_bytes: usize,
    /// What it said for the log.
    pub reports: Vec<Report>,
}

/// What a plugin makes of a job when its author asks, and what that costs.
#[derive(Debug)]
pub struct Trial {
    /// The settings with their defaults, or what is wrong with them.
    pub settings: Result<Value, ValidateError>,
    /// The cost of that.
    pub validate: CallFigures,
    /// The plan, made with these settings; none when they are wrong.
    pub plan: Option<Result<CheckedPlan, PlanError>>,
    /// The cost of that.
    pub planned: Option<CallFigures>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Plugin").field(&self.loaded.info).finish()
    }
}

impl Plugin {
    pub(crate) fn new(
        info: PluginInfo,
        sandbox: Arc<Sandbox>,
        contract: Box<dyn Contract>,
    ) -> Self {
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
        self.settings(self.calls().validate(job).result)
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
        self.checked_plan(self.calls().plan(job, allocation).result, allocation)
    }

    /// Validates and plans as a daemon would, and tells what that cost.
    pub fn try_out(&self, mut job: JobInput, allocation: &AllocationInput) -> Trial {
        let validated = self.calls().validate(&job);
        let validate = validated.figures();
        let settings = self.settings(validated.result);
        let Ok(complete) = &settings else {
            return Trial {
                settings,
                validate,
                plan: None,
                planned: None,
            };
        };
        job.settings.clone_from(complete);
        let planned = self.calls().plan(&job, allocation);
        Trial {
            settings,
            validate,
            planned: Some(planned.figures()),
            plan: Some(self.checked_plan(planned.result, allocation)),
        }
    }

    fn settings(
        &self,
        answer: Result<Result<String, Vec<Issue>>, Problem>,
    ) -> Result<Value, ValidateError> {
        let settings = answer
            .map_err(|problem| self.error(problem))?
            .map_err(ValidateError::Invalid)?;
        serde_json::from_str(&settings).map_err(|error| {
            let reason = error.to_string();
            self.error(Problem::BadSettings { reason }).into()
        })
    }

    fn checked_plan(
        &self,
        answer: Result<Result<LaunchPlan, PlanFailure>, Problem>,
        allocation: &AllocationInput,
    ) -> Result<CheckedPlan, PlanError> {
        let plan = answer
            .map_err(|problem| self.error(problem))?
            .map_err(PlanError::Declined)?;
        plan_check::check(plan, allocation)
            .map_err(|findings| self.error(Problem::PlanRefused { findings }).into())
    }

    fn calls(&self) -> Calls<'_> {
        Calls {
            sandbox: &self.loaded.sandbox,
            contract: self.loaded.contract.as_ref(),
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
    pub(crate) contract: &'a dyn Contract,
    /// For the log.
    pub(crate) name: &'a str,
}

impl Calls<'_> {
    pub(crate) fn describe(&self) -> Ran<Descriptor> {
        self.run(Function::Describe, |store| self.contract.describe(store))
    }

    pub(crate) fn validate(&self, job: &JobInput) -> Ran<Result<String, Vec<Issue>>> {
        self.run(Function::Validate, |store| {
            self.contract.validate(store, job)
        })
    }

    pub(crate) fn plan(
        &self,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> Ran<Result<LaunchPlan, PlanFailure>> {
        self.run(Function::Plan, |store| {
            self.contract.plan(store, job, allocation)
        })
    }

    fn run<R>(
        &self,
        function: Function,
        call: impl FnOnce(&mut Store<CallState>) -> wasmtime::Result<R>,
    ) -> Ran<R> {
        let ran = self.sandbox.run(function, call);
        for report in &ran.reports {
            log(self.name, function, report);
        }
        ran
    }
}

impl<R> Ran<R> {
    pub(crate) fn figures(&self) -> CallFigures {
        CallFigures {
            took: self.took,
            memory_bytes: self.memory_bytes,
            reports: self.reports.clone(),
        }
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
