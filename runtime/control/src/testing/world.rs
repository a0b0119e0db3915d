//! A store of maps, a snapshot of it, and the time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use lote_model::accounting::Account;
use lote_model::allocation::Allocation;
use lote_model::cluster::ClusterStatus;
use lote_model::export::{Export, ExportReport, ExportState};
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::framework::{PlanError, PlannedLaunch};
use lote_model::id::{JobUid, NodeName};
use lote_model::job::{ErrorRecord, JobRecord, JobStatus};
use lote_model::key;
use lote_model::node::Drain;
use lote_model::plan::{LaunchPlan, Part, Process};
use lote_model::plan_check::CheckedPlan;
use lote_model::report::{Outcome, Report, ReportPhase};
use lote_store::{Event, Transaction};

use super::{ClusterBuilder, JobBuilder, Ledger, NodeBuilder, file_server, worker};
use crate::actions::{Action, Decisions, Start};
use crate::config::Config;
use crate::decide::decide;
use crate::launch;
use crate::snapshot::{Refusal, Snapshot};

/// So many seconds after the epoch.
pub fn at_second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

/// Everything around the decisions, in memory.
#[derive(Debug)]
pub struct World {
    /// The store.
    pub ledger: Ledger,
    /// What the leader knows of it.
    pub snapshot: Snapshot,
    /// The time.
    pub now: Timestamp,
    /// Ranks on which plans have primary processes; all when none.
    pub primary_ranks: Option<BTreeSet<u32>>,
    /// How plugins answer about these jobs instead of with a plan.
    pub refusals: BTreeMap<JobUid, PlanError>,
    /// Nodes that plugins find unsuitable.
    pub unsuitable_nodes: BTreeSet<NodeName>,
    jobs: BTreeMap<JobUid, JobRecord>,
}

impl World {
    /// An empty one at second 1,000.
    pub fn new() -> Self {
        Self::with_config(Config::default())
    }

    /// An empty one with other settings.
    pub fn with_config(config: Config) -> Self {
        Self {
            ledger: Ledger::default(),
            snapshot: Snapshot::new(config),
            now: at_second(1000),
            primary_ranks: None,
            refusals: BTreeMap::new(),
            unsuitable_nodes: BTreeSet::new(),
            jobs: BTreeMap::new(),
        }
    }

    fn follow(&mut self, events: &[Event]) {
        for event in events {
            if let Err(error) = self.snapshot.apply(event, self.now) {
                tracing::error!(%error, "the snapshot refused an event");
            }
        }
    }

    fn put(&mut self, key: &str, value: &impl serde::Serialize) {
        let events = self.ledger.put(key, value);
        self.follow(&events);
    }

    /// A node joins, or describes itself anew, and lives.
    pub fn add_node(&mut self, node: &NodeBuilder) {
        self.put(&key::node(&node.0.name), &node.0);
        self.set_alive(&node.0.name, true);
    }

    /// A node's lease comes or goes.
    pub fn set_alive(&mut self, name: &NodeName, is_alive: bool) {
        let key = key::alive(name);
        let events = if is_alive {
            self.ledger.put(&key, &true)
        } else {
            self.ledger.delete(&key)
        };
        self.follow(&events);
    }

    /// The operator drains a node.
    pub fn drain(&mut self, node: &str) {
        let drain = Drain {
            reason: None,
            requested_at: self.now,
        };
        self.put(&key::drain(&NodeName::new(node)), &drain);
    }

    /// The operator wants it to work again.
    pub fn resume(&mut self, node: &str) {
        let events = self.ledger.delete(&key::drain(&NodeName::new(node)));
        self.follow(&events);
    }

    /// The user creates or changes a cluster.
    pub fn put_cluster(&mut self, cluster: &ClusterBuilder) {
        self.put(&key::cluster(&cluster.0.path), &cluster.0);
    }

    /// The user deletes a cluster.
    pub fn delete_cluster(&mut self, cluster: &ClusterBuilder) {
        let mut cluster = cluster.clone();
        cluster.0.delete_requested_at = Some(self.now);
        self.put_cluster(&cluster);
    }

    /// The user creates, replaces or marks a file server.
    pub fn put_file_server(&mut self, record: &FileServerRecord) {
        self.put(&key::file_server(&record.path), record);
    }

    /// The user creates a file server of this name, with the id `uid-{name}`.
    pub fn create_file_server(&mut self, name: &str) -> FileServerRecord {
        let record = file_server(name, &format!("uid-{name}"));
        self.put_file_server(&record);
        self.settle();
        record
    }

