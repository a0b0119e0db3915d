//! Clusters: so many nodes of one size, held for the jobs that name them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::body;
use crate::id::{ClusterUid, NodeName};
use crate::job::ErrorRecord;
use crate::path::ChildPath;
use crate::problem::Problem;
use crate::state::AllocationState;

/// The most nodes one cluster may ask for; a bound against slips of the finger.
pub const CLUSTER_NODES_MAX: u32 = 10_000;

/// The `properties` of a cluster that a user sets, defaults filled in
/// (capabilities §3.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterProperties {
    /// The size label of its nodes; compared without case.
    pub vm_size: String,
    /// Whether its nodes may be taken away.
    #[serde(default, deserialize_with = "body::null_as_default")]
    pub vm_priority: VmPriority,
    /// How many nodes; none at all when absent.
    #[serde(default, deserialize_with = "body::null_as_default")]
    pub scale_settings: ScaleSettings,
    /// The image; recorded, and echoed with the service's default.
    #[serde(
        default = "default_image",
        deserialize_with = "body::null_as_default_image"
    )]
    pub virtual_machine_configuration: Value,
    /// Set-up of each node; refused by [`ClusterProperties::check`] for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_setup: Option<Value>,
    /// The administrator's account. Passwords are dropped on reading.
    pub user_account_settings: UserAccountSettings,
    /// A subnet reference; recorded and echoed, the network is the site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Value>,
}

/// `vmPriority`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VmPriority {
    /// Nodes stay until they are released.
    #[default]
    Dedicated,
    /// Nodes may be taken for dedicated clusters.
    LowPriority,
}

/// `userAccountSettings` without the password, which is write-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserAccountSettings {
    /// The administrator's login name.
    pub admin_user_name: String,
    /// A public key for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_user_ssh_public_key: Option<String>,
    /// Accepted and never kept.
    #[serde(default, skip_serializing)]
    pub admin_user_password: Option<String>,
}

/// `scaleSettings`: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ScaleSettings {
    /// A fixed number of nodes.
    Manual(ManualScale),
    /// As many as the work needs, between two bounds.
    AutoScale(AutoScale),
}

impl Default for ScaleSettings {
    fn default() -> Self {
        Self::Manual(ManualScale::default())
    }
}

/// A fixed number of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManualScale {
    /// How many nodes the cluster shall have.
    pub target_node_count: u32,
    /// What happens to running jobs when it shrinks.
    #[serde(default, deserialize_with = "body::null_as_default")]
    pub node_deallocation_option: NodeDeallocationOption,
}

/// As many nodes as the work needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoScale {
    /// Never fewer than this, if the pool has them.
    pub minimum_node_count: u32,
    /// Never more than this.
    pub maximum_node_count: u32,
    /// How many to start with; used at creation only.
    #[serde(default, deserialize_with = "body::null_as_default")]
    pub initial_node_count: u32,
}

/// `nodeDeallocationOption`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeDeallocationOption {
    /// Stop running jobs and put them back into the queue.
    #[default]
    Requeue,
    /// Stop running jobs for good.
    Terminate,
    /// Let running jobs end first.
    WaitForJobCompletion,
}

/// The image that the original service answered when none was named.
pub fn default_image() -> Value {
    serde_json::json!({"imageReference": {
        "publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS", "version": "latest"}})
}

impl ClusterProperties {
    /// Reads the body of a create request.
    pub fn parse(request_body: &[u8]) -> Result<Self, Problem> {
        let properties = body::properties(request_body, &READ_ONLY)?;
        let mut properties: Self = body::typed(Value::Object(properties), "/properties")?;
        properties.user_account_settings.admin_user_password = None;
        Problem::gather(properties.check()).map_or(Ok(properties), Err)
    }

    fn check(&self) -> Vec<Problem> {
        let mut findings = check_scale(&self.scale_settings);
        if self.vm_size.trim().is_empty() {
            findings.push(Problem::invalid(
                "/properties/vmSize",
                "vmSize must name a size, such as 'cpu'",
            ));
        }
        if self.user_account_settings.admin_user_name.trim().is_empty() {
            findings.push(Problem::invalid(
                "/properties/userAccountSettings/adminUserName",
                "adminUserName must not be empty",
            ));
        }
        if self.node_setup.is_some() {
            findings.push(body::not_yet(
                "/properties/nodeSetup",
                "set-up tasks and cluster mounts",
            ));
        }
        findings
    }
}

/// Reads the body of an update request: `scaleSettings` and nothing else.
pub fn parse_scale_update(request_body: &[u8]) -> Result<ScaleSettings, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Update {
        scale_settings: ScaleSettings,
    }
    let properties = body::properties(request_body, &[])?;
    let update: Update = body::typed(Value::Object(properties), "/properties")?;
    Problem::gather(check_scale(&update.scale_settings)).map_or(Ok(update.scale_settings), Err)
}

fn check_scale(scale: &ScaleSettings) -> Vec<Problem> {
    let at = |member: &str| format!("/properties/scaleSettings/{member}");
    let mut findings = Vec::new();
    let mut bounded = |count: u32, target: String| {
        if count > CLUSTER_NODES_MAX {
            findings.push(Problem::invalid(
                target,
                format!("a cluster has at most {CLUSTER_NODES_MAX} nodes"),
            ));
        }
    };
    match scale {
        ScaleSettings::Manual(manual) => {
            bounded(manual.target_node_count, at("manual/targetNodeCount"));
        }
        ScaleSettings::AutoScale(auto) => {
            bounded(auto.maximum_node_count, at("autoScale/maximumNodeCount"));
            if auto.minimum_node_count > auto.maximum_node_count {
                findings.push(Problem::invalid(
                    at("autoScale/minimumNodeCount"),
                    "minimumNodeCount must not exceed maximumNodeCount",
                ));
            }
        }
    }
    findings
}

/// Members that the service sets; clients that resubmit an answer send them.
const READ_ONLY: [&str; 9] = [
    "creationTime",
    "provisioningState",
    "provisioningStateTransitionTime",
    "allocationState",
    "allocationStateTransitionTime",
    "currentNodeCount",
    "nodeStateCounts",
    "errors",
    "lote",
];

/// A cluster as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRecord {
    /// Workspace and name, as spelled at creation.
    pub path: ChildPath,
    /// Unique over all clusters that ever bore the name.
    pub uid: ClusterUid,
    /// When it was created.
    pub created_at: Timestamp,
    /// What the user wants.
    pub properties: ClusterProperties,
    /// Set once the user asked to delete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_requested_at: Option<Timestamp>,
}

/// What the leader has made of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// The nodes it holds.
    pub nodes: BTreeSet<NodeName>,
    /// Nodes that take no new job and are released when they are empty.
    #[serde(default)]
    pub leaving: BTreeSet<NodeName>,
    /// Whether it has what it wants.
    pub allocation_state: AllocationState,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_state_since: Option<Timestamp>,
    /// What went wrong with its nodes, or why it has fewer than it wants.
    #[serde(default)]
    pub errors: Vec<ErrorRecord>,
}
