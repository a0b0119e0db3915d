//! Where a resource stands in the tree, and the ids that say so.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{GroupName, ResourceName};
use crate::problem::Problem;

/// Under which prefix ids are written: as the request's own prefix (design §7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdStyle {
    /// `/subscriptions/{subscription}/resourceGroups/…`, for the real clients.
    ResourceManager {
        /// The subscription of the request, echoed as sent.
        subscription: String,
    },
    /// `/v1/groups/…`, for people and our own command line.
    Lote,
}

impl IdStyle {
    /// The id of a resource group under this prefix.
    pub fn group(&self, group: &GroupName) -> String {
        match self {
            Self::ResourceManager { subscription } => {
                format!("/subscriptions/{subscription}/resourceGroups/{group}")
            }
            Self::Lote => format!("/v1/groups/{group}"),
        }
    }
}

/// A workspace in a resource group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspacePath {
    /// The resource group.
    pub group: GroupName,
    /// The workspace.
    pub workspace: ResourceName,
}

/// A cluster, file server or experiment: a named child of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildPath {
    /// The workspace that holds it.
    #[serde(flatten)]
    pub workspace: WorkspacePath,
    /// Its name.
    pub name: ResourceName,
}

/// A job in an experiment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobPath {
    /// The workspace that holds the experiment.
    #[serde(flatten)]
    pub workspace: WorkspacePath,
    /// The experiment that holds the job.
    pub experiment: ResourceName,
    /// The job's name.
    pub job: ResourceName,
}

impl WorkspacePath {
    /// The resource id under the given prefix.
    pub fn id(&self, style: &IdStyle) -> String {
        let group = style.group(&self.group);
        let provider = match style {
            IdStyle::ResourceManager { .. } => "/providers/Microsoft.BatchAI",
            IdStyle::Lote => "",
        };
        format!("{group}{provider}/workspaces/{}", self.workspace)
    }

    /// A child of this workspace.
    pub fn child(&self, name: ResourceName) -> ChildPath {
        ChildPath {
            workspace: self.clone(),
            name,
        }
    }
}

impl ChildPath {
    /// The resource id of the child in `collection` (`clusters`, `experiments`).
    pub fn id(&self, style: &IdStyle, collection: &str) -> String {
        format!("{}/{collection}/{}", self.workspace.id(style), self.name)
    }

    /// Reads the id of a cluster, under either prefix, in any case.
    pub fn parse_cluster_id(id: &str) -> Result<Self, Problem> {
        Self::parse_id(id, "clusters").map_err(|problem| Problem {
            code: "InvalidClusterId".into(),
            ..problem
        })
    }

    /// Reads the id of a child in `collection` (`clusters`, `fileServers`), under
    /// either prefix, in any case.
    pub fn parse_id(id: &str, collection: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::new(
                "InvalidResourceId",
                format!(
                    "'{id}' is not the id of one of the {collection}; \
                     expected …/resourceGroups/GROUP/providers/Microsoft.BatchAI/workspaces/WORKSPACE/{collection}/NAME \
                     or /v1/groups/GROUP/workspaces/WORKSPACE/{collection}/NAME"
                ),
            )
        };
        let parts: Vec<&str> = id.trim_start_matches('/').split('/').collect();
        let is = |at: usize, word: &str| {
            parts
                .get(at)
                .is_some_and(|part| part.eq_ignore_ascii_case(word))
        };
        let (group, rest) = if parts.len() == 10
            && is(0, "subscriptions")
            && is(2, "resourceGroups")
            && is(4, "providers")
            && is(5, "Microsoft.BatchAI")
        {
            (parts[3], 6)
        } else if parts.len() == 7 && is(0, "v1") && is(1, "groups") {
            (parts[2], 3)
        } else {
            return Err(wrong());
        };
        if !is(rest, "workspaces") || !is(rest + 2, collection) {
            return Err(wrong());
        }
        Ok(WorkspacePath {
            group: GroupName::new(group)?,
            workspace: ResourceName::new(parts[rest + 1])?,
        }
        .child(ResourceName::new(parts[rest + 3])?))
    }
}

impl JobPath {
    /// The job of that name in an experiment.
    pub fn new(experiment: &ChildPath, job: ResourceName) -> Self {
        Self {
            workspace: experiment.workspace.clone(),
            experiment: experiment.name.clone(),
            job,
        }
    }

    /// The resource id under the given prefix.
    pub fn id(&self, style: &IdStyle) -> String {
        format!(
            "{}/experiments/{}/jobs/{}",
            self.workspace.id(style),
            self.experiment,
            self.job
        )
    }
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.workspace)
    }
}

impl fmt::Display for ChildPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workspace, self.name)
    }
}

impl fmt::Display for JobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.workspace, self.experiment, self.job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> ChildPath {
        WorkspacePath {
            group: GroupName::new("Lab").unwrap(),
            workspace: ResourceName::new("ws").unwrap(),
        }
        .child(ResourceName::new("gpu").unwrap())
    }

    #[test]
    fn a_cluster_id_is_read_back_under_either_prefix() {
        let styles = [
            IdStyle::Lote,
            IdStyle::ResourceManager {
                subscription: "s".into(),
            },
        ];
        for style in styles {
            let id = cluster().id(&style, "clusters");
            assert_eq!(ChildPath::parse_cluster_id(&id).unwrap(), cluster());
            assert_eq!(
                ChildPath::parse_cluster_id(&id.to_uppercase()).unwrap(),
                cluster()
            );
        }
    }

    #[test]
    fn other_ids_are_refused() {
        for bad in [
            "",
            "gpu",
            "/v1/groups/lab/workspaces/ws/experiments/gpu",
            "/v1/groups/l b/workspaces/ws/clusters/c",
        ] {
            assert!(ChildPath::parse_cluster_id(bad).is_err(), "{bad}");
        }
    }
}
