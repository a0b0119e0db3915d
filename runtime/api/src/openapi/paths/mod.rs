//! The operations, resource by resource.
//!
//! What the Batch AI contract has is described under its prefix and under its
//! name; [`twin`](super::twin) finds the path under `/v1`.

mod clusters;
mod daemon;
mod experiments;
mod file_servers;
mod files;
mod jobs;
mod jobs_lote;
mod operations;
mod server_files;
mod subscription;
mod tokens;
mod workspaces;

use super::describe::Described;
use super::parameters;

/// The groups of operations, as clients show them.
pub(crate) const TAGS: [(&str, &str); 11] = [
    ("groups", "Resource groups: namespaces of workspaces"),
    ("workspaces", "Workspaces: containers of everything else"),
    ("clusters", "Clusters: nodes held for jobs"),
    ("file servers", "File servers: directories that jobs mount"),
    ("experiments", "Experiments: containers of jobs"),
    ("jobs", "Jobs: what runs"),
    ("files", "Output files of jobs"),
    ("operations", "Long-running operations"),
    ("subscription", "What belongs to no workspace"),
    ("tokens", "Tokens: who may do what"),
    ("daemon", "The daemon, its nodes and plugins"),
];

/// Every operation, once.
pub(crate) fn all() -> Vec<Described> {
    let batch_ai = [
        subscription::all(),
        workspaces::all(),
        clusters::all(),
        file_servers::all(),
        experiments::all(),
        jobs::all(),
        operations::all(),
    ];
    let with_version = batch_ai
        .into_iter()
        .flatten()
        .map(|described| described.parameter(parameters::api_version()));
    with_version
        .chain(jobs_lote::all())
        .chain(server_files::all())
        .chain(files::all())
        .chain(tokens::all())
        .chain(daemon::all())
        .collect()
}

const SUBSCRIPTION: &str = "/subscriptions/{subscriptionId}/providers/Microsoft.BatchAI";

/// A path below the workspaces of a group.
fn workspaces(rest: &str) -> String {
    format!(
        "/subscriptions/{{subscriptionId}}/resourceGroups/{{resourceGroupName}}/providers/Microsoft.BatchAI/workspaces{rest}"
    )
}

/// A path below one workspace.
fn workspace(rest: &str) -> String {
    workspaces(&format!("/{{workspaceName}}{rest}"))
}

fn tagged<const N: usize>(tag: &'static str, all: [Described; N]) -> Vec<Described> {
    all.map(|described| described.tag(tag)).into()
}
