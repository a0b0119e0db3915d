//! Nodes: what they are, whether they live, whose they are and what is held of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lote_model::cluster::{NodeDeallocationOption, Withdrawal};
use lote_model::gpu::Gpu;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::RequeueCause;
use lote_model::node::{NodePower, NodeRecord, PowerState};
use lote_store::Revision;

use super::{ClusterKey, InFlight, Snapshot};
use crate::abilities::Abilities;
use crate::free::{FreeNodes, Slot};
use crate::nearness::Place;
use crate::planted::Fault;
use crate::room::{Amount, Hold, Request, Room};
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
    /// What was done about its power, and what this leader knows of it.
    pub power: Power,
    /// Since when it stands in the pool; none if it does not.
    pub pooled_since: Option<Timestamp>,
    place: Place,
    spot: Option<Spot>,
    end: Option<End>,
}

/// What is known of a machine's power.
#[derive(Clone, Debug, Default)]
pub struct Power {
    /// What the store says.
    pub record: Option<NodePower>,
    /// The revision of the record; 0 for none.
    pub revision: Revision,
    /// Whether something about it is under way.
    pub in_flight: bool,
    /// When this leader last switched it.
    pub switched_at: Option<Timestamp>,
    /// Why that failed, if it did and nobody has noted it yet.
    pub failure: Option<String>,
}

impl Power {
    /// Whether the machine is off, or on its way from there, so that it is not missed.
    pub fn is_down(&self) -> bool {
        let state = self.record.as_ref().map(|record| record.state);
        matches!(state, Some(PowerState::Off | PowerState::Starting))
    }

    /// Whether it was switched on and has not come back yet.
    pub fn is_starting(&self) -> bool {
        let state = self.record.as_ref().map(|record| record.state);
        state == Some(PowerState::Starting)
    }
}

/// When a node that is in use is empty at the latest, and who is to have it then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    at: Timestamp,
    cluster: ClusterKey,
}

/// Among whose free nodes a node stands, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) of: Owner,
    pub(crate) slot: Slot,
}

impl Spot {
    fn is_in_pool(&self) -> bool {
        matches!(self.of, Owner::Pool(_))
    }
}

