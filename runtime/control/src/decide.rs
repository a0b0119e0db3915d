//! One pass over a snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use jiff::Timestamp;
use lote_model::allocation::{AllocationPhase, Grant};
use lote_model::cluster::{VmPriority, Withdrawal};
use lote_model::id::{JobUid, NodeName};
use lote_store::{StoreError, Transaction};

use crate::actions::{Action, Change, Decisions, Subject};
use crate::conclusion::Verdict;
use crate::lifecycle::{self, Step};
use crate::power::Sleepers;
use crate::reservation::{Reservation, Rivals};
use crate::room::{Amount, Hold};
use crate::snapshot::{
    ClusterKey, ClusterState, Gang, Hindrance, NodeState, QueueKey, Snapshot, Waiting,
};
use crate::stock::{PromiseId, Stock};
use crate::time::{after, earlier};
use crate::{change, explain, fair_share, file_server, placement, power, scaling};

/// How many finished jobs are erased in one pass; the rest follow when these are done.
const ERASURES_MAX: usize = 64;

/// Decides what to do now. Pure: the same snapshot and time give the same decisions.
///
/// The caller notes them with [`Snapshot::begin`], carries them out, and calls
/// [`Snapshot::finish`] for each once the snapshot has seen what came of it.
pub fn decide(snapshot: &Snapshot, now: Timestamp) -> Decisions {
    let mut pass = Pass::new(snapshot, now);
    pass.step_jobs();
    pass.erase_finished();
    scaling::budget::hold(&mut pass);
    pass.supply_clusters(VmPriority::Dedicated);
    power::wake(&mut pass, VmPriority::Dedicated);
    scaling::preemption::withdraw(&mut pass);
    pass.supply_clusters(VmPriority::LowPriority);
    power::wake(&mut pass, VmPriority::LowPriority);
    for key in snapshot.clusters().keys() {
        scaling::settle(&mut pass, key);
    }
    file_server::settle(&mut pass);
    fair_share::settle(&mut pass);
    explain::explain_waiting(&mut pass);
    power::settle(&mut pass);
    pass.decisions
}

