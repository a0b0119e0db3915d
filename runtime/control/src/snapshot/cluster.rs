//! Clusters: which nodes they have, and which jobs wait for them.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use lote_model::cluster::{
    ClusterRecord, ClusterStatus, NodeDeallocationOption, ScaleSettings, Withdrawal,
};
use lote_model::duration::Seconds;
use lote_model::id::{JobUid, NodeName};
use lote_model::state::Priority;
use lote_store::Revision;

use super::{ClusterKey, Snapshot, WorkspaceKey};
use crate::free::FreeNodes;
use crate::room::Request;

/// The place of a job in the queue of its cluster: priority, then age. Between the two a pass
/// compares the shares of workspaces, which change with time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueKey {
    /// Higher first.
    pub priority: Reverse<Priority>,
    /// Older first; a job that goes back to the queue keeps its age.
    pub created_at: Timestamp,
    /// Decides between equals.
    pub uid: JobUid,
}

/// What placement needs to know of a waiting job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What it asks for.
    pub request: Request,
    /// How long it may run.
    pub limit: Seconds,
    /// Why it cannot be placed now.
    pub hindrance: Hindrance,
}

/// Jobs that ask for the same: if one does not fit, none does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// The workspace that they are in.
    pub workspace: WorkspaceKey,
    /// What they ask for.
    pub request: Request,
    /// A job that avoids nodes, which is a class of its own.
    pub picky: Option<JobUid>,
}

/// Whether something is under way for a waiting job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Nothing.
    None,
    /// It is being started; its nodes are held.
    Starting,
    /// Its status is being written. Nobody may overtake it meanwhile.
    Busy,
    /// A file server that it mounts is not there yet. It waits for that and not for nodes, so
    /// everybody may overtake it, also while its status is being written.
    Storage,
}

/// A cluster as the leader sees it.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    /// What the user wants; none if only jobs or a status name it.
    pub record: Option<ClusterRecord>,
    /// The revision of the record.
    pub record_revision: Revision,
    /// What the leader has stored about it.
    pub status: Option<ClusterStatus>,
    /// The revision of the status; 0 for none.
    pub status_revision: Revision,
    /// The status that is being stored.
    pub pending: Option<ClusterStatus>,
    /// Whether something is being stored.
    pub in_flight: bool,
    /// Waiting jobs in order.
    pub queue: BTreeMap<QueueKey, Waiting>,
    /// Its usable nodes on which nothing is held.
    pub idle: BTreeSet<NodeName>,
    /// Its usable nodes on which something is left, the idle ones included.
    pub(crate) free: FreeNodes,
    /// Its nodes that are in use and may take jobs again, by the time at which they are empty at
    /// the latest.
    pub(crate) ends: BTreeSet<(Timestamp, NodeName)>,
    /// The waiting jobs that are not being started, in order, and how long each may run.
    pub classes: HashMap<Class, BTreeMap<QueueKey, Seconds>>,
    /// The size of its nodes in lower case.
    pub size: String,
    /// How many jobs that have not ended name it.
    pub live_jobs: usize,
    mapped: BTreeSet<NodeName>,
}

impl ClusterState {
    /// The status in force: the one being stored, or the stored one.
    pub fn effective_status(&self) -> Option<&ClusterStatus> {
        self.pending.as_ref().or(self.status.as_ref())
    }

