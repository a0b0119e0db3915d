//! The loaded plugins, by name and version, and which of them a job gets.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use lote_model::framework::{PLUGIN_SETTINGS, PluginRequest};
use semver::Version;

use crate::error::{PluginError, Problem};
use crate::plugin::Plugin;
use crate::registry::Failure;

/// The plugins in use at one moment.
#[derive(Default)]
pub(crate) struct Plugins {
    /// Never empty, the highest version first.
    by_name: BTreeMap<String, Vec<Plugin>>,
    pub(crate) failures: Vec<Failure>,
}

/// Why a job does not get the plugin it asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotFound {
    /// Nothing serves the settings member.
    #[error("no framework plugin serves {0}")]
    Member(String),
    /// There is no plugin of the name.
    #[error("no plugin '{name}' is loaded; loaded are {}", loaded.join(", "))]
    Name { name: String, loaded: Vec<String> },
    /// The plugin is there, the version is not.
    #[error(
        "version {version} of the plugin '{name}' is not loaded; loaded are {}",
        loaded.join(", ")
    )]
    Version {
        name: String,
        version: String,
        loaded: Vec<String>,
    },
    /// The plugin that the job names does not serve its settings member.
    #[error("the plugin '{name}' does not serve {member}")]
    OtherMember { name: String, member: String },
}

/// Semantic versions in their order; whatever else there is comes below them.
fn rank(version: &str) -> (Option<Version>, String) {
    (Version::parse(version).ok(), version.to_owned())
}

fn version(plugin: &Plugin) -> &str {
    &plugin.info().descriptor.version
}

fn member(plugin: &Plugin) -> &str {
    &plugin.info().descriptor.settings_member
}

impl Plugins {
    /// In the order of names, the highest version first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Plugin> {
        self.by_name.values().flatten()
    }

    /// The settings members that select a plugin, sorted.
    pub(crate) fn members(&self) -> Vec<String> {
        let mut members: Vec<String> = self
            .all()
            .map(|plugin| member(plugin).to_owned())
            .filter(|member| member != PLUGIN_SETTINGS)
            .collect();
        members.sort();
        members.dedup();
        members
    }

    /// What a request gets.
    pub(crate) fn find(&self, request: &PluginRequest) -> Result<Plugin, NotFound> {
        let is_by_name = request.member == PLUGIN_SETTINGS;
        let serves = |plugin: &&Plugin| is_by_name || member(plugin) == request.member;
        let Some(asked) = &request.plugin else {
            let found = self.all().find(|plugin| member(plugin) == request.member);
            let found = found.filter(|_| !is_by_name);
            return found
                .cloned()
                .ok_or_else(|| NotFound::Member(request.member.clone()));
        };
        let name = &asked.name;
        let versions = self.by_name.get(name).ok_or_else(|| NotFound::Name {
            name: name.clone(),
            loaded: self.by_name.keys().cloned().collect(),
        })?;
        let serving: Vec<&Plugin> = versions.iter().filter(serves).collect();
        let highest = serving.first().ok_or_else(|| NotFound::OtherMember {
            name: name.clone(),
            member: request.member.clone(),
        })?;
        let Some(wanted) = &asked.version else {
            return Ok((*highest).clone());
        };
        let found = serving.iter().find(|plugin| version(plugin) == wanted);
        found
            .map(|plugin| (*plugin).clone())
            .ok_or_else(|| NotFound::Version {
                name: name.clone(),
                version: wanted.clone(),
                loaded: serving.iter().map(|it| version(it).to_owned()).collect(),
            })
    }

    /// Exactly this version.
    pub(crate) fn exactly(&self, name: &str, wanted: &str) -> Option<Plugin> {
        let mut versions = self.by_name.get(name)?.iter();
        versions.find(|plugin| version(plugin) == wanted).cloned()
    }

    /// What was loaded from a file.
    pub(crate) fn loaded_from(&self, origin: &str) -> Option<Plugin> {
        let mut plugins = self.all();
        plugins
            .find(|plugin| plugin.info().origin == origin)
            .cloned()
    }

    /// Whether these take the place of a built-in plugin.
    pub(crate) fn replaces(&self, builtin: &Plugin) -> bool {
        self.conflict(builtin).is_some()
    }

    /// What a plugin would share with another one, and which. A version is there once, and a
    /// settings member belongs to one name.
    fn conflict(&self, plugin: &Plugin) -> Option<(String, &Plugin)> {
        let descriptor = &plugin.info().descriptor;
        self.all().find_map(|other| {
            let is_same_name = other.info().descriptor.name == descriptor.name;
            let is_same_member =
                member(other) == member(plugin) && member(plugin) != PLUGIN_SETTINGS;
            if is_same_name && version(other) == version(plugin) {
                let what = format!("{}@{}", descriptor.name, descriptor.version);
                Some((what, other))
            } else if is_same_member && !is_same_name {
                Some((descriptor.settings_member.clone(), other))
            } else {
                None
            }
        })
    }

    pub(crate) fn add(&mut self, origin: &str, plugin: Result<Plugin, PluginError>) {
        match plugin.and_then(|plugin| self.only_one(plugin)) {
            Ok(plugin) => {
                let name = plugin.info().descriptor.name.clone();
                let versions = self.by_name.entry(name).or_default();
                versions.push(plugin);
                versions.sort_by_key(|plugin| Reverse(rank(version(plugin))));
            }
            Err(error) => {
                let digest = &error.plugin.digest;
                self.reject(Failure {
                    origin: origin.to_owned(),
                    message: error.sentence(),
                    digest: (!digest.is_empty()).then(|| digest.clone()),
                });
            }
        }
    }

    fn only_one(&self, plugin: Plugin) -> Result<Plugin, PluginError> {
        let problem = self.conflict(&plugin).map(|(what, other)| Problem::Taken {
            what,
            other: other.info().origin.clone(),
        });
        match problem {
            Some(problem) => Err(PluginError::new(plugin.info().identity(), problem)),
            None => Ok(plugin),
        }
    }

    /// Writes down, and logs, that something is not in use.
    pub(crate) fn reject(&mut self, failure: Failure) {
        tracing::error!(
            origin = failure.origin,
            "a plugin is not in use: {}",
            failure.message
        );
        self.failures.push(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_not_compared_as_texts() {
        let mut versions = ["1.9.0", "site", "1.10.0", "1.10.0-rc.1", "9"];
        versions.sort_by_key(|version| Reverse(rank(version)));
        assert_eq!(versions, ["1.10.0", "1.10.0-rc.1", "1.9.0", "site", "9"]);
    }
}
