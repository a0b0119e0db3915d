//! The registry as the API and the leader see it.

use std::collections::BTreeSet;

use lote_model::framework::{
    ChosenPlugin, Frameworks, PlanError, PlannedLaunch, PluginRequest, PluginSummary,
    RejectedPlugin, ValidatedSettings,
};
use lote_model::job::{ErrorRecord, FrameworkSettings};
use lote_model::plan::{AllocationInput, Issue, JobInput, PlanFailure};
use lote_model::problem::Problem;

use crate::error::{self, Identity, PluginError, ValidateError};
use crate::plugin::{Plugin, PluginInfo};
use crate::registry::{Failure, Registry};
use crate::versions::NotFound;

impl Frameworks for Registry {
    fn settings_members(&self) -> Vec<String> {
        self.members()
    }

    fn plugins(&self) -> Vec<PluginSummary> {
        let mut names = BTreeSet::new();
        let plugins = self.list().into_iter();
        plugins
            .map(|info| {
                // Of each name, the highest version comes first.
                let is_default = names.insert(info.descriptor.name.clone());
                summary(info, is_default)
            })
            .collect()
    }

    fn rejected(&self) -> Vec<RejectedPlugin> {
        let rejected = |failure: Failure| RejectedPlugin {
            origin: failure.origin,
            reason: failure.message,
            digest: failure.digest,
        };
        self.failures().into_iter().map(rejected).collect()
    }

    fn validate(
        &self,
        request: &PluginRequest,
        job: &JobInput,
    ) -> Result<ValidatedSettings, Problem> {
        let target = request.settings_pointer();
        let plugin = self.find(request).map_err(|error| {
            Problem::new("FrameworkNotAvailable", error.to_string()).at(request.name_pointer())
        })?;
        match plugin.validate(job) {
            Ok(settings) => Ok(ValidatedSettings {
                tool_type: plugin.info().descriptor.name.clone(),
                settings,
                plugin: chosen(plugin.info().identity()),
                starts_peers: plugin.info().descriptor.starts_peers,
            }),
            Err(ValidateError::Invalid(issues)) => Err(problem(&target, &issues)),
            Err(ValidateError::Plugin(error)) => {
                Err(Problem::new("FrameworkPluginFailed", error.sentence()).at(target))
            }
        }
    }

    fn plan(
        &self,
        framework: &FrameworkSettings,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> Result<PlannedLaunch, PlanError> {
        let plugin = self.planner(framework).map_err(|error| {
            PlanError::Failed(ErrorRecord::new(
                "FrameworkPluginMissing",
                format!(
                    "the job cannot be planned any more: {error}; put the plugin back into the plugin \
                     folder of every daemon, and submit the job again"
                ),
            ))
        })?;
        let identity = plugin.info().identity();
        match plugin.plan(job, allocation) {
            Ok(plan) => Ok(PlannedLaunch {
                plan,
                plugin: format!("{} {} {}", identity.name, identity.version, identity.digest),
            }),
            Err(error) => Err(plan_error(&identity.to_string(), error)),
        }
    }
}

impl Registry {
    /// The version that accepted the job, even if it has been built again since. If that
    /// has gone, what the job asks for: a job that asked for no version goes on with the
    /// one that is there now, as an upgrade must not fail what waits.
    fn planner(&self, framework: &FrameworkSettings) -> Result<Plugin, NotFound> {
        let chosen = framework.plugin.as_ref();
        let accepted = chosen.and_then(|it| self.exactly(&it.name, &it.version));
        match accepted {
            Some(plugin) => Ok(plugin),
            None => self.find(&framework.request()),
        }
    }
}

fn chosen(identity: Identity) -> ChosenPlugin {
    ChosenPlugin {
        name: identity.name,
        version: identity.version,
        digest: identity.digest,
    }
}

/// All issues of a request as one problem.
fn problem(target: &str, issues: &[Issue]) -> Problem {
    let problems = issues.iter().map(|issue| {
        let message = match &issue.hint {
            Some(hint) => format!("{}; {hint}", issue.message),
            None => issue.message.clone(),
        };
        Problem::invalid(format!("{target}{}", issue.path), message)
    });
    Problem::gather(problems.collect())
        .unwrap_or_else(|| Problem::invalid(target, "the settings were refused without a reason"))
}

fn plan_error(plugin: &str, error: error::PlanError) -> PlanError {
    match error {
        error::PlanError::Declined(PlanFailure::Unsuitable(reason)) => PlanError::Unsuitable(
            ErrorRecord::new("AllocationUnsuitable", reason).with("plugin", plugin),
        ),
        error::PlanError::Declined(PlanFailure::Invalid(issues)) => PlanError::Failed(
            ErrorRecord::new("InvalidFrameworkSettings", error::issues_list(&issues))
                .with("plugin", plugin)
                .with("step", "plan"),
        ),
        error::PlanError::Plugin(error) => PlanError::Failed(failed(&error)),
    }
}

/// Names plugin, step and each finding.
fn failed(error: &PluginError) -> ErrorRecord {
    let record = ErrorRecord::new("FrameworkPluginFailed", error.sentence())
        .with("plugin", error.plugin.to_string())
        .with("step", "plan");
    let findings = match error.problem.as_ref() {
        error::Problem::PlanRefused { findings } => findings.as_slice(),
        _ => &[],
    };
    findings.iter().fold(record, |record, finding| {
        record.with("finding", finding.to_string())
    })
}

fn summary(info: PluginInfo, is_default: bool) -> PluginSummary {
    PluginSummary {
        name: info.descriptor.name,
        settings_member: info.descriptor.settings_member,
        version: info.descriptor.version,
        summary: info.descriptor.summary,
        digest: info.digest,
        contract: info.contract,
        origin: info.origin,
        is_default,
    }
}
