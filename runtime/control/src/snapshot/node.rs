//! Nodes: what they are, whether they live, whose they are and what is held of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lote_model::cluster::{NodeDeallocationOption, Withdrawal};
use lote_model::id::{JobUid, NodeName};
use lote_model::job::RequeueCause;
use lote_model::node::NodeRecord;

use super::{ClusterKey, InFlight, Snapshot};
use crate::room::{Amount, Hold};
use crate::time::{after, after_seconds};

/// A machine as the leader sees it.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    /// Its own description; none if only its lease or a cluster names it.
    pub record: Option<Arc<NodeRecord>>,
    /// Since when its lease is missing; none while it lives.
    pub absent_since: Option<Timestamp>,
    /// Whether the operator wants no new jobs on it.
    pub drained: bool,
    /// The cluster that has it.
    pub cluster: Option<ClusterKey>,
    /// Whether it takes no new job because its cluster gives it up.
    pub leaving: bool,
    /// Why, if the cluster would rather keep it.
    pub withdrawal: Option<Withdrawal>,
    /// Since when nothing is held of it.
    pub idle_since: Timestamp,
    /// What jobs hold of it, starts in progress included.
    pub holds: BTreeMap<JobUid, Hold>,
    /// The sum of [`NodeState::holds`].
    pub held: Amount,
    spot: Spot,
}

/// In which index a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Spot {
    #[default]
    None,
    Pool(String),
    Idle(ClusterKey),
    Partial(ClusterKey),
}

/// What a job's step must take into account of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFate {
    /// Nothing.
    Well,
    /// It has been without a lease for too long.
    Lost,
    /// Its cluster gives it up, in this way.
    Leaving(NodeDeallocationOption),
    /// It is taken from its cluster, which is not to wait for its jobs.
    Withdrawn(RequeueCause),
}

impl NodeState {
    /// Whether it can take jobs: alive, well and not drained.
    pub fn is_usable(&self) -> bool {
        self.absent_since.is_none()
            && !self.is_drained()
            && self
                .record
                .as_ref()
                .is_some_and(|record| record.is_schedulable())
    }

    /// Whether the operator wants no new jobs on it.
    pub fn is_drained(&self) -> bool {
        self.drained && !cfg!(feature = "planted-ignore-drain")
    }

    /// Whether it has been without a lease for too long.
    pub fn is_lost(&self, now: Timestamp, lost_after: SignedDuration) -> bool {
        self.absent_since
            .is_some_and(|since| after(since, lost_after) <= now)
    }

    fn spot(&self) -> Spot {
        let Some(record) = self.record.as_ref().filter(|_| self.is_usable()) else {
            return Spot::None;
        };
        match &self.cluster {
            None if self.holds.is_empty() => Spot::Pool(record.size.to_ascii_lowercase()),
            Some(cluster) if !self.leaving && self.holds.is_empty() => Spot::Idle(cluster.clone()),
            Some(cluster) if !self.leaving && self.has_some_left(record) => {
                Spot::Partial(cluster.clone())
            }
            _ => Spot::None,
        }
    }

    fn has_some_left(&self, record: &NodeRecord) -> bool {
        !self.holds.values().any(|hold| hold.grant.exclusive)
            && Amount::whole(record).cpu_millis > self.held.cpu_millis
    }
}

impl Snapshot {
    pub(super) fn node_mut(&mut self, name: &NodeName, now: Timestamp) -> &mut NodeState {
        if !self.nodes.contains_key(name) {
            self.absent.insert(name.clone());
        }
        let new = || NodeState {
            absent_since: Some(now),
            idle_since: now,
            ..NodeState::default()
        };
        self.nodes.entry(name.clone()).or_insert_with(new)
    }

    pub(super) fn set_node_record(
        &mut self,
        name: &NodeName,
        record: Option<NodeRecord>,
        now: Timestamp,
    ) {
        self.node_mut(name, now).record = record.map(Arc::new);
        self.refresh_node(name);
    }

