//! Clusters stay within their budgets.
//!
//! What was spent follows from the stored status and the time ([`Spending`]), so every leader
//! comes to the same sum. A cluster grows only while what is left pays for all its nodes a while
//! longer; when nothing is left it gives up its nodes, and gets others when the next period
//! begins or somebody raises the budget.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use lote_model::cluster::{ClusterRecord, ClusterStatus, Withdrawal};
use lote_model::job::{ErrorRecord, RequeueCause};
use lote_model::spending::{Budget, Spending};

use crate::decide::Pass;
use crate::planted::Fault;
use crate::snapshot::{ClusterKey, ClusterState};
use crate::time::after;

/// For so long the rest of a budget must pay for the nodes that a cluster would have, so that
/// none is taken for a moment.
const WORTHWHILE_MILLIS: u64 = 600_000;

/// What a cluster has spent until now; none without a price.
pub(super) fn spending(
    record: &ClusterRecord,
    status: Option<&ClusterStatus>,
    now: Timestamp,
) -> Option<Spending> {
    let lote = &record.properties.lote;
    let price = lote.price_per_node_hour?;
    let known = status.and_then(|status| Some((status.spending.as_ref()?, status.nodes.len())));
    Some(match known {
        None => Spending::new(price, now),
        Some((spending, nodes)) => {
            let counted = spending.until(now, nodes, lote.period()).at_price(price);
            if Fault::DoubleBudget.is_planted() {
                let since = spending.since;
                return Some(Spending { since, ..counted });
            }
            counted
        }
    })
}

/// Whether the stored spending must be written anew though no node comes or goes.
pub(super) fn is_news(record: &ClusterRecord, old: Option<&ClusterStatus>) -> bool {
    let known = old.and_then(|old| old.spending.as_ref());
    known.map(|spending| spending.price_per_node_hour) != record.properties.lote.price_per_node_hour
}

/// A budget, and what was spent of it until now.
struct Account {
    budget: Budget,
    spending: Spending,
    nodes: usize,
}

impl Account {
    fn of(cluster: &ClusterState, now: Timestamp) -> Option<Self> {
        let record = cluster.record.as_ref()?;
        let status = cluster.effective_status();
        Some(Self {
            budget: record.properties.lote.budget?,
            spending: spending(record, status, now)?,
            nodes: status.map_or(0, |status| status.nodes.len()),
        })
    }

    fn is_spent(&self) -> bool {
        self.spending.spent() >= self.budget.amount
    }

    /// How many nodes the rest pays for long enough; none if any number.
    fn affordable(&self) -> Option<usize> {
        if self.is_spent() {
            return Some(0);
        }
        self.spending
            .pays_for(self.budget.amount, WORTHWHILE_MILLIS)
    }

    /// When the nodes that the cluster has will have cost everything.
    fn runs_out_at(&self) -> Option<Timestamp> {
        let millis = self.spending.lasts_millis(self.budget.amount, self.nodes)?;
        let millis = i64::try_from(millis).unwrap_or(i64::MAX).saturating_add(1);
        Some(after(
            self.spending.since,
            SignedDuration::from_millis(millis),
        ))
    }

    fn next_period(&self) -> Option<Timestamp> {
        self.budget.period.end(self.spending.period_start)
    }
}

/// Takes the nodes from clusters that have spent everything, and notes how many nodes others can
/// pay for.
pub(crate) fn hold(pass: &mut Pass<'_>) {
    for (key, cluster) in pass.snapshot.clusters() {
        let account = Account::of(cluster, pass.now).filter(|_| cluster.is_open());
        let Some(account) = account else {
            continue;
        };
        if let Some(affordable) = account.affordable() {
            pass.affordable.insert(key.clone(), affordable);
        }
        if let Some(at) = account.next_period() {
            pass.wake_at(at);
        }
        if account.is_spent() {
            let status = cluster.effective_status();
            for name in status.into_iter().flat_map(|status| &status.nodes) {
                pass.withdraw(key, name, Withdrawal::BudgetSpent);
            }
        } else if let Some(at) = account.runs_out_at() {
            pass.wake_at(at.max(pass.now));
        }
    }
}

/// How many more nodes the cluster can pay for; none if any number.
pub(crate) fn room(pass: &Pass<'_>, key: &ClusterKey, cluster: &ClusterState) -> Option<usize> {
    let affordable = *pass.affordable.get(key)?;
    let status = cluster.effective_status();
    let nodes = status.map_or(0, |status| status.nodes.len());
    let taken = pass.taken.get(key).map_or(0, BTreeSet::len);
    Some(affordable.saturating_sub(nodes + taken))
}

/// The error of a cluster that has fewer nodes than it shall have because of its budget, or none
/// at all. Says nothing that changes from one moment to the next.
pub(super) fn error(
    pass: &Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
    missing: usize,
) -> Option<ErrorRecord> {
    let account = Account::of(cluster, pass.now)?;
    let is_held_back = room(pass, key, cluster).is_some_and(|room| room < missing);
    (account.is_spent() || is_held_back)
        .then(|| ErrorRecord::new(RequeueCause::BudgetSpent.code(), account.sentence(cluster)))
}

/// Why a gang of so many nodes waits, if it waits for money.
pub(crate) fn why_it_waits(
    pass: &Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
    node_count: u32,
) -> Option<String> {
    let affordable = *pass.affordable.get(key)?;
    let account = Account::of(cluster, pass.now)?;
    let most = if account.is_spent() {
        0
    } else {
        affordable.max(account.nodes)
    };
    (most < node_count as usize).then(|| account.sentence(cluster))
}

impl Account {
    fn sentence(&self, cluster: &ClusterState) -> String {
        let name = cluster.name();
        let budget = format!("{} {}", self.budget.amount, self.budget.period.words());
        let state = if self.is_spent() {
            format!("cluster '{name}' has spent its budget of {budget}")
        } else {
            format!(
                "what is left of the budget of cluster '{name}', {budget}, does not pay for ten minutes of so many nodes"
            )
        };
        match self.next_period() {
            Some(at) => format!(
                "{state}: it goes on at {}, or when the budget is raised",
                at.strftime("%Y-%m-%d %H:%M:%S UTC")
            ),
            None => format!("{state}: it goes on when the budget is raised"),
        }
    }
}

#[cfg(test)]
mod tests;
