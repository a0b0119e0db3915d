//! Clusters: so many nodes of one size, held for the jobs that name them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::body;
use crate::duration::Seconds;
use crate::id::{ClusterUid, NodeName};
use crate::image::VirtualMachineConfiguration;
use crate::job::{ErrorRecord, ResourceReference};
use crate::money::Money;
use crate::mount_volumes::MountVolumes;
use crate::node_setup::NodeSetup;
use crate::path::ChildPath;
use crate::spending::{Budget, BudgetPeriod, Spending};
use crate::state::AllocationState;

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
    #[serde(default)]
    pub virtual_machine_configuration: VirtualMachineConfiguration,
    /// Set-up of each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_setup: Option<NodeSetup>,
    /// The administrator's account.
    pub user_account_settings: UserAccountSettings,
    /// A subnet reference; recorded and echoed, the network is the site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<ResourceReference>,
    /// What Batch AI has no word for.
    #[serde(default, skip_serializing_if = "LoteClusterProperties::is_default")]
    pub lote: LoteClusterProperties,
}

/// `properties.lote` of a cluster: Lote's own extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoteClusterProperties {
    /// How long a node that nobody needs stays with a cluster that scales automatically; the
    /// daemon's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_delay: Option<Seconds>,
    /// What a node costs in an hour; nothing is counted when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_node_hour: Option<Money>,
    /// What its nodes may cost; needs a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

impl LoteClusterProperties {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// In which periods spending is counted.
    pub fn period(&self) -> BudgetPeriod {
        self.budget.map(|budget| budget.period).unwrap_or_default()
    }
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

impl ClusterProperties {
    /// Whether its nodes may be taken for dedicated clusters.
    pub fn is_low_priority(&self) -> bool {
        self.vm_priority == VmPriority::LowPriority
    }
}

/// `userAccountSettings` without the password, which is a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserAccountSettings {
    /// The administrator's login name.
    pub admin_user_name: String,
    /// A public key for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_user_ssh_public_key: Option<String>,
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
pub fn default_image() -> VirtualMachineConfiguration {
    VirtualMachineConfiguration::default()
}

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
    /// The API's `stdOutErrPathSuffix` of the set-up task (capabilities §7.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_output_suffix: Option<String>,
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
    /// Which of the leaving ones it would rather keep, and why they leave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub withdrawn: BTreeMap<NodeName, Withdrawal>,
    /// What its nodes have cost; none without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spending: Option<Spending>,
    /// Whether it has what it wants.
    pub allocation_state: AllocationState,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_state_since: Option<Timestamp>,
    /// What went wrong with its nodes, or why it has fewer than it wants.
    #[serde(default)]
    pub errors: Vec<ErrorRecord>,
}

/// Why a cluster loses a node that it would rather keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Withdrawal {
    /// The operator wants no new jobs on it; those there may end.
    Drained,
    /// A dedicated cluster needs it.
    Preempted,
    /// The cluster has spent its budget.
    BudgetSpent,
}

impl ClusterProperties {
    /// Whether nodes of it can be made what jobs on it rely on.
    pub fn can_be_set_up(&self) -> bool {
        self.node_setup
            .as_ref()
            .is_none_or(|setup| setup.setup_task.is_none())
    }

    /// What jobs on it find mounted below `AZ_BATCHAI_MOUNT_ROOT`.
    pub fn mount_volumes(&self) -> Option<&MountVolumes> {
        self.node_setup.as_ref()?.mount_volumes.as_ref()
    }

    /// What keeps the cluster from having nodes that jobs can run on.
    pub fn setup_obstacles(&self) -> Vec<ErrorRecord> {
        self.node_setup
            .as_ref()
            .map(NodeSetup::obstacles)
            .unwrap_or_default()
    }
}