/// Who can give a node to jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Any cluster of this size, in lower case.
    Pool(String),
    /// This cluster.
    Cluster(ClusterKey),
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
            && !self.power.in_flight
            && !self.power.is_down()
            && self
                .record
                .as_ref()
                .is_some_and(|record| record.is_schedulable())
    }

    /// Whether the operator wants no new jobs on it.
    pub fn is_drained(&self) -> bool {
        self.drained && !Fault::IgnoreDrain.is_planted()
    }

    /// Whether it has been without a lease for too long.
    pub fn is_lost(&self, now: Timestamp, lost_after: SignedDuration) -> bool {
        self.absent_since
            .is_some_and(|since| after(since, lost_after) <= now)
    }

    /// Where it stands among free nodes; none if it has no room, or takes no jobs.
    pub(crate) fn spot(&self) -> Option<&Spot> {
        self.spot.as_ref()
    }

    /// What jobs have left of it when these hold something of it.
    pub(crate) fn slot<'h>(
        &self,
        record: &NodeRecord,
        held: &Amount,
        holds: impl Iterator<Item = &'h Hold> + Clone,
        ports_per_allocation: u16,
    ) -> Slot {
        let is_empty = holds.clone().next().is_none();
        let grants = holds.map(|hold| &hold.grant);
        let whole = Request {
            node_count: 1,
            share: None,
            needs: Abilities::default(),
        };
        Slot {
            room: Room::left(record, held, grants, ports_per_allocation),
            place: self.place.clone(),
            is_whole: is_empty
                && whole.is_possible_on(record, ports_per_allocation)
                && record.gpus.iter().all(Gpu::is_schedulable),
        }
    }

    /// When all that is held of it ends at the latest; none if nothing is.
    pub(crate) fn held_until(&self) -> Option<Timestamp> {
        self.holds.values().map(|hold| hold.ends_by).max()
    }

    fn find_end(&self) -> Option<End> {
        let cluster = self.cluster.as_ref().filter(|_| !self.leaving)?;
        let at = self.held_until().filter(|_| self.is_usable())?;
        Some(End {
            at,
            cluster: cluster.clone(),
        })
    }

    fn find_spot(&self, ports_per_allocation: u16) -> Option<Spot> {
        let record = self.record.as_ref().filter(|_| self.is_usable())?;
        let of = match &self.cluster {
            None if self.holds.is_empty() => Owner::Pool(record.size.to_ascii_lowercase()),
            Some(cluster)
                if !self.leaving && (self.holds.is_empty() || self.has_some_left(record)) =>
            {
                Owner::Cluster(cluster.clone())
            }
            _ => return None,
        };
        let holds = self.holds.values();
        let slot = self.slot(record, &self.held, holds, ports_per_allocation);
        Some(Spot { of, slot })
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
        let nearness = &self.config.nearness;
        let place = record
            .as_ref()
            .map(|record| Place::of(&record.labels, nearness));
        let node = self.node_mut(name, now);
        let record = record.map(Arc::new);
        let old = std::mem::replace(&mut node.record, record.clone());
        node.place = place.unwrap_or_default();
        self.move_address(
            old.as_ref().map(|old| old.address.as_str()),
            record.as_ref().map(|new| new.address.as_str()),
        );
        self.refresh_node(name, now);
        self.refresh_file_servers_on(name);
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
        self.refresh_node(name, now);
        self.refresh_file_servers_on(name);
    }

    pub(super) fn set_node_drained(&mut self, name: &NodeName, drained: bool, now: Timestamp) {
        self.node_mut(name, now).drained = drained;
        if drained {
            self.drained.insert(name.clone());
        } else {
            self.drained.remove(name);
        }
        self.refresh_node(name, now);
    }

    pub(super) fn set_node_power(
        &mut self,
        name: &NodeName,
        record: Option<NodePower>,
        revision: Revision,
        now: Timestamp,
    ) {
        if record.is_some() {
            self.switched.insert(name.clone());
        } else {
            self.switched.remove(name);
        }
        let power = &mut self.node_mut(name, now).power;
        power.record = record;
        power.revision = revision;
        self.refresh_node(name, now);
    }

    pub(super) fn set_power_in_flight(&mut self, name: &NodeName, in_flight: bool, now: Timestamp) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.power.in_flight = in_flight;
            self.refresh_node(name, now);
        }
    }

    /// Notes that a machine could not be switched, and why. Call it before [`Snapshot::finish`].
    pub fn fail_to_switch(&mut self, name: &NodeName, why: String) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.power.failure = Some(why);
        }
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
        self.refresh_node(name, now);
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
    pub(super) fn refresh_node(&mut self, name: &NodeName, now: Timestamp) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let spot = node.find_spot(self.config.ports_per_allocation);
        let is_forgotten = node.record.is_none()
            && node.absent_since.is_some()
            && !node.drained
            && node.power.record.is_none()
            && node.holds.is_empty()
            && node.cluster.is_none();
        let is_idle = node.holds.is_empty();
        let is_pooled = spot.as_ref().is_some_and(Spot::is_in_pool);
        let pooled_since = is_pooled.then(|| node.pooled_since.unwrap_or(now));
        if node.pooled_since != pooled_since {
            let old = std::mem::replace(&mut node.pooled_since, pooled_since);
            if let Some(since) = old {
                self.pooled.remove(&(since, name.clone()));
            }
            if let Some(since) = pooled_since {
                self.pooled.insert((since, name.clone()));
            }
        }
        let end = node.find_end();
        if node.end != end {
            let old = std::mem::replace(&mut node.end, end.clone());
            self.set_end(name, old, end);
        }
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        if node.spot != spot {
            let old = std::mem::replace(&mut node.spot, spot.clone());
            if let Some(old) = old {
                self.with_free(&old.of, |free| free.remove(name, &old.slot));
                self.set_idle(&old.of, name, false);
            }
            if let Some(new) = spot {
                self.with_free(&new.of, |free| free.insert(name, &new.slot));
                self.set_idle(&new.of, name, is_idle);
            }
        }
        if is_forgotten {
            self.nodes.remove(name);
            self.absent.remove(name);
        }
    }

    fn set_end(&mut self, name: &NodeName, old: Option<End>, new: Option<End>) {
        if let Some(End { at, cluster }) = old
            && let Some(cluster) = self.clusters.get_mut(&cluster)
        {
            cluster.ends.remove(&(at, name.clone()));
        }
        if let Some(End { at, cluster }) = new
            && let Some(cluster) = self.clusters.get_mut(&cluster)
        {
            cluster.ends.insert((at, name.clone()));
        }
    }

    fn with_free(&mut self, owner: &Owner, change: impl FnOnce(&mut FreeNodes)) {
        match owner {
            Owner::Pool(size) => change(self.pool.entry(size.clone()).or_default()),
            Owner::Cluster(key) => {
                if let Some(cluster) = self.clusters.get_mut(key) {
                    change(&mut cluster.free);
                }
            }
        }
    }

    fn set_idle(&mut self, owner: &Owner, name: &NodeName, is_idle: bool) {
        let Owner::Cluster(key) = owner else {
            return;
        };
        if let Some(cluster) = self.clusters.get_mut(key) {
            if is_idle {
                cluster.idle.insert(name.clone());
            } else {
                cluster.idle.remove(name);
            }
        }
    }
}