    pub(super) fn set_node_alive(&mut self, name: &NodeName, is_alive: bool, now: Timestamp) {
        let node = self.node_mut(name, now);
        // A lease that is missing already has been missing since then.
        node.absent_since = if is_alive {
            None
        } else {
            node.absent_since.or(Some(now))
        };
        if is_alive {
            self.absent.remove(name);
        } else {
            self.absent.insert(name.clone());
        }
        self.refresh_node(name);
    }

    pub(super) fn set_node_drained(&mut self, name: &NodeName, drained: bool, now: Timestamp) {
        self.node_mut(name, now).drained = drained;
        if drained {
            self.drained.insert(name.clone());
        } else {
            self.drained.remove(name);
        }
        self.refresh_node(name);
    }

    /// Derives what a job holds of a node: its allocation unless the node is done with it, else
    /// what a start in progress will take.
    pub(super) fn refresh_hold(&mut self, name: &NodeName, uid: &JobUid, now: Timestamp) {
        let hold = self.hold(name, uid, now);
        let is_unchanged = match (&hold, self.nodes.get(name)) {
            (None, None) => true,
            (hold, Some(node)) => node.holds.get(uid) == hold.as_ref(),
            _ => false,
        };
        if is_unchanged {
            return;
        }
        let node = self.node_mut(name, now);
        node.holds.remove(uid);
        if let Some(hold) = hold {
            node.holds.insert(uid.clone(), hold);
        } else if node.holds.is_empty() {
            node.idle_since = now;
        }
        let sum = |sum: Amount, hold: &Hold| sum.plus(&Amount::granted(&hold.grant));
        node.held = node.holds.values().fold(Amount::default(), sum);
        self.refresh_node(name);
    }

    fn hold(&self, name: &NodeName, uid: &JobUid, now: Timestamp) -> Option<Hold> {
        let job = self.jobs.get(uid);
        let limit = job.map(|job| job.record.properties.constraints.max_wall_clock_time);
        let ends_by = |start| limit.map_or(now, |limit| after_seconds(start, limit));
        let part = self.gangs.get(uid).and_then(|gang| gang.parts.get(name));
        if let Some(allocation) = part.and_then(|part| part.allocation.as_ref()) {
            let is_over = part.is_some_and(|part| part.is_ended(allocation.attempt));
            return (!is_over).then(|| Hold {
                grant: allocation.grant.clone(),
                ends_by: ends_by(allocation.granted_at),
            });
        }
        match &job?.in_flight {
            Some(InFlight::Start { grants, since }) => {
                let grant = grants.iter().find(|(node, _)| node == name)?.1.clone();
                Some(Hold {
                    grant,
                    ends_by: ends_by(*since),
                })
            }
            _ => None,
        }
    }

    /// Puts a node into the index where it belongs now, or forgets it.
    pub(super) fn refresh_node(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let spot = node.spot();
        let is_forgotten = node.record.is_none()
            && node.absent_since.is_some()
            && !node.drained
            && node.holds.is_empty()
            && node.cluster.is_none();
        let old = std::mem::replace(&mut node.spot, spot.clone());
        if old != spot {
            if let Some(names) = self.names_at(&old) {
                names.remove(name);
            }
            if let Some(names) = self.names_at(&spot) {
                names.insert(name.clone());
            }
        }
        if is_forgotten {
            self.nodes.remove(name);
            self.absent.remove(name);
        }
    }

    fn names_at(&mut self, spot: &Spot) -> Option<&mut std::collections::BTreeSet<NodeName>> {
        match spot {
            Spot::None => None,
            Spot::Pool(size) => Some(self.pool.entry(size.clone()).or_default()),
            Spot::Idle(cluster) => self
                .clusters
                .get_mut(cluster)
                .map(|cluster| &mut cluster.idle),
            Spot::Partial(cluster) => self
                .clusters
                .get_mut(cluster)
                .map(|cluster| &mut cluster.partial),
        }
    }
}
