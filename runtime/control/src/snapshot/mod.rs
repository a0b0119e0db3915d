//! What of the store matters for deciding, indexed so that a pass looks only at what can change.
//!
//! A snapshot follows the store event by event ([`Snapshot::apply`]) and knows which actions are
//! under way ([`Snapshot::begin`], [`Snapshot::finish`]): what a start in progress will hold is
//! held already. Everything that decisions read is derived again from these two whenever one of
//! them changes, by `refresh_*`; nothing is kept by adding and subtracting.

mod apply;
mod cluster;
mod file_server;
mod gang;
mod job;
mod loading;
mod node;
mod progress;
mod workspace;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use lote_model::cluster::{NodeDeallocationOption, Withdrawal};
use lote_model::daily_usage::DailyUsage;
use lote_model::export::ExportReport;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::RequeueCause;

pub use cluster::{Class, ClusterState, Hindrance, QueueKey, Waiting};
use file_server::ExportPlace;
pub use file_server::{Availability, FileServerPlace, FileServerState, StoredExport, place_of};
pub use gang::{Gang, Part};
pub use job::{InFlight, LiveJob, Unsuitable};
pub use loading::Loading;
pub use node::{NodeFate, NodeState, Power};
pub(crate) use node::{Owner, Spot};
pub use progress::Refusal;
pub use workspace::{Run, WorkspaceKey, WorkspaceUse};

use crate::config::Config;
use crate::free::FreeNodes;

/// A cluster's place in the store, in the form in which names are compared.
pub type ClusterKey = Arc<str>;

/// A finished job that shall be deleted.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// The part of its keys after `jobs/` and `status/jobs/`.
    pub place: String,
    /// The revision of its record.
    pub record_revision: lote_store::Revision,
}

/// A value, and the revision at which it was written.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    /// The value.
    pub value: T,
    /// Its revision.
    pub revision: lote_store::Revision,
}

/// The leader's view of the store.
#[derive(Debug, Default)]
pub struct Snapshot {
    config: Config,
    nodes: BTreeMap<NodeName, NodeState>,
    /// Nodes without a lease.
    absent: BTreeSet<NodeName>,
    /// Nodes on which the operator wants no new jobs.
    drained: BTreeSet<NodeName>,
    /// Nodes that can join a cluster, by their size in lower case.
    pool: BTreeMap<String, FreeNodes>,
    /// The same nodes by the time since when they stand there.
    pooled: BTreeSet<(Timestamp, NodeName)>,
    /// Nodes whose power something was done about.
    switched: BTreeSet<NodeName>,
    clusters: BTreeMap<ClusterKey, ClusterState>,
    file_servers: BTreeMap<FileServerPlace, FileServerState>,
    /// What nodes are to export.
    exports: BTreeMap<ExportPlace, StoredExport>,
    /// What nodes say about that.
    exported: BTreeMap<ExportPlace, Stored<ExportReport>>,
    /// The addresses of all nodes, and how many have each.
    addresses: BTreeMap<String, usize>,
    /// Live jobs by the file servers that they mount.
    mounting: HashMap<FileServerPlace, BTreeSet<JobUid>>,
    workspaces: BTreeMap<WorkspaceKey, WorkspaceUse>,
    /// What workspaces used by day, by the keys below [`key::DAILY_USAGE`].
    days: BTreeMap<Box<str>, (DailyUsage, lote_store::Revision)>,
    jobs: HashMap<JobUid, LiveJob>,
    /// Which live job stands at a place in the tree.
    job_places: HashMap<String, JobUid>,
    gangs: HashMap<JobUid, Gang>,
    /// Jobs and left-over gangs of which something changed since they were looked at.
    touched: BTreeSet<JobUid>,
    /// When running jobs reach their limit.
    deadlines: BTreeSet<(Timestamp, JobUid)>,
    erasures: BTreeMap<JobUid, Erasure>,
    erasures_in_flight: BTreeMap<JobUid, Erasure>,
    explained_at: Option<Timestamp>,
    loading: Option<Loading>,
}

impl Snapshot {
    /// An empty one that follows a store from its first event.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// The settings of the leader.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All nodes that are known, by name.
    pub fn nodes(&self) -> &BTreeMap<NodeName, NodeState> {
        &self.nodes
    }

    /// A node, if it is known.
    pub fn node(&self, name: &NodeName) -> Option<&NodeState> {
        self.nodes.get(name)
    }

