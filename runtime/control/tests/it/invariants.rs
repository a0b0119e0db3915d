//! What must hold in every world after every step.

use std::collections::{BTreeMap, BTreeSet};

use lote_control::actions::{Action, Decisions};
use lote_control::room::Request;
use lote_control::snapshot::{ClusterState, Hindrance, NodeState, QueueKey, Snapshot};
use lote_control::testing::{World, assert_fits};
use lote_model::allocation::{Allocation, AllocationPhase, Grant};
use lote_model::cluster::ClusterStatus;
use lote_model::id::{JobUid, NodeName};
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_model::report::{Report, ReportPhase};

/// Allocations under which something may still run.
fn running(world: &World) -> BTreeMap<NodeName, Vec<Allocation>> {
    let mut running: BTreeMap<NodeName, Vec<Allocation>> = BTreeMap::new();
    for (node, allocation) in world.allocations() {
        let report: Option<Report> = world.ledger.get(&key::report(&allocation.uid, &node));
        let is_over = report.is_some_and(|report| {
            report.attempt == allocation.attempt
                && matches!(report.phase, ReportPhase::Ended { .. })
        });
        if !is_over {
            running.entry(node).or_default().push(allocation);
        }
    }
    running
}

/// Nothing is granted twice, no gang is incomplete, no node has two clusters.
pub(crate) fn check(world: &World) {
    for (node, allocations) in running(world) {
        let record: NodeRecord = world.ledger.get(&key::node(&node)).expect("a node");
        check_node(&record, &allocations);
    }
    check_gangs(world);
    let mut owned = BTreeSet::new();
    for item in world.ledger.list(key::CLUSTER_STATUS) {
        let status: ClusterStatus = serde_json::from_slice(&item.value).expect("a status");
        assert!(status.leaving.is_subset(&status.nodes));
        for node in status.nodes {
            assert!(owned.insert(node.clone()), "{node} is in two clusters");
        }
    }
}

/// Nothing of one node is granted twice.
pub(crate) fn check_node(node: &NodeRecord, allocations: &[Allocation]) {
    let grants = allocations.iter().map(|allocation| &allocation.grant);
    assert_fits(node, &grants.collect::<Vec<_>>());
}

fn check_gangs(world: &World) {
    let mut gangs: BTreeMap<JobUid, Vec<Allocation>> = BTreeMap::new();
    for (_, allocation) in world.allocations() {
        gangs
            .entry(allocation.uid.clone())
            .or_default()
            .push(allocation);
    }
    for (uid, allocations) in gangs {
        let record = world.submitted(&uid).expect("a job");
        let count = record.properties.node_count as usize;
        let ranks: BTreeSet<u32> = allocations
            .iter()
            .map(|allocation| allocation.rank)
            .collect();
        assert_eq!(
            (ranks.len(), allocations.len()),
            (count, count),
            "{uid} has a part of its gang"
        );
        let attempts: BTreeSet<u32> = allocations
            .iter()
            .map(|allocation| allocation.attempt)
            .collect();
        assert_eq!(attempts.len(), 1, "{uid} has nodes of two attempts");
        let runs = allocations
            .iter()
            .any(|allocation| allocation.phase == AllocationPhase::Run);
        let reports = world.ledger.list(&key::reports_of(&uid)).count();
        assert!(
            !runs || count == 1 || reports == count,
            "{uid} runs before all nodes are prepared"
        );
    }
}

/// The first job that still waits could not have started with what those before it left over. So
/// no job that fits is passed over in favour of one of lower rank. One that competes with an
/// earlier job of another cluster may have been held back for that.
pub(crate) fn check_order(world: &World, decisions: &Decisions) {
    for cluster in world
        .snapshot
        .clusters()
        .values()
        .filter(|cluster| cluster.is_open())
    {
        let starts: BTreeMap<&JobUid, &lote_control::actions::Start> = decisions
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Start(start) => Some((&start.record.uid, start)),
                Action::Change(_) | Action::Power(_) => None,
            })
            .collect();
        let mut before: Vec<(NodeName, Grant)> = Vec::new();
        for (queue_key, waiting) in &cluster.queue {
            if let Some(start) = starts.get(&queue_key.uid) {
                before.extend(
                    start
                        .nodes
                        .iter()
                        .map(|node| (node.record.name.clone(), node.grant.clone())),
                );
            } else if waiting.hindrance == Hindrance::None {
                let uid = &queue_key.uid;
                let job = world.snapshot.job(uid).expect("a live job");
                let is_plain =
                    job.unsuitable.is_none() && !waits_for_another(world, cluster, queue_key);
                let fits = count_fitting(&world.snapshot, cluster, &waiting.request, &before);
                assert!(
                    !is_plain || fits < waiting.request.node_count as usize,
                    "{uid} fits and still waits"
                );
                break;
            } else if waiting.hindrance == Hindrance::Busy {
                break;
            }
        }
    }
}

/// Whether a job of another automatic cluster waits before this one for the same nodes.
fn waits_for_another(world: &World, cluster: &ClusterState, queue_key: &QueueKey) -> bool {
    let clusters = world.snapshot.clusters().values();
    let mut others = clusters
        .filter(|other| other.is_open() && other.is_automatic() && other.size == cluster.size);
    cluster.is_automatic()
        && others.any(|other| {
            other
                .queue
                .keys()
                .next()
                .is_some_and(|first| first < queue_key)
        })
}

/// How many nodes of the cluster hold the request beside what is held and `given` away; written
/// without the indices that placement uses.
fn count_fitting(
    snapshot: &Snapshot,
    cluster: &ClusterState,
    request: &Request,
    given: &[(NodeName, Grant)],
) -> usize {
    let Some(status) = cluster.effective_status() else {
        return 0;
    };
    let fits = |name: &&NodeName| {
        let node: &NodeState = snapshot.node(name).expect("a node");
        let Some(record) = node
            .record
            .as_ref()
            .filter(|_| node.is_usable() && !status.leaving.contains(*name))
        else {
            return false;
        };
        let held = node.holds.values().map(|hold| &hold.grant);
        let given = given
            .iter()
            .filter(|(node, _)| node == *name)
            .map(|(_, grant)| grant);
        let grants: Vec<&Grant> = held.chain(given).collect();
        lote_control::room::cut(request, record, grants.into_iter(), 16).is_some()
    };
    status.nodes.iter().filter(fits).count()
}
