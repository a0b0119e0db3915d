//! What the API and the leader need of framework plugins, whoever runs them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::job::{ErrorRecord, FrameworkSettings};
use crate::plan::{AllocationInput, JobInput};
use crate::plan_check::CheckedPlan;
use crate::problem::Problem;

/// The framework plugins that are loaded.
///
/// Calls run foreign code under limits and may take up to their deadline
/// (seconds); async callers go through their blocking pool.
pub trait Frameworks: Send + Sync {
    /// The settings members that select a plugin, sorted: `customToolkitSettings`, ….
    /// [`PLUGIN_SETTINGS`], which selects any, is not among them.
    fn settings_members(&self) -> Vec<String>;

    /// What each plugin says about itself, in the order of names, the newest version first.
    fn plugins(&self) -> Vec<PluginSummary>;

    /// Components that are not in use, and why.
    fn rejected(&self) -> Vec<RejectedPlugin> {
        Vec::new()
    }

    /// Lets a plugin check the settings. `Err` holds what is wrong with the request, with
    /// targets below [`PluginRequest::settings_pointer`].
    fn validate(
        &self,
        request: &PluginRequest,
        job: &JobInput,
    ) -> Result<ValidatedSettings, Problem>;

    /// Lets the plugin that accepted a job translate it and its nodes into a plan, which has
    /// been checked. `Err` says why the job cannot start.
    fn plan(
        &self,
        framework: &FrameworkSettings,
        job: &JobInput,
        allocation: &AllocationInput,
    ) -> Result<PlannedLaunch, PlanError>;
}

/// The member of a job that selects a plugin by its name: `{"name": …, "settings": …}`.
pub const PLUGIN_SETTINGS: &str = "pluginSettings";

/// A plugin as a job asks for it: `ray`, or one version of it, `ray@0.2.0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName {
    /// The plugin's short name.
    pub name: String,
    /// The version; the newest when absent.
    pub version: Option<String>,
}

/// The longest name, and the longest version.
const MAX_WORD_BYTES: usize = 64;

impl FromStr for PluginName {
    type Err = PluginNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let fits = |word: &str, allowed: fn(char) -> bool| {
            (1..=MAX_WORD_BYTES).contains(&word.len()) && word.chars().all(allowed)
        };
        let of_names = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let of_versions = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
        if fits(name, of_names) && version.is_none_or(|version| fits(version, of_versions)) {
            return Ok(Self {
                name: name.to_owned(),
                version: version.map(str::to_owned),
            });
        }
        Err(PluginNameError)
    }
}

/// A text that names no plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a plugin is named by lower-case letters, digits and '-', with a version if wanted, such as 'ray' or 'ray@0.2.0'"
)]
pub struct PluginNameError;

impl TryFrom<String> for PluginName {
    type Error = PluginNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Which plugin a job asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRequest {
    /// The settings member of the job.
    pub member: String,
    /// The plugin by name: always there with [`PLUGIN_SETTINGS`]; with another member where
    /// the job asks for a version.
    pub plugin: Option<PluginName>,
}

impl PluginRequest {
    /// The plugin of a settings member, the newest.
    pub fn of_member(member: impl Into<String>) -> Self {
        Self {
            member: member.into(),
            plugin: None,
        }
    }

    /// Where the settings stand in the request.
    pub fn settings_pointer(&self) -> String {
        if self.member == PLUGIN_SETTINGS {
            format!("/properties/{PLUGIN_SETTINGS}/settings")
        } else {
            format!("/properties/{}", self.member)
        }
    }

    /// Where the plugin is named in the request.
    pub fn name_pointer(&self) -> String {
        if self.member == PLUGIN_SETTINGS {
            format!("/properties/{PLUGIN_SETTINGS}/name")
        } else if self.plugin.is_some() {
            "/properties/lote/plugin".to_owned()
        } else {
            format!("/properties/{}", self.member)
        }
    }
}

/// The plugin that accepted a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChosenPlugin {
    /// Its short name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
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
    /// Whether a job that asks for no version gets this one.
    pub is_default: bool,
}

/// A component that is not in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedPlugin {
    /// The file it is in, or the name of a built-in one.
    pub origin: String,
    /// What is wrong with it, and what to do.
    pub reason: String,
    /// SHA-256 of the component, in hexadecimal, if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Settings as the plugin accepted them.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedSettings {
    /// The plugin's short name, the API's `toolType`.
    pub tool_type: String,
    /// The settings with defaults written in.
    pub settings: Value,
    /// Which plugin that was.
    pub plugin: ChosenPlugin,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_versions() {
        for (text, name, version) in [
            ("ray", "ray", None),
            ("my-ray2@0.2.0-rc.1+b", "my-ray2", Some("0.2.0-rc.1+b")),
        ] {
            let read: PluginName = text.parse().unwrap();
            assert_eq!(
                (read.name.as_str(), read.version.as_deref()),
                (name, version)
            );
            assert_eq!(read.to_string(), text);
        }
        for text in ["", "@1", "ray@", "Ray", "a/b", "ray@1/2", "ray@1@2", "r y"] {
            assert!(text.parse::<PluginName>().is_err(), "{text}");
        }
    }
}
