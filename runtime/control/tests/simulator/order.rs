//! That no job that starts delays one that comes before it; written without the indices that
//! placement uses.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lote_control::actions::{Action, Change, Decisions, Start, Subject};
use lote_control::room::{Amount, Request};
use lote_control::snapshot::{ClusterKey, ClusterState, Hindrance, NodeState, QueueKey, Snapshot};
use lote_model::id::{JobUid, NodeName};
use lote_model::job::JobRecord;

/// What a job takes of a node, until when, and whether of the whole node.
type Held = (Timestamp, Amount, bool);

/// A decision, and what it was made from.
struct Scene<'a> {
    snapshot: &'a Snapshot,
    now: Timestamp,
    starts: BTreeMap<&'a JobUid, &'a Start>,
    /// Nodes that go to clusters with a fixed number of nodes, or are there already.
    gone: BTreeMap<&'a NodeName, &'a ClusterKey>,
}

/// Jobs that are not started although it is their turn, such as those that mount what is gone for
/// good: they end, and take no nodes.
pub(crate) fn ended(decisions: &Decisions) -> BTreeSet<&JobUid> {
    let actions = decisions.actions.iter();
    let ended = actions.filter_map(|action| match action {
        Action::Change(Change {
            subject: Subject::Job(uid),
            what: "refuse",
            ..
        }) => Some(uid),
        _ => None,
    });
    ended.collect()
}

/// In each market, all automatic clusters of a size or one other cluster, the first job that
/// could ever start and does not start now can do so as early as before.
///
/// Only for jobs of one workspace, whose order is that of their queue keys, and where no cluster
/// is of low priority or has a budget and no machine is switched off, which change what others can
/// get.
pub(crate) fn nothing_is_delayed(snapshot: &Snapshot, decisions: &Decisions, now: Timestamp) {
    let is_special = |cluster: &ClusterState| {
        let record = cluster.record.as_ref();
        let has_budget = record.is_some_and(|record| record.properties.lote.budget.is_some());
        cluster.is_low_priority() || has_budget
    };
    let is_switched = |node: &NodeState| node.power.record.is_some();
    if snapshot.clusters().values().any(is_special)
        || snapshot.nodes().values().any(is_switched)
        || workspaces(snapshot).len() > 1
    {
        return;
    }
    let ended = ended(decisions);
    let scene = Scene::new(snapshot, decisions, now);
    if scene.starts.is_empty() {
        return;
    }
    let mut markets: BTreeMap<&str, Vec<(&QueueKey, &ClusterKey)>> = BTreeMap::new();
    for (key, cluster) in snapshot.clusters().iter().filter(|(_, it)| it.is_open()) {
        let market: &str = if cluster.is_automatic() {
            &cluster.size
        } else {
            key
        };
        let waiting = cluster.queue.iter();
        // One that waits for a file server waits for no node, and everybody may overtake it.
        let exempt = [Hindrance::Starting, Hindrance::Storage];
        let waiting = waiting.filter(|(_, waiting)| !exempt.contains(&waiting.hindrance));
        let waiting = waiting.map(|(queue_key, _)| (queue_key, key));
        markets.entry(market).or_default().extend(waiting);
    }
    for mut waiting in markets.into_values() {
        waiting.sort_unstable();
        for (queue_key, key) in waiting {
            if scene.starts.contains_key(&queue_key.uid) || ended.contains(&queue_key.uid) {
                continue;
            }
            let before = |start: &Start| rank(&start.record) < *queue_key;
            let before = scene.earliest(queue_key, key, Timestamp::MIN, before);
            let Some(before) = before else { continue };
            let after = scene.earliest(queue_key, key, before, |_| true);
            assert!(
                after.is_some_and(|after| after <= before),
                "at {now} {} on {key} could start at {before}, and at {after:?} only after {:#?}; it \
                 asks for {:?}, and there are {:#?} in {:#?}",
                queue_key.uid,
                scene.describe(),
                snapshot.clusters()[key].queue[queue_key],
                scene.describe_nodes(),
                scene.describe_clusters()
            );
            break;
        }
    }
}

