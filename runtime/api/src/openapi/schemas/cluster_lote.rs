//! `properties.lote` of a cluster: what Batch AI has no word for.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// Lote's own settings of a cluster.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteClusterSettings {
    /// How long a node that nobody needs stays with a cluster that scales automatically, as `PT5M`; at most 365 days. The daemon's setting when absent.
    #[schema(format = Duration)]
    idle_delay: Option<String>,
    /// What a node costs in an hour, in the site's currency; at most six digits after the point.
    #[schema(minimum = 0)]
    price_per_node_hour: Option<f64>,
    /// What its nodes may cost; needs a price.
    budget: Option<LoteBudget>,
}

/// So much may be spent in a period.
#[derive(ToSchema)]
pub(crate) struct LoteBudget {
    /// How much, in the site's currency; at most six digits after the point.
    #[schema(minimum = 0)]
    amount: f64,
    /// In what time.
    period: LoteBudgetPeriod,
}

/// The time a budget is for. Days and months are those of UTC.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum LoteBudgetPeriod {
    Day,
    Month,
    Total,
}

/// Lote's own settings of a cluster, and what Lote says about it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteClusterStatus {
    /// How long a node that nobody needs stays with a cluster that scales automatically, as `PT5M`.
    #[schema(format = Duration)]
    idle_delay: Option<String>,
    /// What a node costs in an hour, in the site's currency.
    price_per_node_hour: Option<f64>,
    /// What its nodes may cost.
    budget: Option<LoteBudget>,
    /// The nodes it has.
    #[schema(read_only)]
    nodes: Vec<String>,
    /// Those of them that take no new job and leave when they are empty.
    #[schema(read_only)]
    leaving: Vec<String>,
    /// Which of the leaving ones it would rather keep, and why they leave.
    #[schema(read_only)]
    withdrawn: Option<BTreeMap<String, LoteWithdrawal>>,
    /// What its nodes have cost, if they have a price.
    #[schema(read_only)]
    spending: Option<LoteSpending>,
}

/// Why a cluster loses a node that it would rather keep.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) enum LoteWithdrawal {
    /// The operator wants no new jobs on it; those there may end.
    Drained,
    /// A dedicated cluster needs it.
    Preempted,
    /// The cluster has spent its budget.
    BudgetSpent,
}

/// What the nodes of a cluster have cost.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct LoteSpending {
    /// In the period, up to now.
    spent: f64,
    /// What is left of the budget.
    rest: Option<f64>,
    /// Hours of nodes in the period.
    node_hours: f64,
    /// The period of the budget.
    period: Option<LoteBudgetPeriod>,
    /// From when on it is counted.
    #[schema(format = DateTime)]
    period_start: String,
    /// When the next period begins.
    #[schema(format = DateTime)]
    period_end: Option<String>,
}