    /// A file server's status, if it has one.
    pub fn file_server_status(&self, record: &FileServerRecord) -> Option<FileServerStatus> {
        self.ledger.get(&key::file_server_status(&record.path))
    }

    /// A node says how far it is with an export.
    pub fn report_export(&mut self, record: &FileServerRecord, node: &str, state: ExportState) {
        let report = ExportReport {
            uid: record.uid.clone(),
            state,
            usage: None,
            reported_at: self.now,
        };
        self.put(&key::exported(&NodeName::new(node), &record.uid), &report);
    }

    /// What a node is to export for a file server.
    pub fn export(&self, record: &FileServerRecord, node: &str) -> Option<Export> {
        self.ledger
            .get(&key::export(&NodeName::new(node), &record.uid))
    }

    /// A node is removed from the cluster.
    pub fn remove_node(&mut self, node: &str) {
        let name = NodeName::new(node);
        for key in [key::node(&name), key::alive(&name)] {
            let events = self.ledger.delete(&key);
            self.follow(&events);
        }
    }

    /// The user submits a job now.
    pub fn submit(&mut self, job: JobBuilder) -> JobUid {
        let mut record = job.0;
        record.created_at = self.now;
        self.put(&key::job(&record.path), &record);
        let uid = record.uid.clone();
        self.jobs.insert(uid.clone(), record);
        uid
    }

    /// The user changes a job: terminates or deletes it. Nothing if it is gone.
    pub fn change_job(&mut self, uid: &JobUid, change: impl FnOnce(&mut JobRecord)) {
        let key = self
            .jobs
            .get(uid)
            .map(|record| key::job(&record.path))
            .unwrap_or_default();
        let Some(mut record) = self.ledger.get::<JobRecord>(&key) else {
            return;
        };
        change(&mut record);
        self.put(&key, &record);
    }

    /// The user terminates a job.
    pub fn terminate(&mut self, uid: &JobUid) {
        let now = self.now;
        self.change_job(uid, |record| record.terminate_requested_at = Some(now));
    }

    /// The user deletes a job.
    pub fn delete(&mut self, uid: &JobUid) {
        let now = self.now;
        self.change_job(uid, |record| record.delete_requested_at = Some(now));
    }

    /// A node reports on the current allocation of a job. Nothing if there is none.
    pub fn report(&mut self, uid: &JobUid, node: &str, phase: ReportPhase) {
        let node = NodeName::new(node);
        let Some(allocation) = self.allocation(uid, &node) else {
            return;
        };
        self.report_attempt(uid, &node, allocation.attempt, allocation.rank, phase);
    }

    /// A node reports, about any attempt.
    pub fn report_attempt(
        &mut self,
        uid: &JobUid,
        node: &NodeName,
        attempt: u32,
        rank: u32,
        phase: ReportPhase,
    ) {
        let report = Report {
            uid: uid.clone(),
            node: node.clone(),
            attempt,
            rank,
            phase,
            directories: Vec::new(),
            at: self.now,
        };
        self.put(&key::report(uid, node), &report);
    }

    /// A node reports the end of its part.
    pub fn end(&mut self, uid: &JobUid, node: &str, outcome: Outcome) {
        let account = Account {
            cpu_seconds: 1.0,
            node_seconds: 2.0,
            ..Account::default()
        };
        self.report(uid, node, ReportPhase::Ended { outcome, account });
    }

    /// What lies on a node for a job.
    pub fn allocation(&self, uid: &JobUid, node: &NodeName) -> Option<Allocation> {
        self.ledger.get(&key::allocation(node, uid))
    }

    /// Everything that is granted.
    pub fn allocations(&self) -> Vec<(NodeName, Allocation)> {
        let read = |item: &lote_store::Versioned| {
            let (node, _) = item.key.strip_prefix(key::ALLOCATIONS)?.split_once('/')?;
            Some((
                NodeName::new(node),
                serde_json::from_slice(&item.value).ok()?,
            ))
        };
        self.ledger
            .list(key::ALLOCATIONS)
            .filter_map(read)
            .collect()
    }

    /// The record of a job as submitted, even if it is erased.
    pub fn submitted(&self, uid: &JobUid) -> Option<&JobRecord> {
        self.jobs.get(uid)
    }

