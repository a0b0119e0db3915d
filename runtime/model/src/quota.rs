//! How much there may be of what users create.
//!
//! The original's limits protect a shared cloud (capabilities §8.4). On one's
//! own machines they only catch mistakes, so the defaults are generous. What a
//! quota refuses says how much there is, how much there may be, and which option
//! says so.

use crate::cluster::{CLUSTER_NODES_MAX, ScaleSettings};
use crate::problem::Problem;

/// The limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Clusters in all workspaces together.
    pub clusters: u32,
    /// Workspaces in one resource group.
    pub workspaces_per_group: u32,
    /// Nodes that one cluster may ask for.
    pub nodes_per_cluster: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            clusters: 10_000,
            workspaces_per_group: 800,
            nodes_per_cluster: CLUSTER_NODES_MAX,
        }
    }
}

impl Quotas {
    /// Whether one more cluster may be created when there are `count`.
    pub fn check_clusters(&self, name: &str, count: usize) -> Result<(), Problem> {
        let limit = self.clusters;
        if count < limit as usize {
            return Ok(());
        }
        let message = format!(
            "cluster '{name}' cannot be created: there are {count} clusters in all workspaces, and the \
             quota is {limit}; delete a cluster, or raise the daemon's --quota-clusters"
        );
        Err(Problem::new("ClusterQuotaReached", message))
    }

    /// Whether one more workspace may be created in a group that has `count`.
    pub fn check_workspaces(&self, name: &str, group: &str, count: usize) -> Result<(), Problem> {
        let limit = self.workspaces_per_group;
        if count < limit as usize {
            return Ok(());
        }
        let message = format!(
            "workspace '{name}' cannot be created: resource group '{group}' has {count} workspaces, and the \
             quota is {limit} per group; delete a workspace, use another group, or raise the daemon's \
             --quota-workspaces"
        );
        Err(Problem::new("WorkspaceQuotaReached", message))
    }

    /// Whether a cluster may ask for as many nodes as `scale` does.
    pub fn check_nodes(&self, name: &str, scale: &ScaleSettings) -> Result<(), Problem> {
        let limit = self.nodes_per_cluster;
        let (wanted, member) = match scale {
            ScaleSettings::Manual(manual) => (manual.target_node_count, "manual/targetNodeCount"),
            ScaleSettings::AutoScale(auto) => {
                (auto.maximum_node_count, "autoScale/maximumNodeCount")
            }
        };
        if wanted <= limit {
            return Ok(());
        }
        let message = format!(
            "cluster '{name}' asks for {wanted} nodes, and the quota is {limit} nodes per cluster; ask for \
             fewer, or raise the daemon's --quota-nodes"
        );
        Err(Problem::new("ClusterQuotaReached", message)
            .at(format!("/properties/scaleSettings/{member}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{AutoScale, ManualScale};

    const SMALL: Quotas = Quotas {
        clusters: 2,
        workspaces_per_group: 1,
        nodes_per_cluster: 4,
    };

    #[test]
    fn the_last_place_is_given_and_no_more() {
        assert!(SMALL.check_clusters("c", 1).is_ok());
        let error = SMALL.check_clusters("c", 2).unwrap_err();
        assert_eq!(error.code, "ClusterQuotaReached");
        assert!(error.message.contains("'c'"), "{error}");
        assert!(
            error.message.contains("are 2") && error.message.contains("is 2"),
            "{error}"
        );
        assert!(SMALL.check_workspaces("w", "g", 0).is_ok());
        let error = SMALL.check_workspaces("w", "g", 1).unwrap_err();
        assert!(error.message.contains("'g' has 1"), "{error}");
    }

    #[test]
    fn both_kinds_of_scaling_are_bounded() {
        let manual = |target_node_count| {
            ScaleSettings::Manual(ManualScale {
                target_node_count,
                ..ManualScale::default()
            })
        };
        assert!(SMALL.check_nodes("c", &manual(4)).is_ok());
        assert!(SMALL.check_nodes("c", &manual(5)).is_err());
        let auto = ScaleSettings::AutoScale(AutoScale {
            minimum_node_count: 0,
            maximum_node_count: 5,
            initial_node_count: 0,
        });
        let error = SMALL.check_nodes("c", &auto).unwrap_err();
        assert_eq!(
            error.target.as_deref(),
            Some("/properties/scaleSettings/autoScale/maximumNodeCount")
        );
        assert!(error.message.contains("5 nodes"), "{error}");
    }
}