    /// Whether it exists and is not being deleted.
    pub fn is_open(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.delete_requested_at.is_none())
    }

    /// The most nodes it may have; none while nobody can set them up.
    pub fn nodes_max(&self) -> u32 {
        let properties = self.record.as_ref().map(|record| &record.properties);
        match properties
            .filter(|properties| properties.can_be_set_up())
            .map(|properties| &properties.scale_settings)
        {
            Some(ScaleSettings::Manual(manual)) => manual.target_node_count,
            Some(ScaleSettings::AutoScale(auto)) => auto.maximum_node_count,
            None => 0,
        }
    }

    /// What happens to jobs on nodes that it gives up. Automatic scaling only gives up nodes
    /// when their jobs are done.
    pub fn deallocation_option(&self) -> NodeDeallocationOption {
        match self
            .record
            .as_ref()
            .map(|record| &record.properties.scale_settings)
        {
            Some(ScaleSettings::Manual(manual)) => manual.node_deallocation_option,
            _ => NodeDeallocationOption::WaitForJobCompletion,
        }
    }

    /// Whether it takes nodes from the pool, and gives them back, as its jobs need.
    pub fn is_automatic(&self) -> bool {
        self.record.as_ref().is_some_and(|record| {
            matches!(
                record.properties.scale_settings,
                ScaleSettings::AutoScale(_)
            )
        })
    }

    /// The name that messages use.
    pub fn name(&self) -> &str {
        self.record
            .as_ref()
            .map_or("", |record| record.path.name.as_str())
    }

    /// Takes a job out of its class.
    pub(super) fn leave_class(&mut self, class: Class, key: &QueueKey) {
        if let Entry::Occupied(mut keys) = self.classes.entry(class) {
            keys.get_mut().remove(key);
            if keys.get().is_empty() {
                keys.remove();
            }
        }
    }

    fn is_needless(&self) -> bool {
        self.record.is_none() && self.status.is_none() && self.live_jobs == 0 && !self.in_flight
    }

    /// Whether its nodes may be taken for dedicated clusters.
    pub fn is_low_priority(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.properties.is_low_priority())
    }

    /// The nodes that are its own. One that is being given up stays its own until that is
    /// stored, so that no node is ever stored in two clusters.
    fn members(&self) -> BTreeMap<NodeName, Membership> {
        let given_up = Membership {
            leaving: true,
            withdrawal: None,
        };
        let stored = self.status.iter().flat_map(|status| &status.nodes);
        let mut members: BTreeMap<_, _> = stored.map(|name| (name.clone(), given_up)).collect();
        if let Some(status) = self.effective_status() {
            members.extend(status.nodes.iter().map(|name| {
                let membership = Membership {
                    leaving: status.leaving.contains(name),
                    withdrawal: status.withdrawn.get(name).copied(),
                };
                (name.clone(), membership)
            }));
        }
        members
    }
}

/// How a node stands in its cluster.
#[derive(Clone, Copy, Debug)]
struct Membership {
    /// It takes no new job.
    leaving: bool,
    /// Why, if the cluster would rather keep it.
    withdrawal: Option<Withdrawal>,
}

impl Snapshot {
    pub(super) fn cluster_mut(&mut self, key: &ClusterKey) -> &mut ClusterState {
        self.clusters.entry(key.clone()).or_default()
    }

    /// Tells nodes whose they are after a cluster's status changed.
    pub(super) fn refresh_members(&mut self, key: &ClusterKey, now: Timestamp) {
        let Some(cluster) = self.clusters.get_mut(key) else {
            return;
        };
        let members = cluster.members();
        let old = std::mem::replace(&mut cluster.mapped, members.keys().cloned().collect());
        for name in old.iter().filter(|name| !members.contains_key(*name)) {
            let node = self.node_mut(name, now);
            if node.cluster.as_ref() == Some(key) {
                node.cluster = None;
                node.leaving = false;
                node.withdrawal = None;
            }
            self.refresh_node(name, now);
        }
        for (name, membership) in members {
            let node = self.node_mut(&name, now);
            node.cluster = Some(key.clone());
            node.leaving = membership.leaving;
            node.withdrawal = membership.withdrawal;
            self.refresh_node(&name, now);
        }
        self.drop_needless_cluster(key);
    }

    /// Looks at all jobs of a cluster again, because it came, goes or went.
    pub(super) fn refresh_jobs_of_cluster(&mut self, key: &ClusterKey) {
        let of_cluster = self.jobs.values().filter(|job| job.cluster == *key);
        let uids: Vec<_> = of_cluster.map(|job| job.record.uid.clone()).collect();
        for uid in &uids {
            self.refresh_job(uid);
        }
    }

    pub(super) fn drop_needless_cluster(&mut self, key: &ClusterKey) {
        if self
            .clusters
            .get(key)
            .is_some_and(ClusterState::is_needless)
        {
            self.clusters.remove(key);
        }
    }
}
