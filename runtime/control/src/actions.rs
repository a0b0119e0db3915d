//! What the leader decides to do.

use std::sync::Arc;

use jiff::Timestamp;
use lote_model::allocation::Grant;
use lote_model::cluster::ClusterStatus;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::{ErrorRecord, JobRecord};
use lote_model::node::{NodePower, NodeRecord};
use lote_model::planned_mount::PlannedMounts;
use lote_store::{Revision, Transaction};

use crate::snapshot::{ClusterKey, FileServerPlace, WorkspaceKey};

/// The outcome of one pass.
#[derive(Debug, Default)]
pub struct Decisions {
    /// What to do. No two have the same subject, so all can be under way at once.
    pub actions: Vec<Action>,
    /// When to decide again even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Jobs that were looked at and need nothing until something of them changes.
    pub nothing_to_do: Vec<JobUid>,
    /// Whether this pass looked at the explanations of waiting jobs.
    pub explained: bool,
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Start a job: ask its plugin for a plan, then commit it.
    Start(Start),
    /// Commit transactions.
    Change(Change),
    /// Switch a machine on or off, or note what became of that.
    Power(Power),
}

impl Action {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Start(start) => Subject::Job(start.record.uid.clone()),
            Self::Change(change) => change.subject.clone(),
            Self::Power(power) => Subject::Power(power.node.name.clone()),
        }
    }
}

/// What an action is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A job that has not ended.
    Job(JobUid),
    /// What is left on nodes of a job that is not known, or not running.
    LeftOver(JobUid),
    /// A job that has ended and shall be deleted.
    Finished(JobUid),
    /// A cluster.
    Cluster(ClusterKey),
    /// A file server.
    FileServer(FileServerPlace),
    /// What a workspace has used of late.
    Share(WorkspaceKey),
    /// The power of a machine.
    Power(NodeName),
}

/// What is done to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerOrder {
    /// It is switched on.
    On,
    /// It is switched off.
    Off,
}

/// Something about the power of a machine.
#[derive(Clone, Debug)]
pub struct Power {
    /// The machine.
    pub node: Arc<NodeRecord>,
    /// What to write first; none if that was written before, maybe by another leader. Unless it
    /// is applied, nothing is switched.
    pub transaction: Option<Transaction>,
    /// What will be known of its power then.
    pub record: Option<NodePower>,
    /// What to do then.
    pub order: Option<PowerOrder>,
}

/// Transactions to commit in this order, each after the one before was applied. A conflict or a
/// crash between two leaves a state that the next pass goes on from.
#[derive(Debug)]
pub struct Change {
    /// What it is about.
    pub subject: Subject,
    /// What it does, for the log.
    pub what: &'static str,
    /// The transactions.
    pub transactions: Vec<Transaction>,
    /// The status that a cluster will have, in force for further decisions at once.
    pub cluster_status: Option<ClusterStatus>,
    /// The node that a file server will have, counted with it at once.
    pub file_server_node: Option<NodeName>,
}

/// A job and the nodes it shall start on.
#[derive(Clone, Debug)]
pub struct Start {
    /// The job.
    pub record: Arc<JobRecord>,
    /// The revision of the job that was decided on.
    pub record_revision: Revision,
    /// The revision of its status; 0 for none.
    pub status_revision: Revision,
    /// Which start this is, from 1.
    pub attempt: u32,
    /// The nodes of the attempt before in rank order.
    pub previous_nodes: Vec<NodeName>,
    /// Why the attempt before was given up.
    pub requeued: Option<ErrorRecord>,
    /// How many attempts are not counted.
    pub uncounted_attempts: u32,
    /// Its nodes in rank order.
    pub nodes: Vec<StartNode>,
    /// What each of them mounts for it.
    pub mounts: PlannedMounts,
}

/// A node of a [`Start`].
#[derive(Clone, Debug)]
pub struct StartNode {
    /// The node.
    pub record: Arc<NodeRecord>,
    /// What the job gets of it.
    pub grant: Grant,
}

impl Start {
    /// The names of its nodes in rank order.
    pub fn node_names(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.iter().map(|node| &node.record.name)
    }
}
