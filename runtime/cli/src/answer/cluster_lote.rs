//! `lote` of a cluster.

use jiff::Timestamp;
use lote_model::duration::Seconds;
use lote_model::money::Money;
use lote_model::spending::Budget;
use serde::Deserialize;

/// What Batch AI has no word for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterExtensions {
    /// How long it keeps idle nodes.
    pub idle_delay: Option<Seconds>,
    /// What a node costs in an hour.
    pub price_per_node_hour: Option<Money>,
    /// What its nodes may cost.
    pub budget: Option<Budget>,
    /// What they have cost.
    pub spending: Option<ClusterSpending>,
}

/// `lote.spending` of a cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpending {
    /// In the period, up to now.
    pub spent: Money,
    /// What is left of the budget.
    #[serde(default)]
    pub rest: Option<Money>,
    /// Hours of nodes in the period.
    pub node_hours: Money,
    /// When the next period begins.
    #[serde(default)]
    pub period_end: Option<Timestamp>,
}