    /// Nodes without a lease, and since when each is without; those that are switched off are not
    /// missed.
    pub fn absent_nodes(&self) -> impl Iterator<Item = (&NodeName, Timestamp)> {
        let since = |name| {
            let node = self.nodes.get(name)?;
            node.absent_since.filter(|_| !node.power.is_down())
        };
        self.absent
            .iter()
            .filter_map(move |name| Some((name, since(name)?)))
    }

    /// Nodes on which the operator wants no new jobs.
    pub fn drained_nodes(&self) -> impl Iterator<Item = (&NodeName, &NodeState)> {
        let drained = self.drained.iter();
        let known = drained.filter_map(|name| Some((name, self.nodes.get(name)?)));
        known.filter(|(_, node)| node.is_drained())
    }

    /// The nodes of a size that can join a cluster.
    pub fn pool(&self, size: &str) -> impl Iterator<Item = &NodeName> {
        let free = self.pool.get(&size.to_ascii_lowercase());
        free.into_iter().flat_map(FreeNodes::iter)
    }

    /// Nodes of the pool by the time since when they stand there.
    pub(crate) fn pooled(&self) -> impl Iterator<Item = (Timestamp, &NodeName)> {
        self.pooled.iter().map(|(since, name)| (*since, name))
    }

    /// Nodes whose power something was done about.
    pub(crate) fn switched(&self) -> impl Iterator<Item = (&NodeName, &NodeState)> {
        let switched = self.switched.iter();
        switched.filter_map(|name| Some((name, self.nodes.get(name)?)))
    }

    /// The nodes in the pool, by their size in lower case.
    pub(crate) fn free_in_pool(&self, size: &str) -> Option<&FreeNodes> {
        self.pool.get(size)
    }

    /// All clusters, and places at which jobs wait for one.
    pub fn clusters(&self) -> &BTreeMap<ClusterKey, ClusterState> {
        &self.clusters
    }

    /// All file servers.
    pub fn file_servers(&self) -> &BTreeMap<FileServerPlace, FileServerState> {
        &self.file_servers
    }

    /// A job that has not ended.
    pub fn job(&self, uid: &JobUid) -> Option<&LiveJob> {
        self.jobs.get(uid)
    }

    /// How many jobs have not ended.
    pub fn live_jobs(&self) -> usize {
        self.jobs.len()
    }

    /// All jobs that have not ended, in no order.
    pub fn jobs(&self) -> impl Iterator<Item = &LiveJob> {
        self.jobs.values()
    }

    /// What is on nodes of a job, and what they report of it.
    pub fn gang(&self, uid: &JobUid) -> Option<&Gang> {
        self.gangs.get(uid)
    }

    /// Jobs and left-over gangs of which something changed since a pass found nothing to do.
    pub fn touched(&self) -> &BTreeSet<JobUid> {
        &self.touched
    }

    /// When running jobs reach their limit, the earliest first.
    pub fn deadlines(&self) -> impl Iterator<Item = (Timestamp, &JobUid)> {
        self.deadlines.iter().map(|(at, uid)| (*at, uid))
    }

    /// Finished jobs that shall be deleted and are not being deleted yet.
    pub fn erasures(&self) -> &BTreeMap<JobUid, Erasure> {
        &self.erasures
    }

    /// When explanations were last looked at.
    pub fn explained_at(&self) -> Option<Timestamp> {
        self.explained_at
    }

    /// What a job's step must take into account of a node.
    pub fn fate(&self, name: &NodeName, now: Timestamp) -> NodeFate {
        self.nodes
            .get(name)
            .map_or(NodeFate::Well, |node| self.fate_of(node, now))
    }

    fn fate_of(&self, node: &NodeState, now: Timestamp) -> NodeFate {
        if node.is_lost(now, self.config.node_lost_after) {
            return NodeFate::Lost;
        }
        if !node.leaving {
            return NodeFate::Well;
        }
        let cluster = node.cluster.as_ref().and_then(|key| self.clusters.get(key));
        match node.withdrawal {
            // A cluster that shall have no nodes at all does not keep this one for its jobs.
            Some(Withdrawal::Drained) if cluster.is_some_and(|cluster| cluster.nodes_max() > 0) => {
                NodeFate::Leaving(NodeDeallocationOption::WaitForJobCompletion)
            }
            None | Some(Withdrawal::Drained) => NodeFate::Leaving(
                cluster
                    .map(ClusterState::deallocation_option)
                    .unwrap_or_default(),
            ),
            Some(Withdrawal::Preempted) => NodeFate::Withdrawn(RequeueCause::Preempted),
            Some(Withdrawal::BudgetSpent) => NodeFate::Withdrawn(RequeueCause::BudgetSpent),
        }
    }
}
