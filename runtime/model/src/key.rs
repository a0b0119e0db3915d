//! The keys of the store, and who writes each of them (design §4).
//!
//! Names are folded to lower case, so that look-ups ignore case; the records
//! keep the user's spelling. `/` cannot occur in a name.

use jiff::civil::Date;

use crate::access::token::TokenId;
use crate::id::{ClusterUid, FileServerUid, JobUid, NodeName};
use crate::name::GroupName;
use crate::path::{ChildPath, JobPath, WorkspacePath};

/// Desired state, written by the API.
pub const GROUPS: &str = "groups/";
/// Desired state, written by the API.
pub const WORKSPACES: &str = "workspaces/";
/// Desired state, written by the API.
pub const CLUSTERS: &str = "clusters/";
/// Desired state, written by the API; erased by the leader once the API has
/// marked the file server for deletion.
pub const FILE_SERVERS: &str = "fileservers/";
/// Desired state, written by the API.
pub const EXPERIMENTS: &str = "experiments/";
/// Desired state, written by the API; erased by the leader once the API has
/// marked the job for deletion and nothing of it runs any more.
pub const JOBS: &str = "jobs/";
/// What has become of each job, written by the leader.
pub const JOB_STATUS: &str = "status/jobs/";
/// What has become of each cluster, written by the leader.
pub const CLUSTER_STATUS: &str = "status/clusters/";
/// What has become of each file server, written by the leader.
pub const FILE_SERVER_STATUS: &str = "status/fileservers/";
/// What each workspace has used of late, written by the leader: each run that ended, and at times
/// the sum of many.
pub const SHARES: &str = "status/shares/";
/// What each workspace has used on each day, written by the leader whenever it adds up runs.
pub const DAILY_USAGE: &str = "status/usage/";
/// What each node is to run, written by the leader.
pub const ALLOCATIONS: &str = "allocations/";
/// The node plans of each attempt of each job, written by the leader.
pub const PLANS: &str = "plans/";
/// What each node is to export, written by the leader.
pub const EXPORTS: &str = "exports/";
/// What has become of each export, written by its node; erased by the leader once the node has
/// withdrawn it, or is no more.
pub const EXPORTED: &str = "exported/";
/// What each node is, written by that node.
pub const NODES: &str = "nodes/";
/// A lease of each living node, written by that node.
pub const ALIVE: &str = "alive/";
/// Nodes that are to take no new jobs, written by the API.
pub const DRAINS: &str = "drains/";
/// Machines that were switched on or off, written by the leader.
pub const POWER: &str = "power/";
/// Who leads; a lease, written by the daemon that was elected.
pub const LEADER: &str = "leader";
/// Written by the leader, for no other reason than to make a revision: others who share an etcd
/// make revisions that no watch of ours tells.
pub const LEADER_SYNC: &str = "sync/leader";
/// How each node's part of a job fares, written by that node.
pub const REPORTS: &str = "reports/";
/// The secrets of each job, sealed; written by the API, erased by the leader with the job.
pub const JOB_SECRETS: &str = "secrets/jobs/";
/// The secrets of each cluster, sealed; written by the API, erased by the leader with the cluster.
pub const CLUSTER_SECRETS: &str = "secrets/clusters/";
/// The next user id for a workspace, written by the API.
pub const NEXT_UNIX_ID: &str = "counters/unix-id";
/// How many clusters were ever created, written by the API with each of them, so
/// that two cannot take the last place of the quota.
pub const CLUSTERS_CREATED: &str = "counters/clusters-created";

/// Which cluster this is, and the fingerprint of its key; written once, by the first daemon.
pub const CLUSTER_IDENTITY: &str = "cluster/identity";
/// The cluster's certificate authority, its private key sealed; written once, by the first daemon.
pub const CLUSTER_AUTHORITY: &str = "cluster/authority";
/// Tokens, written by the API.
pub const TOKENS: &str = "tokens/";
/// There once the first token was made, so that the door stays closed even when
/// all tokens are revoked; written by the API.
pub const DOOR: &str = "access/door";

/// `tokens/{id}`
pub fn token(id: &TokenId) -> String {
    format!("{TOKENS}{id}")
}

/// `groups/{group}`
pub fn group(name: &GroupName) -> String {
    format!("{GROUPS}{}", name.folded())
}

fn workspace_segments(path: &WorkspacePath) -> String {
    format!("{}/{}", path.group.folded(), path.workspace.folded())
}

fn child_segments(path: &ChildPath) -> String {
    format!(
        "{}/{}",
        workspace_segments(&path.workspace),
        path.name.folded()
    )
}

fn job_segments(path: &JobPath) -> String {
    format!(
        "{}/{}/{}",
        workspace_segments(&path.workspace),
        path.experiment.folded(),
        path.job.folded()
    )
}

/// `workspaces/{group}/{workspace}`
pub fn workspace(path: &WorkspacePath) -> String {
    format!("{WORKSPACES}{}", workspace_segments(path))
}

/// The prefix of all workspaces of a group.
pub fn workspaces_of(group: &GroupName) -> String {
    format!("{WORKSPACES}{}/", group.folded())
}

/// `clusters/{group}/{workspace}/{cluster}`
pub fn cluster(path: &ChildPath) -> String {
    format!("{CLUSTERS}{}", child_segments(path))
}

/// The prefix of all clusters of a workspace.
pub fn clusters_of(path: &WorkspacePath) -> String {
    format!("{CLUSTERS}{}/", workspace_segments(path))
}

