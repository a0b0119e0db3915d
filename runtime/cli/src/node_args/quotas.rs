//! How much users may create.

use clap::Args;
use lote_model::quota::Quotas;
use serde::Deserialize;

/// The `--quota-…` options; the TOML file has them in a table `[quotas]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct QuotaArgs {
    /// The most clusters in all workspaces together [default: 10000]
    #[arg(long = "quota-clusters", value_name = "N")]
    pub clusters: Option<u32>,
    /// The most workspaces in one resource group [default: 800]
    #[arg(long = "quota-workspaces", value_name = "N")]
    pub workspaces: Option<u32>,
    /// The most nodes that one cluster may ask for [default: 10000, which no option exceeds]
    #[arg(long = "quota-nodes", value_name = "N")]
    pub nodes: Option<u32>,
}

impl QuotaArgs {
    /// These options, then those of the file, then the defaults.
    pub(super) fn resolve(self, file: Self) -> Quotas {
        let default = Quotas::default();
        Quotas {
            clusters: self.clusters.or(file.clusters).unwrap_or(default.clusters),
            workspaces_per_group: self
                .workspaces
                .or(file.workspaces)
                .unwrap_or(default.workspaces_per_group),
            nodes_per_cluster: self
                .nodes
                .or(file.nodes)
                .unwrap_or(default.nodes_per_cluster),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_args::NodeArgs;

    #[test]
    fn the_file_has_a_table_and_the_line_wins() {
        let file: NodeArgs = toml::from_str("[quotas]\nclusters = 20\nnodes = 7").unwrap();
        let line = QuotaArgs {
            clusters: Some(5),
            ..QuotaArgs::default()
        };
        let quotas = line.resolve(file.quotas);
        assert_eq!((quotas.clusters, quotas.nodes_per_cluster), (5, 7));
        assert_eq!(quotas.workspaces_per_group, 800);
        assert!(toml::from_str::<NodeArgs>("[quotas]\ncluster = 20").is_err());
    }
}