/// A pass in progress: the snapshot, and what this pass has given away already.
pub(crate) struct Pass<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) now: Timestamp,
    pub(crate) decisions: Decisions,
    /// Nodes without a lease for too long.
    pub(crate) lost: BTreeSet<&'a NodeName>,
    /// What this pass grants, by node.
    pub(crate) placed: HashMap<&'a NodeName, Vec<Hold>>,
    /// Nodes that this pass moves from the pool into clusters.
    pub(crate) taken: BTreeMap<ClusterKey, BTreeSet<&'a NodeName>>,
    /// All of them together.
    pub(crate) taken_by_any: HashSet<&'a NodeName>,
    /// On which nodes this pass grants something to jobs of each cluster.
    pub(crate) placed_in: HashMap<&'a ClusterKey, Vec<&'a NodeName>>,
    /// What is left to give.
    pub(crate) stock: Stock<'a>,
    /// What waiting jobs are promised.
    pub(crate) reservations: Vec<Reservation<'a>>,
    /// By which of these each node is promised.
    pub(crate) promised: HashMap<&'a NodeName, PromiseId>,
    /// How much each workspace with waiting jobs has used of late, as it is compared; nothing where
    /// only one waits.
    pub(crate) steps: HashMap<&'a str, u32>,
    /// Clusters of a size that take nodes from each other, once somebody had to know.
    pub(crate) rivals: HashMap<&'a str, Rc<Rivals<'a>>>,
    /// Jobs that this pass starts, or ends because they cannot be started.
    pub(crate) started: BTreeSet<&'a JobUid>,
    /// Nodes that clusters lose though they would rather keep them, and why.
    pub(crate) withdrawn: BTreeMap<ClusterKey, BTreeMap<&'a NodeName, Withdrawal>>,
    /// Nodes of the pool that dedicated clusters need, which those of low priority leave alone.
    pub(crate) claimed: BTreeSet<&'a NodeName>,
    /// How many nodes clusters with a budget can pay for long enough.
    pub(crate) affordable: BTreeMap<ClusterKey, usize>,
    /// Machines that are not on, by their sizes in lower case.
    pub(crate) sleepers: BTreeMap<String, Sleepers<'a>>,
    /// Those of them that this pass switches on.
    pub(crate) woken: BTreeMap<String, BTreeSet<&'a NodeName>>,
    /// Sizes in lower case of which the pool has too few, and the clusters that lack them.
    pub(crate) short: BTreeMap<String, BTreeSet<ClusterKey>>,
    /// How many file servers each node has, those that this pass gives it included.
    pub(crate) serving: BTreeMap<&'a NodeName, usize>,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let mut pass = Self {
            snapshot,
            now,
            decisions: Decisions::default(),
            lost: BTreeSet::new(),
            placed: HashMap::new(),
            taken: BTreeMap::new(),
            taken_by_any: HashSet::new(),
            placed_in: HashMap::new(),
            stock: Stock::new(snapshot),
            reservations: Vec::new(),
            promised: HashMap::new(),
            steps: HashMap::new(),
            rivals: HashMap::new(),
            started: BTreeSet::new(),
            withdrawn: BTreeMap::new(),
            claimed: BTreeSet::new(),
            affordable: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            woken: BTreeMap::new(),
            short: BTreeMap::new(),
            serving: file_server::serving(snapshot),
        };
        pass.sleepers = power::sleepers(&mut pass);
        pass.find_lost_nodes();
        pass.withdraw_drained_nodes();
        pass
    }

    fn find_lost_nodes(&mut self) {
        for (name, since) in self.snapshot.absent_nodes() {
            let lost_at = after(since, self.snapshot.config().node_lost_after);
            if lost_at <= self.now {
                self.lost.insert(name);
            } else {
                self.wake_at(lost_at);
            }
        }
    }

    fn withdraw_drained_nodes(&mut self) {
        for (name, node) in self.snapshot.drained_nodes() {
            if let Some(key) = &node.cluster {
                self.withdraw(key, name, Withdrawal::Drained);
            }
        }
    }

    /// A cluster loses a node. The first reason stays, except that a drained node whose jobs
    /// may end is taken from these for any other reason.
    pub(crate) fn withdraw(&mut self, key: &ClusterKey, name: &'a NodeName, why: Withdrawal) {
        let withdrawn = self.withdrawn.entry(key.clone()).or_default();
        let reason = withdrawn.entry(name).or_insert(why);
        if *reason == Withdrawal::Drained {
            *reason = why;
        }
        self.stock.take_out(name);
    }

    /// Why a cluster loses a node in this pass.
    pub(crate) fn withdrawal(&self, key: &ClusterKey, name: &NodeName) -> Option<Withdrawal> {
        self.withdrawn.get(key)?.get(name).copied()
    }

    /// Whether the cluster of a node loses it in this pass.
    pub(crate) fn is_withdrawn(&self, name: &NodeName) -> bool {
        if self.withdrawn.is_empty() {
            return false;
        }
        let key = self.node(name).and_then(|node| node.cluster.as_ref());
        key.is_some_and(|key| self.withdrawal(key, name).is_some())
    }

    /// Asks for another pass at this time, which lies in the future.
    pub(crate) fn wake_at(&mut self, time: Timestamp) {
        self.decisions.wake_at = earlier(self.decisions.wake_at, Some(time));
    }

    pub(crate) fn node(&self, name: &NodeName) -> Option<&'a NodeState> {
        self.snapshot.node(name)
    }

    pub(crate) fn cluster(&self, key: &ClusterKey) -> Option<&'a ClusterState> {
        self.snapshot.clusters().get(key)
    }

    /// Whether a job of a queue waits on for nodes: nobody starts it, this pass neither.
    pub(crate) fn still_waits(&self, key: &QueueKey, waiting: &Waiting) -> bool {
        !matches!(waiting.hindrance, Hindrance::Starting | Hindrance::Storage)
            && !self.started.contains(&key.uid)
    }

    /// Everything granted on a node, by this pass too.
    pub(crate) fn grants_on<'s>(
        &'s self,
        name: &NodeName,
        node: &'s NodeState,
    ) -> impl Iterator<Item = &'s Grant> + Clone {
        self.holds_on(name, node).map(|hold| &hold.grant)
    }

    /// Everything held on a node, by this pass too.
    pub(crate) fn holds_on<'s>(
        &'s self,
        name: &NodeName,
        node: &'s NodeState,
    ) -> impl Iterator<Item = &'s Hold> + Clone {
        node.holds
            .values()
            .chain(self.placed.get(name).into_iter().flatten())
    }

    /// How much is held on a node.
    pub(crate) fn held_on(&self, name: &NodeName, node: &NodeState) -> Amount {
        let placed = self.placed.get(name).into_iter().flatten();
        placed.fold(node.held, |sum, hold| {
            sum.plus(&Amount::granted(&hold.grant))
        })
    }

    /// Decides to commit transactions. A value that cannot be written as JSON is a defect; it is
    /// logged, and nothing is done.
    pub(crate) fn change(
        &mut self,
        subject: Subject,
        what: &'static str,
        transactions: Result<Vec<Transaction>, StoreError>,
    ) {
        match transactions {
            Ok(transactions) => {
                let change = Change {
                    subject,
                    what,
                    transactions,
                    cluster_status: None,
                    file_server_node: None,
                };
                self.decisions.actions.push(Action::Change(change));
            }
            Err(error) => tracing::error!(?subject, what, %error, "a decision cannot be written"),
        }
    }

    /// Gives clusters of one priority nodes, and their jobs places.
    fn supply_clusters(&mut self, priority: VmPriority) {
        if priority == VmPriority::LowPriority {
            for name in self.claimed.clone() {
                self.stock.take_out(name);
            }
        }
        for key in self.clusters_to_fill(priority) {
            scaling::fill(self, &key);
        }
        placement::place_waiting(self, priority);
    }

    /// Younger ones get what older ones leave.
    fn clusters_to_fill(&self, priority: VmPriority) -> Vec<ClusterKey> {
        let clusters = self.snapshot.clusters().iter();
        let open = clusters.filter(|(_, cluster)| cluster.is_open());
        let mut open: Vec<_> = open
            .filter_map(|(key, cluster)| {
                let record = cluster.record.as_ref()?;
                let is_of_these = record.properties.vm_priority == priority;
                is_of_these.then_some((record.created_at, key))
            })
            .collect();
        open.sort_unstable();
        open.into_iter().map(|(_, key)| key.clone()).collect()
    }

    /// To which cluster's job a node is promised.
    pub(crate) fn promised_to(&self, name: &NodeName) -> Option<&'a ClusterKey> {
        let promise = *self.promised.get(name)?;
        Some(self.reservations.get(promise)?.cluster)
    }

    /// Keeps the nodes of a reservation for its job.
    pub(crate) fn promise(&mut self, reservation: Reservation<'a>) -> PromiseId {
        let id: PromiseId = self.reservations.len();
        for (name, slack) in &reservation.slack {
            self.promised.insert(name, id);
            self.stock.promise(name, id, reservation.at, slack);
        }
        self.reservations.push(reservation);
        id
    }

    /// Notes that a job took so much of a node. Tells what that leaves beside the reservation on
    /// it, if there is one.
    pub(crate) fn take_promised(
        &mut self,
        name: &NodeName,
        amount: &Amount,
        ends_by: Timestamp,
    ) -> Option<Amount> {
        let promise = *self.promised.get(name)?;
        let reservation = self.reservations.get_mut(promise)?;
        reservation.take(name, amount, ends_by)
    }

    fn step_jobs(&mut self) {
        for uid in self.jobs_to_look_at() {
            match lifecycle::next_step(self.snapshot, uid, self.now) {
                Some(step) => self.take_step(uid, step),
                None => self.decisions.nothing_to_do.push(uid.clone()),
            }
        }
    }

    fn jobs_to_look_at(&mut self) -> BTreeSet<&'a JobUid> {
        let mut uids: BTreeSet<&JobUid> = self.snapshot.touched().iter().collect();
        for (at, uid) in self.snapshot.deadlines() {
            if at > self.now {
                self.wake_at(at);
                break;
            }
            uids.insert(uid);
        }
        let leaving = self
            .snapshot
            .clusters()
            .values()
            .filter_map(ClusterState::effective_status);
        let leaving = leaving.flat_map(|status| &status.leaving);
        for name in self.lost.iter().copied().chain(leaving) {
            uids.extend(
                self.node(name)
                    .into_iter()
                    .flat_map(|node| node.holds.keys()),
            );
        }
        uids
    }

    fn take_step(&mut self, uid: &JobUid, step: Step) {
        let gang = self.snapshot.gang(uid);
        let nothing = Gang::default();
        let some_gang = gang.unwrap_or(&nothing);
        let left_over = || Subject::LeftOver(uid.clone());
        match (step, self.snapshot.job(uid)) {
            (Step::StopLeftOver, _) => self.change(
                left_over(),
                "stop left-over",
                change::stop_left_over(some_gang),
            ),
            (Step::RemoveLeftOver, _) => {
                let transactions = change::split(change::remove_parts(some_gang, uid));
                self.change(left_over(), "remove left-over", Ok(transactions));
            }
            (_, None) => {}
            (step, Some(job)) => {
                let subject = Subject::Job(uid.clone());
                match step {
                    Step::Erase => {
                        let used = fair_share::record(self.snapshot, job, gang, self.now);
                        self.change(subject, "erase", Ok(change::erase(job, gang, used)));
                    }
                    Step::Conclude(verdict) => {
                        let used = fair_share::record(self.snapshot, job, gang, self.now);
                        let what = if matches!(verdict, Verdict::Requeued(_)) {
                            "requeue"
                        } else {
                            "conclude"
                        };
                        let transactions = change::conclude(job, gang, verdict, used, self.now);
                        let transactions =
                            transactions.map(|them| change::require_silence(them, &self.lost));
                        self.change(subject, what, transactions);
                    }
                    Step::End(ending) => self.change(
                        subject,
                        "end",
                        change::end(job, some_gang, ending, self.now),
                    ),
                    Step::Run => self.change(
                        subject,
                        "run",
                        change::advance(job, some_gang, AllocationPhase::Run),
                    ),
                    _ => self.change(
                        subject,
                        "stop rest",
                        change::advance(job, some_gang, AllocationPhase::Stop),
                    ),
                }
            }
        }
    }

    fn erase_finished(&mut self) {
        for (uid, erasure) in self.snapshot.erasures().iter().take(ERASURES_MAX) {
            let transactions = change::erase_finished(uid, erasure);
            self.change(
                Subject::Finished(uid.clone()),
                "erase finished",
                Ok(transactions),
            );
        }
    }
}