    /// A job's status, if it has one.
    pub fn status(&self, uid: &JobUid) -> Option<JobStatus> {
        self.ledger.get(&key::job_status(&self.jobs.get(uid)?.path))
    }

    /// A cluster's status, if it has one.
    pub fn cluster_status(&self, cluster: &ClusterBuilder) -> Option<ClusterStatus> {
        self.ledger.get(&key::cluster_status(&cluster.0.path))
    }

    /// The names of a job's nodes.
    pub fn nodes_of(&self, uid: &JobUid) -> Vec<String> {
        let status = self.status(uid);
        status
            .into_iter()
            .flat_map(|status| status.nodes)
            .map(|node| node.to_string())
            .collect()
    }

    /// Time passes.
    pub fn advance_seconds(&mut self, seconds: i64) {
        self.now = crate::time::after(self.now, SignedDuration::from_secs(seconds));
    }

    /// Decides, and notes that everything decided is under way.
    pub fn decide(&mut self) -> Decisions {
        let decisions = decide(&self.snapshot, self.now);
        self.snapshot.begin(&decisions, self.now);
        decisions
    }

    /// Carries one action out and lets the snapshot see it.
    pub fn carry_out(&mut self, action: &Action) {
        self.commit_some(action, usize::MAX);
        self.snapshot.finish(&action.subject(), self.now);
    }

    /// Commits at most so many transactions of an action, as if there was a crash then.
    pub fn commit_some(&mut self, action: &Action, count: usize) {
        let transactions = match action {
            Action::Change(change) => change.transactions.clone(),
            Action::Power(power) => power.transaction.clone().into_iter().collect(),
            Action::Start(start) => match self.launch(start) {
                Ok(transactions) => transactions,
                Err(refusal) => {
                    self.snapshot.refuse(&start.record.uid, refusal);
                    return;
                }
            },
        };
        for transaction in transactions.iter().take(count) {
            match self.ledger.commit(transaction) {
                Ok(Some(events)) => self.follow(&events),
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the store refused a transaction");
                    return;
                }
            }
        }
    }

    fn launch(&self, start: &Start) -> Result<Vec<Transaction>, Refusal> {
        let nodes: Vec<NodeName> = start.node_names().cloned().collect();
        match self.refusals.get(&start.record.uid) {
            Some(PlanError::Failed(error)) => return Err(Refusal::Failed(error.clone())),
            Some(PlanError::Unsuitable(error)) => {
                return Err(Refusal::Unsuitable {
                    nodes,
                    error: error.clone(),
                });
            }
            None => {}
        }
        if nodes
            .iter()
            .any(|node| self.unsuitable_nodes.contains(node))
        {
            let error = ErrorRecord::new("Unsuitable", "not these nodes");
            return Err(Refusal::Unsuitable { nodes, error });
        }
        let launch = PlannedLaunch {
            plan: self.plan(start.nodes.len()),
            plugin: "test 0.1.0".into(),
        };
        let failed = |error: lote_store::StoreError| {
            Refusal::Failed(ErrorRecord::new("Store", error.to_string()))
        };
        launch::transactions(start, &launch, self.now).map_err(failed)
    }

    fn plan(&self, node_count: usize) -> CheckedPlan {
        let ranks = 0..u32::try_from(node_count).unwrap_or(u32::MAX);
        let is_primary = |rank: &u32| {
            self.primary_ranks
                .as_ref()
                .is_none_or(|ranks| ranks.contains(rank))
        };
        let part = |rank| {
            if is_primary(&rank) {
                Part::Primary
            } else {
                Part::Supporting
            }
        };
        let worker = |rank| Process {
            part: part(rank),
            ..worker(rank)
        };
        CheckedPlan::trusted_from_store(LaunchPlan {
            processes: ranks.map(worker).collect(),
            ..LaunchPlan::default()
        })
    }

    /// Decides and carries out, until nothing is left to do now.
    pub fn settle(&mut self) {
        // Far more rounds than any test needs; a loop would show as a state that is not reached.
        for _ in 0..200 {
            let decisions = self.decide();
            if decisions.actions.is_empty() {
                return;
            }
            for action in &decisions.actions {
                self.carry_out(action);
            }
        }
    }

    /// The leader starts anew: everything is read from the store again.
    pub fn restart(&mut self) {
        match self.ledger.load(self.snapshot.config().clone(), self.now) {
            Ok(snapshot) => self.snapshot = snapshot,
            Err(error) => tracing::error!(%error, "the snapshot refused a record"),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
