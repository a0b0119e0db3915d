//! Where resources stand below the daemon's URL (design §7).

use std::fmt::Write as _;

use lote_model::name::ResourceName;
use lote_model::path::{ChildPath, IdStyle, JobPath, WorkspacePath};
use lote_model::problem::Problem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but what RFC 3986 calls unreserved.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The path of the workspaces of a group.
pub fn workspaces(workspace: &WorkspacePath) -> String {
    format!("/v1/groups/{}/workspaces", workspace.group)
}

/// The path of a workspace.
pub fn workspace(workspace: &WorkspacePath) -> String {
    workspace.id(&IdStyle::Lote)
}

/// The path of a collection of a workspace: `clusters`, `experiments`.
pub fn collection(of: &WorkspacePath, name: &str) -> String {
    format!("{}/{name}", workspace(of))
}

/// The path of a child of a workspace.
pub fn child(path: &ChildPath, collection: &str) -> String {
    path.id(&IdStyle::Lote, collection)
}

/// The path of the jobs of an experiment.
pub fn jobs(experiment: &ChildPath) -> String {
    format!("{}/jobs", child(experiment, "experiments"))
}

/// The path of a job.
pub fn job(path: &JobPath) -> String {
    path.id(&IdStyle::Lote)
}

/// The id of the cluster a user named: a full id as it is, a name in the workspace.
pub fn cluster_id(workspace: &WorkspacePath, text: &str) -> Result<String, Problem> {
    if text.starts_with('/') {
        return ChildPath::parse_cluster_id(text).map(|_| text.to_owned());
    }
    let cluster = workspace.child(ResourceName::new(text)?);
    Ok(child(&cluster, "clusters"))
}

/// A path with a query, its values encoded.
pub fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut text = path.to_owned();
    for (at, (name, value)) in query.iter().enumerate() {
        let mark = if at == 0 { '?' } else { '&' };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{mark}{name}={}",
            utf8_percent_encode(value, QUERY_VALUE)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use lote_model::name::GroupName;

    fn lab() -> WorkspacePath {
        WorkspacePath {
            group: GroupName::new("lab").unwrap(),
            workspace: ResourceName::new("vision").unwrap(),
        }
    }

    #[test]
    fn clusters_are_named_or_given_in_full() {
        let short = cluster_id(&lab(), "gpu").unwrap();
        assert_eq!(short, "/v1/groups/lab/workspaces/vision/clusters/gpu");
        assert_eq!(cluster_id(&lab(), &short).unwrap(), short);
        for bad in ["a b", "/clusters/gpu", ""] {
            assert!(cluster_id(&lab(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn query_values_cannot_break_out() {
        assert_eq!(
            with_query("/logs", &[("file", "a&b=ä c.txt"), ("follow", "true")]),
            "/logs?file=a%26b%3D%C3%A4%20c.txt&follow=true"
        );
    }
}
