//! What the API and the leader need of framework plugins, whoever runs them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::ErrorRecord;
use crate::plan::{AllocationInput, JobInput};
use crate::plan_check::CheckedPlan;
use crate::problem::Problem;

/// The framework plugins that are loaded.
///
/// Calls run foreign code under limits and may take up to their deadline
/// (seconds); async callers go through their blocking pool.
pub trait Frameworks: Send + Sync {
    /// The settings members that select a plugin, sorted: `customToolkitSettings`, ….
    fn settings_members(&self) -> Vec<String>;

    /// What each plugin says about itself, in the order of the members.
    fn plugins(&self) -> Vec<PluginSummary>;

    /// Lets the plugin of `member` check the settings. `Err` holds what is wrong
    /// with the request, with targets below `/properties/{member}`.
    fn validate(&self, member: &str, job: &JobInput) -> Result<ValidatedSettings, Problem>;

    /// Lets the plugin of `member` translate a job and its nodes into a plan,
    /// which has been checked. `Err` says why the job cannot start.
    fn plan(
        &self,
        member: &str,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> Result<PlannedLaunch, PlanError>;
}

/// A loaded plugin, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginSummary {
    /// The framework's short name, the API's `toolType`.
    pub name: String,
    /// The member of a job's properties that selects it.
    pub settings_member: String,
    /// The plugin's own version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// The version of the contract it was built for.
    pub contract: String,
    /// The file it came from, or `built in`.
    pub origin: String,
}

/// Settings as the plugin accepted them.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedSettings {
    /// The plugin's short name, the API's `toolType`.
    pub tool_type: String,
    /// The settings with defaults written in.
    pub settings: Value,
    /// Whether its processes start others on the job's other nodes.
    pub starts_peers: bool,
}

/// A plan and who made it.
#[derive(Clone, Debug)]
pub struct PlannedLaunch {
    /// The plan, checked.
    pub plan: CheckedPlan,
    /// Name, version and digest of the plugin, for the record.
    pub plugin: String,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// The job can never start like this; the error names plugin, step and finding.
    Failed(ErrorRecord),
    /// The job is well, this allocation is not; another one may do.
    Unsuitable(ErrorRecord),
}