/// `status/clusters/{group}/{workspace}/{cluster}`
pub fn cluster_status(path: &ChildPath) -> String {
    format!("{CLUSTER_STATUS}{}", child_segments(path))
}

/// `fileservers/{group}/{workspace}/{file server}`
pub fn file_server(path: &ChildPath) -> String {
    format!("{FILE_SERVERS}{}", child_segments(path))
}

/// The prefix of all file servers of a workspace.
pub fn file_servers_of(path: &WorkspacePath) -> String {
    format!("{FILE_SERVERS}{}/", workspace_segments(path))
}

/// `status/fileservers/{group}/{workspace}/{file server}`
pub fn file_server_status(path: &ChildPath) -> String {
    format!("{FILE_SERVER_STATUS}{}", child_segments(path))
}

/// `experiments/{group}/{workspace}/{experiment}`
pub fn experiment(path: &ChildPath) -> String {
    format!("{EXPERIMENTS}{}", child_segments(path))
}

/// The prefix of all experiments of a workspace.
pub fn experiments_of(path: &WorkspacePath) -> String {
    format!("{EXPERIMENTS}{}/", workspace_segments(path))
}

/// `jobs/{group}/{workspace}/{experiment}/{job}`
pub fn job(path: &JobPath) -> String {
    format!("{JOBS}{}", job_segments(path))
}

/// The prefix of all jobs of an experiment.
pub fn jobs_of(experiment: &ChildPath) -> String {
    format!("{JOBS}{}/", child_segments(experiment))
}

/// The prefix of all jobs of a workspace.
pub fn jobs_of_workspace(path: &WorkspacePath) -> String {
    format!("{JOBS}{}/", workspace_segments(path))
}

/// `status/jobs/{group}/{workspace}/{experiment}/{job}`
pub fn job_status(path: &JobPath) -> String {
    format!("{JOB_STATUS}{}", job_segments(path))
}

/// `status/shares/{group}/{workspace}`
pub fn share(path: &WorkspacePath) -> String {
    format!("{SHARES}{}", workspace_segments(path))
}

/// `status/shares/{group}/{workspace}/{job uid}:{attempt}`
pub fn share_of_run(path: &WorkspacePath, job: &JobUid, attempt: u32) -> String {
    format!("{}/{job}:{attempt}", share(path))
}

/// `status/usage/{group}/{workspace}/{YYYY-MM-DD}`
pub fn daily_usage(path: &WorkspacePath, day: Date) -> String {
    format!("{}{day}", daily_usage_of(path))
}

/// The prefix of all days of a workspace.
pub fn daily_usage_of(path: &WorkspacePath) -> String {
    format!("{DAILY_USAGE}{}/", workspace_segments(path))
}

/// `allocations/{node}/{job uid}`
pub fn allocation(node: &NodeName, job: &JobUid) -> String {
    format!("{ALLOCATIONS}{node}/{job}")
}

/// The prefix of all allocations of a node.
pub fn allocations_of(node: &NodeName) -> String {
    format!("{ALLOCATIONS}{node}/")
}

/// `plans/{job uid}/{attempt}/{rank}`, ordered by attempt, then rank.
pub fn plan(job: &JobUid, attempt: u32, rank: u32) -> String {
    format!("{}{rank:05}", plans_of_attempt(job, attempt))
}

/// The prefix of all node plans of one attempt.
pub fn plans_of_attempt(job: &JobUid, attempt: u32) -> String {
    format!("{PLANS}{job}/{attempt:05}/")
}

/// The prefix of all node plans of a job.
pub fn plans_of(job: &JobUid) -> String {
    format!("{PLANS}{job}/")
}

/// `exports/{node}/{file server uid}`
pub fn export(node: &NodeName, file_server: &FileServerUid) -> String {
    format!("{}{file_server}", exports_of(node))
}

/// The prefix of all that a node is to export.
pub fn exports_of(node: &NodeName) -> String {
    format!("{EXPORTS}{node}/")
}

/// `exported/{node}/{file server uid}`
pub fn exported(node: &NodeName, file_server: &FileServerUid) -> String {
    format!("{}{file_server}", exported_of(node))
}

/// The prefix of all reports of a node about its exports.
pub fn exported_of(node: &NodeName) -> String {
    format!("{EXPORTED}{node}/")
}

/// `nodes/{node}`
pub fn node(name: &NodeName) -> String {
    format!("{NODES}{name}")
}

/// `alive/{node}`
pub fn alive(name: &NodeName) -> String {
    format!("{ALIVE}{name}")
}

/// `drains/{node}`
pub fn drain(name: &NodeName) -> String {
    format!("{DRAINS}{name}")
}

/// `power/{node}`
pub fn power(name: &NodeName) -> String {
    format!("{POWER}{name}")
}

/// `reports/{job uid}/{node}`
pub fn report(job: &JobUid, node: &NodeName) -> String {
    format!("{}{node}", reports_of(job))
}

/// The prefix of all reports about a job.
pub fn reports_of(job: &JobUid) -> String {
    format!("{REPORTS}{job}/")
}

/// `secrets/jobs/{job uid}`
pub fn job_secrets(job: &JobUid) -> String {
    format!("{JOB_SECRETS}{job}")
}

/// `secrets/clusters/{cluster uid}`
pub fn cluster_secrets(cluster: &ClusterUid) -> String {
    format!("{CLUSTER_SECRETS}{cluster}")
}
