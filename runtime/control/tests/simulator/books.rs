//! What clusters really cost, counted second by second from what the store holds, beside what
//! the leader counts; and whether clusters yield nodes that others need more.

use std::collections::{BTreeMap, BTreeSet};

use lote_control::actions::{Action, Decisions, Subject};
use lote_control::snapshot::{ClusterKey, Snapshot};
use lote_control::testing::at_second;
use lote_model::cluster::{ClusterRecord, ClusterStatus, ScaleSettings};
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::money::Money;
use lote_model::node::Drain;
use lote_model::spending::BudgetPeriod;

use crate::site::Site;
use crate::trace::PRICE_PER_NODE_SECOND;

/// Seconds under a leader within which a cluster without money has given up its nodes: a machine
/// that is cut off is lost after 45, its jobs end within 10, and what a leader sees is late.
const GRACE: u64 = 150;

/// Seconds within which a dedicated cluster has the nodes of a low-priority one, all being well.
const YIELD: i64 = 100;

/// Seconds until machines that can be switched on are there, those included that were told to go
/// off just before.
const BOOT: i64 = 150;

const DAY: i64 = 86_400;

/// The books of one cluster.
#[derive(Debug, Default)]
struct Book {
    /// Seconds of nodes in the period.
    node_seconds: u64,
    /// By how many the leader may be wrong: it counts from its decision, we from the commit.
    tolerance: u64,
    /// Nodes since the last step.
    nodes: BTreeSet<NodeName>,
    /// Until when the leader had counted at the last step.
    since: Option<jiff::Timestamp>,
    /// Seconds under a leader with nodes and without money.
    overdrawn: u64,
    /// Since when it has had fewer nodes than it shall have.
    lacks_since: Option<i64>,
}

/// All books.
#[derive(Debug, Default)]
pub(crate) struct Books {
    books: BTreeMap<String, Book>,
    /// Since when nothing goes wrong.
    calm_since: Option<i64>,
}

struct View {
    record: ClusterRecord,
    status: ClusterStatus,
}

impl Books {
    pub(crate) fn after_step(&mut self, site: &Site, trouble: bool) {
        self.calm_since = (!trouble).then(|| self.calm_since.unwrap_or(site.now));
        let clusters = clusters(site);
        no_node_is_in_two(&clusters);
        let dedicated_lack = self.note_lacks(site, &clusters);
        for view in &clusters {
            let name = view.record.path.name.as_str();
            let book = self.books.entry(name.to_owned()).or_default();
            book.turn(site, view);
        }
        self.low_priority_yields(site, &clusters, dedicated_lack);
    }

