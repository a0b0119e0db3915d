//! The registry as the API and the leader see it.

use lote_model::framework::{
    Frameworks, PlanError, PlannedLaunch, PluginSummary, ValidatedSettings,
};
use lote_model::job::ErrorRecord;
use lote_model::plan::{AllocationInput, Issue, JobInput, PlanFailure};
use lote_model::problem::Problem;

use crate::error::{self, PluginError, ValidateError};
use crate::plugin::PluginInfo;
use crate::registry::Registry;

impl Frameworks for Registry {
    fn settings_members(&self) -> Vec<String> {
        self.members()
    }

    fn plugins(&self) -> Vec<PluginSummary> {
        self.list().into_iter().map(summary).collect()
    }

    fn validate(&self, member: &str, job: &JobInput) -> Result<ValidatedSettings, Problem> {
        let target = format!("/properties/{member}");
        let plugin = self.by_member(member).ok_or_else(|| {
            Problem::invalid(&target, format!("no framework plugin serves {member}"))
        })?;
        match plugin.validate(job) {
            Ok(settings) => Ok(ValidatedSettings {
                tool_type: plugin.info().descriptor.name.clone(),
                settings,
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
        member: &str,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> Result<PlannedLaunch, PlanError> {
        let plugin = self.by_member(member).ok_or_else(|| {
            PlanError::Failed(ErrorRecord::new(
                "FrameworkPluginMissing",
                format!("no framework plugin serves {member} any more; install it and submit the job again"),
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

fn summary(info: PluginInfo) -> PluginSummary {
    PluginSummary {
        name: info.descriptor.name,
        settings_member: info.descriptor.settings_member,
        version: info.descriptor.version,
        summary: info.descriptor.summary,
        digest: info.digest,
        contract: info.contract,
        origin: info.origin,
    }
}