/// Those of which jobs wait, or are being started.
fn workspaces(snapshot: &Snapshot) -> BTreeSet<&str> {
    let queues = snapshot.clusters().values().map(|cluster| &cluster.queue);
    let jobs = queues
        .flatten()
        .filter_map(|(key, _)| snapshot.job(&key.uid));
    jobs.map(|job| &*job.workspace).collect()
}

fn rank(record: &JobRecord) -> QueueKey {
    QueueKey {
        priority: std::cmp::Reverse(record.properties.scheduling_priority),
        created_at: record.created_at,
        uid: record.uid.clone(),
    }
}

impl<'a> Scene<'a> {
    fn new(snapshot: &'a Snapshot, decisions: &'a Decisions, now: Timestamp) -> Self {
        let (mut starts, mut gone) = (BTreeMap::new(), BTreeMap::new());
        for action in &decisions.actions {
            match action {
                Action::Start(start) => {
                    starts.insert(&start.record.uid, start);
                }
                Action::Power(_) => {}
                Action::Change(change) => {
                    let Subject::Cluster(key) = &change.subject else {
                        continue;
                    };
                    let nodes = change
                        .cluster_status
                        .iter()
                        .flat_map(|status| &status.nodes);
                    if !snapshot.clusters()[key].is_automatic() {
                        gone.extend(nodes.map(|name| (name, key)));
                    }
                }
            }
        }
        Self {
            snapshot,
            now,
            starts,
            gone,
        }
    }

    /// What starts, for whoever looks into a failure.
    fn describe(&self) -> Vec<String> {
        let describe = |start: &&Start| {
            let nodes = start.nodes.iter().map(|node| {
                let state = self.snapshot.node(&node.record.name).unwrap();
                format!("{} of {:?}", node.record.name, state.cluster)
            });
            let properties = &start.record.properties;
            format!(
                "{} on {} for {:?}: {:?}",
                start.record.uid,
                start.record.cluster.name,
                properties.constraints.max_wall_clock_time,
                nodes.collect::<Vec<_>>()
            )
        };
        self.starts
            .values()
            .copied()
            .map(|start| describe(&start))
            .collect()
    }

    fn describe_nodes(&self) -> Vec<String> {
        let nodes = self.snapshot.nodes().iter();
        let describe = |(name, node): (&NodeName, &NodeState)| {
            let holds = node.holds.iter();
            let holds = holds.map(|(uid, hold)| (uid, hold.ends_by, hold.grant.exclusive));
            format!(
                "{name} of {:?}, usable: {}, leaving: {}, held: {:?} {:?}",
                node.cluster,
                node.is_usable(),
                node.leaving,
                node.held,
                holds.collect::<Vec<_>>()
            )
        };
        nodes.map(describe).collect()
    }

    fn describe_clusters(&self) -> Vec<String> {
        let clusters = self.snapshot.clusters().iter();
        let describe = |(key, cluster): (&ClusterKey, &ClusterState)| {
            let record = cluster.record.as_ref();
            let scale = record.map(|record| &record.properties.scale_settings);
            let status = cluster.effective_status();
            let has = status.map(|status| (&status.nodes, &status.leaving, &status.withdrawn));
            format!("{key} of {}: {scale:?}, {has:?}", cluster.size)
        };
        clusters.map(describe).collect()
    }