    /// Since when a dedicated cluster has lacked nodes that it shall have in any case.
    fn note_lacks(&mut self, site: &Site, clusters: &[View]) -> Option<i64> {
        let mut longest: Option<i64> = None;
        for view in clusters {
            let properties = &view.record.properties;
            let ScaleSettings::Manual(manual) = &properties.scale_settings else {
                continue;
            };
            if properties.is_low_priority() || properties.lote.budget.is_some() {
                continue;
            }
            let staying = view.status.nodes.len() - view.status.leaving.len();
            let book = self.books.entry(view.record.path.name.to_string());
            let book = book.or_default();
            book.lacks_since = (staying < manual.target_node_count as usize)
                .then(|| book.lacks_since.unwrap_or(site.now));
            longest = match (longest, book.lacks_since) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        longest
    }

    fn low_priority_yields(&self, site: &Site, clusters: &[View], lacks_since: Option<i64>) {
        let (Some(calm_since), Some(lacks_since)) = (self.calm_since, lacks_since) else {
            return;
        };
        // Machines that are switched on come first, and each has its turn.
        let boot = if site.power.is_some() { BOOT } else { 0 };
        if site.now - calm_since.max(lacks_since) <= YIELD + boot {
            return;
        }
        for view in clusters {
            if !view.record.properties.is_low_priority() {
                continue;
            }
            let kept = view.status.nodes.difference(&view.status.leaving);
            let is_drained = |name: &NodeName| {
                let drain: Option<Drain> = site.store.ledger.get(&key::drain(name));
                drain.is_some()
            };
            let kept: Vec<_> = kept.filter(|name| !is_drained(name)).collect();
            assert!(
                kept.is_empty(),
                "{} keeps {kept:?}, which a dedicated cluster has lacked since {lacks_since}",
                view.record.path.name
            );
        }
    }
}

/// Clusters of low priority take no nodes that dedicated ones lack: what a decision leaves in the
/// pool makes good what it leaves these short of. What is stored may look otherwise for a moment,
/// because each cluster is written for itself.
pub(crate) fn low_priority_leaves_enough(snapshot: &Snapshot, decisions: &Decisions) {
    let decided = |key: &ClusterKey| {
        decisions.actions.iter().find_map(|action| match action {
            Action::Change(change) if change.subject == Subject::Cluster(key.clone()) => {
                change.cluster_status.as_ref()
            }
            _ => None,
        })
    };
    let (mut left, mut lacking, mut taken) = (snapshot.pool("cpu").count(), 0, BTreeSet::new());
    let nothing = ClusterStatus::default();
    for (key, cluster) in snapshot.clusters() {
        let Some(record) = &cluster.record else {
            continue;
        };
        let before = cluster.effective_status().unwrap_or(&nothing);
        let after = decided(key).unwrap_or(before);
        let joined: Vec<&NodeName> = after.nodes.difference(&before.nodes).collect();
        left = left.saturating_sub(joined.len());
        let properties = &record.properties;
        match &properties.scale_settings {
            _ if properties.is_low_priority() => taken.extend(joined),
            ScaleSettings::Manual(manual) if properties.lote.budget.is_none() => {
                let withdrawn = after.withdrawn.len();
                let staying = after.nodes.len() - withdrawn;
                lacking += (manual.target_node_count as usize).saturating_sub(staying);
            }
            _ => {}
        }
    }
    assert!(
        taken.is_empty() || lacking <= left,
        "clusters of low priority take {taken:?} and leave {left}, while dedicated ones lack {lacking}"
    );
}

impl Book {
    /// One second later.
    fn turn(&mut self, site: &Site, view: &View) {
        let (record, status) = (&view.record, &view.status);
        self.node_seconds += self.nodes.len() as u64;
        let period = record.properties.lote.period();
        if period == BudgetPeriod::Day && site.now % DAY == 0 {
            self.node_seconds = 0;
        }
        let moved = status.nodes.symmetric_difference(&self.nodes).count() as u64;
        self.nodes.clone_from(&status.nodes);
        let Some(spending) = &status.spending else {
            return;
        };
        if self.since != Some(spending.since) {
            self.since = Some(spending.since);
            let late = site.now - spending.since.as_second();
            self.tolerance += moved * late.unsigned_abs();
        }
        let now = at_second(site.now);
        let counted = spending.until(now, status.nodes.len(), period);
        let counted = counted.spent().millionths() / PRICE_PER_NODE_SECOND.millionths();
        assert!(
            counted.abs_diff(self.node_seconds) <= self.tolerance + 1,
            "the leader counted {counted} seconds of nodes of {}, there were {}, and {} are its slack",
            record.path.name,
            self.node_seconds,
            self.tolerance
        );
        self.check_budget(site, record);
    }

    fn check_budget(&mut self, site: &Site, record: &ClusterRecord) {
        let Some(budget) = record.properties.lote.budget else {
            return;
        };
        let paid = self.node_seconds.saturating_sub(self.tolerance);
        let spent = PRICE_PER_NODE_SECOND.millionths() * paid;
        if spent < budget.amount.millionths() || self.nodes.is_empty() {
            self.overdrawn = 0;
            return;
        }
        let is_led = site.daemons.iter().any(|daemon| daemon.works(site.now));
        self.overdrawn += u64::from(is_led);
        assert!(
            self.overdrawn <= GRACE,
            "cluster {} has nodes though it spent {} of {}",
            record.path.name,
            Money::from_millionths(spent),
            budget.amount
        );
    }
}

fn clusters(site: &Site) -> Vec<View> {
    let ledger = &site.store.ledger;
    let records = ledger.list(key::CLUSTERS);
    let view = |item: &lote_store::Versioned| {
        let record: ClusterRecord = serde_json::from_slice(&item.value).unwrap();
        let status = ledger.get(&key::cluster_status(&record.path));
        View {
            status: status.unwrap_or_default(),
            record,
        }
    };
    records.map(view).collect()
}

fn no_node_is_in_two(clusters: &[View]) {
    let mut seen = BTreeSet::new();
    for name in clusters.iter().flat_map(|view| &view.status.nodes) {
        assert!(seen.insert(name), "{name} is in two clusters");
    }
}