    /// When the job can start at the latest beside what is held and what these starts take. Nodes
    /// that come to its cluster for jobs that end by `by` are given back until then.
    fn earliest(
        &self,
        queue_key: &QueueKey,
        key: &ClusterKey,
        by: Timestamp,
        counts: impl Fn(&Start) -> bool,
    ) -> Option<Timestamp> {
        let mut taken: BTreeMap<&NodeName, Vec<Held>> = BTreeMap::new();
        let joins = |name: &&NodeName| {
            self.snapshot
                .node(name)
                .is_some_and(|it| it.cluster.is_none())
        };
        let fixed = self.gone.iter().filter(|(_, owner)| **owner == key);
        let mut joined: BTreeSet<&NodeName> = fixed.map(|(name, _)| *name).filter(joins).collect();
        for start in self.starts.values().filter(|start| counts(start)) {
            let limit = start.record.properties.constraints.max_wall_clock_time.0;
            let ends_by = self.now + jiff::SignedDuration::from_secs(limit.try_into().unwrap());
            let job = self.snapshot.job(&start.record.uid).unwrap();
            for node in &start.nodes {
                let name = &node.record.name;
                let held = (ends_by, Amount::granted(&node.grant), node.grant.exclusive);
                taken.entry(name).or_default().push(held);
                if job.cluster == *key && joins(&name) {
                    joined.insert(name);
                }
            }
        }
        let cluster = &self.snapshot.clusters()[key];
        let request = cluster.queue[queue_key].request;
        let free_at = |name: &NodeName| {
            let node = self.snapshot.node(name).filter(|node| node.is_usable())?;
            let taken = taken.get(name).map_or(&[][..], Vec::as_slice);
            self.free_at(node, taken, &request)
        };
        let mut own: Vec<Timestamp> = members(cluster).filter_map(free_at).collect();
        own.extend(joined.iter().copied().filter_map(free_at));
        if cluster.is_automatic() {
            let size = self.size(cluster);
            let stays = |name: &&&NodeName| {
                let taken = taken.get(**name).into_iter().flatten();
                taken.clone().next().is_none() || taken.clone().any(|(ends_by, ..)| *ends_by > by)
            };
            let size = size + joined.iter().filter(stays).count();
            let room = (cluster.nodes_max() as usize).saturating_sub(size);
            let pool = self.snapshot.pool(&cluster.size);
            let pool = pool.filter(|name| !self.gone.contains_key(name) && !joined.contains(name));
            let others = self.snapshot.clusters().iter();
            let others = others.filter(|(other, it)| {
                *other != key && it.is_automatic() && it.size == cluster.size
            });
            let others = others.flat_map(|(_, other)| members(other));
            // A node comes to the cluster as a whole.
            let whole = Request {
                share: None,
                ..request
            };
            let empty_at = |name: &NodeName| {
                free_at(name)?;
                let node = self.snapshot.node(name)?;
                let taken = taken.get(name).map_or(&[][..], Vec::as_slice);
                self.free_at(node, taken, &whole)
            };
            let mut foreign: Vec<Timestamp> = pool.chain(others).filter_map(empty_at).collect();
            foreign.sort_unstable();
            own.extend(foreign.into_iter().take(room));
        }
        own.sort_unstable();
        own.get(request.node_count as usize - 1).copied()
    }

    /// How many nodes count as the cluster's own: not those that it loses because they are drained.
    fn size(&self, cluster: &ClusterState) -> usize {
        let Some(status) = cluster.effective_status() else {
            return 0;
        };
        let counts = |name: &&NodeName| {
            let node = self.snapshot.node(name);
            !status.withdrawn.contains_key(*name) && !node.is_some_and(NodeState::is_drained)
        };
        status.nodes.iter().filter(counts).count()
    }

    /// When a node has room at the latest; none if never.
    fn free_at(&self, node: &NodeState, taken: &[Held], request: &Request) -> Option<Timestamp> {
        let record = node.record.as_deref()?;
        let ports = self.snapshot.config().ports_per_allocation;
        if !request.is_possible_on(record, ports) {
            return None;
        }
        let holds = node.holds.values();
        let holds = holds.map(|hold| {
            let amount = Amount::granted(&hold.grant);
            (hold.ends_by, amount, hold.grant.exclusive)
        });
        let holds: Vec<Held> = holds.chain(taken.iter().copied()).collect();
        let fits_at = |at: &Timestamp| {
            let mut left = holds.iter().filter(|(ends_by, ..)| ends_by > at);
            if request.share.is_none() {
                return left.next().is_none();
            }
            let is_exclusive = left.clone().any(|(.., is_exclusive)| *is_exclusive);
            let held = left.fold(request.amount_on(record), |sum, (_, held, _)| {
                sum.plus(held)
            });
            !is_exclusive && held.is_within(&Amount::whole(record))
        };
        let ends = holds.iter().map(|(ends_by, ..)| (*ends_by).max(self.now));
        let times: BTreeSet<Timestamp> = ends.chain([self.now]).collect();
        times.into_iter().find(fits_at)
    }
}

fn members(cluster: &ClusterState) -> impl Iterator<Item = &NodeName> {
    let status = cluster.effective_status().into_iter();
    status.flat_map(|status| status.nodes.difference(&status.leaving))
}
