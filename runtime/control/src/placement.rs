//! Gang placement: all nodes of a job at once, or none; in order, holes filled.
//!
//! There is one order over all waiting jobs: by priority, then the share of the workspace
//! ([`fair_share`]), then age. So clusters that take nodes from
//! the same pool get them in the order of their jobs, whichever cluster each is on. The first job of
//! a cluster that does not fit gets a [`Reservation`]; jobs after it, of its cluster and of all
//! that compete for its nodes, may start only where they do not delay it.
//!
//! Jobs that are alike stand in one class, and a class of which one job does not fit is left out of
//! the rest of the pass. So a pass costs what it starts, and something for each class, however
//! many jobs wait.

use std::cmp::Reverse;
use std::collections::btree_map;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use lote_model::allocation::Grant;
use lote_model::cluster::VmPriority;
use lote_model::duration::Seconds;
use lote_model::gang_share;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::ErrorRecord;
use lote_model::node::NodeRecord;
use lote_model::state::Priority;

use crate::actions::{Action, Start, StartNode, Subject};
use crate::change;
use crate::conclusion::Verdict;
use crate::decide::Pass;
use crate::fair_share;
use crate::free::{Choice, FreeNodes, Need, Slot};
use crate::nearness::Place;
use crate::obstacle::{self, surroundings};
use crate::planted::Fault;
use crate::pool;
use crate::reservation::Reservation;
use crate::room::{Amount, Hold, Request, cut};
use crate::snapshot::{Class, ClusterKey, ClusterState, LiveJob, NodeState, QueueKey};
use crate::stock::{PromiseId, ShelfId};
use crate::time::after_seconds;

/// How many jobs that compete for the same nodes are promised some: each costs time in every pass,
/// and those further behind get their turn when these have started.
const RESERVATIONS_MAX: usize = 16;

/// A node and what a job gets of it.
type Placed<'a> = (&'a NodeName, Grant);

/// A cluster with waiting jobs.
struct Line<'a> {
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    /// Where its nodes are.
    own: ShelfId,
    /// Where nodes are that it may take.
    pool: Option<ShelfId>,
    market: usize,
    /// How many of its jobs this pass has started.
    started: usize,
    /// What one of its jobs is promised.
    reservation: Option<PromiseId>,
}

/// Clusters whose jobs compete for the same nodes: all automatic ones of a size, or one with a
/// fixed number of nodes.
#[derive(Default)]
struct Market<'a> {
    lines: Vec<usize>,
    /// How many reservations there are for its jobs.
    reservations: usize,
    /// The first jobs that were passed over, and have no reservation yet.
    blocked: Vec<(usize, &'a LiveJob)>,
}

/// The place of a job among all that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    priority: Reverse<Priority>,
    /// How much the workspace has used of late; less comes first.
    step: u32,
    created_at: Timestamp,
    uid: &'a JobUid,
}

impl<'a> Rank<'a> {
    fn of(key: &'a QueueKey, step: u32) -> Self {
        Self {
            priority: key.priority,
            step,
            created_at: key.created_at,
            uid: &key.uid,
        }
    }
}

/// How far a walk has come in one class.
struct Cursor<'a> {
    line: usize,
    share: usize,
    class: &'a Class,
    rest: btree_map::Iter<'a, QueueKey, Seconds>,
}

/// A workspace with waiting jobs.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// What it has used of late, and what this pass gives it.
    used: f64,
    step: u32,
}

/// One walk along all queues together.
#[derive(Default)]
struct Walk<'a> {
    lines: Vec<Line<'a>>,
    markets: Vec<Market<'a>>,
    shares: Vec<Share>,
    cursors: Vec<Cursor<'a>>,
    /// The first job of each class, with its cursor.
    heads: BinaryHeap<Reverse<(Rank<'a>, usize)>>,
    /// Requests that did not fit on nodes for a line. What does not fit once does not fit later
    /// in the same walk, because nothing is freed in it.
    refused: HashSet<(usize, Request)>,
    /// Requests that reservations kept out, with the shortest limit that was.
    held_back: HashMap<(usize, Request), Seconds>,
}

/// Starts the waiting jobs that can start, of clusters of one priority.
pub(crate) fn place_waiting(pass: &mut Pass<'_>, priority: VmPriority) {
    let mut walk = Walk::new(pass, priority);
    while let Some(Reverse((rank, cursor))) = walk.heads.pop() {
        let step = walk.shares[walk.cursors[cursor].share].step;
        if rank.step != step {
            // Its workspace got nodes since it was lined up.
            walk.heads.push(Reverse((Rank { step, ..rank }, cursor)));
        } else if walk.visit(pass, rank, cursor) {
            walk.push(cursor);
        }
    }
    walk.finish(pass);
}

impl<'a> Walk<'a> {
    fn new(pass: &mut Pass<'a>, priority: VmPriority) -> Self {
        let mut walk = Self::default();
        let is_low = priority == VmPriority::LowPriority;
        let mut markets: HashMap<&str, usize> = HashMap::new();
        for (key, cluster) in pass.snapshot.clusters() {
            let is_of_these = cluster.is_open() && cluster.is_low_priority() == is_low;
            if !is_of_these || cluster.classes.is_empty() {
                continue;
            }
            // The key of a cluster is no size, it has slashes.
            let is_automatic = cluster.is_automatic();
            let name: &str = if is_automatic { &cluster.size } else { key };
            let market = *markets.entry(name).or_insert(walk.markets.len());
            if market == walk.markets.len() {
                walk.markets.push(Market::default());
            }
            walk.markets[market].lines.push(walk.lines.len());
            walk.lines.push(Line {
                key,
                cluster,
                own: pass.stock.of_cluster(key),
                pool: is_automatic.then(|| pass.stock.of_pool(&cluster.size)),
                market,
                started: 0,
                reservation: None,
            });
        }
        let share_of = walk.share_out(pass);
        for market in 0..walk.markets.len() {
            walk.enter(pass, market, &share_of);
        }
        walk
    }

    /// Finds what each workspace with waiting jobs has used. Where there is only one, that makes
    /// no difference.
    fn share_out(&mut self, pass: &mut Pass<'a>) -> HashMap<&'a str, usize> {
        let mut share_of: HashMap<&str, usize> = HashMap::new();
        let classes = self
            .lines
            .iter()
            .flat_map(|line| line.cluster.classes.keys());
        for class in classes {
            let next = share_of.len();
            share_of.entry(&class.workspace).or_insert(next);
        }
        self.shares = vec![Share::default(); share_of.len()];
        if share_of.len() > 1 {
            let half_life = pass.snapshot.config().usage_half_life;
            for (workspace, share) in &share_of {
                let known = pass.snapshot.workspaces().get(*workspace);
                let used = known.map_or(0.0, |it| fair_share::used(it, pass.now, half_life));
                let step = fair_share::step(used);
                self.shares[*share] = Share { used, step };
                pass.steps.insert(workspace, step);
            }
        }
        share_of
    }

    /// Counts what a job got.
    fn charge(&mut self, pass: &Pass<'a>, share: usize, job: &LiveJob, nodes: &[Placed<'a>]) {
        if self.shares.len() > 1 {
            let record = nodes
                .first()
                .and_then(|(name, _)| pass.node(name)?.record.as_deref());
            let held = fair_share::nodes_held(&job.request, record);
            let half_life = pass.snapshot.config().usage_half_life;
            let share = &mut self.shares[share];
            share.used += fair_share::ahead(held, half_life);
            share.step = fair_share::step(share.used);
        }
    }

    /// Lines up the jobs of a market, if it has anything to give.
    fn enter(&mut self, pass: &Pass<'a>, market: usize, share_of: &HashMap<&'a str, usize>) {
        let lines = &self.markets[market].lines;
        let has_free = |line: &Line<'_>| {
            let pool = line.pool.is_some_and(|pool| !pass.stock.is_empty(pool));
            pool || !pass.stock.is_empty(line.own)
        };
        if !lines.iter().any(|line| has_free(&self.lines[*line])) {
            return;
        }
        for line in lines.clone() {
            for (class, keys) in &self.lines[line].cluster.classes {
                self.cursors.push(Cursor {
                    line,
                    share: share_of.get(&*class.workspace).copied().unwrap_or_default(),
                    class,
                    rest: keys.iter(),
                });
                self.push(self.cursors.len() - 1);
            }
        }
    }

    /// Lines up the next job of a class.
    fn push(&mut self, cursor: usize) {
        let Cursor {
            line, class, rest, ..
        } = &mut self.cursors[cursor];
        // Those that reservations keep out are passed over together.
        let held_back = self.held_back.get(&(*line, class.request));
        let mut rest = rest.filter(|(_, limit)| held_back.is_none_or(|held| *limit < held));
        if let Some((key, _)) = rest.next() {
            let step = self.shares[self.cursors[cursor].share].step;
            self.heads.push(Reverse((Rank::of(key, step), cursor)));
        }
    }

    /// Looks at one job; tells whether others of its class may fit as well.
    fn visit(&mut self, pass: &mut Pass<'a>, rank: Rank<'a>, cursor: usize) -> bool {
        let Cursor {
            line, class, share, ..
        } = self.cursors[cursor];
        let request = class.request;
        if self.refused.contains(&(line, request)) {
            return false;
        }
        let Some(job) = pass.snapshot.job(rank.uid) else {
            return true;
        };
        let is_picky = class.picky.is_some();
        if !self.fits(pass, line, job) {
            // What one job's plugin does not want, another's may.
            if !is_picky {
                self.refused.insert((line, request));
            }
            self.block(line, job);
            return false;
        }
        self.reserve(pass, self.lines[line].market);
        let Some(nodes) = self.find(pass, line, job) else {
            if !is_picky {
                let limit = job.record.properties.constraints.max_wall_clock_time;
                let held_back = self.held_back.entry((line, request)).or_insert(limit);
                *held_back = limit.min(*held_back);
            }
            self.block(line, job);
            return !is_picky;
        };
        if job.in_flight.is_some() {
            // Its status is being written. Nobody may overtake it meanwhile.
            self.grant(pass, line, job, &nodes);
            return true;
        }
        self.charge(pass, share, job, &nodes);
        self.start(pass, line, job, nodes);
        true
    }

    /// Notes that a job was passed over.
    fn block(&mut self, line: usize, job: &'a LiveJob) {
        let Line {
            market,
            reservation,
            ..
        } = self.lines[line];
        let is_promised_enough = self.markets[market].reservations == RESERVATIONS_MAX;
        if reservation.is_none() && !is_promised_enough {
            self.markets[market].blocked.push((line, job));
        }
    }

    /// Makes the reservations of the jobs that were passed over: for each cluster that of the first
    /// that could ever fit.
    fn reserve(&mut self, pass: &mut Pass<'a>, market: usize) {
        for (line, job) in std::mem::take(&mut self.markets[market].blocked) {
            let line = &mut self.lines[line];
            let market = &mut self.markets[market];
            if line.reservation.is_some() || market.reservations == RESERVATIONS_MAX {
                continue;
            }
            if let Some(reservation) = Reservation::new(pass, line.key, line.cluster, job) {
                market.reservations += 1;
                line.reservation = Some(pass.promise(reservation));
            }
        }
    }

    /// Whether there are enough nodes, reservations aside.
    fn fits(&self, pass: &Pass<'a>, line: usize, job: &LiveJob) -> bool {
        let sources = Sources::new(pass, &self.lines[line], job, None);
        sources.split(job.request.node_count as usize).is_some()
    }

    /// Nodes for the whole gang, of which no reservation is delayed. Its own nodes come first,
    /// those of the pool last.
    fn find(&self, pass: &Pass<'a>, line: usize, job: &LiveJob) -> Option<Vec<Placed<'a>>> {
        let sources = Sources::new(pass, &self.lines[line], job, Some(ends_by(pass, job)));
        let (from_own, from_pool) = sources.split(job.request.node_count as usize)?;
        let slot = |name: &NodeName| pass.stock.slot(name);
        let mut names = sources.choice(&sources.own, &slot).pick(from_own, &[]);
        let near: Vec<Place> = names.iter().map(|name| slot(name).place).collect();
        names.extend(sources.choice(&sources.pool, &slot).pick(from_pool, &near));
        let placed = names.iter().map(|name| {
            let (name, node) = pass.snapshot.nodes().get_key_value(name)?;
            let grant = cut(
                &job.request,
                node.record.as_deref()?,
                pass.grants_on(name, node),
                pass.snapshot.config().ports_per_allocation,
            )?;
            Some((name, grant))
        });
        placed.collect()
    }

    /// Gives a job what it was found, so that this pass gives it to nobody else.
    fn grant(&self, pass: &mut Pass<'a>, line: usize, job: &LiveJob, nodes: &[Placed<'a>]) {
        let ends_by = ends_by(pass, job);
        for (name, grant) in nodes {
            let Some(node) = pass.node(name) else {
                continue;
            };
            let is_starting = job.in_flight.is_none();
            if node.cluster.is_none() && is_starting {
                pool::take(pass, self.lines[line].key, name);
            }
            let hold = Hold {
                grant: grant.clone(),
                ends_by,
            };
            let placed = pass.placed.entry(name).or_default();
            if placed.is_empty() {
                let in_cluster = pass.placed_in.entry(self.lines[line].key).or_default();
                in_cluster.push(name);
            }
            placed.push(hold);
            let slack = pass.take_promised(name, &Amount::granted(grant), ends_by);
            // What is set aside in the pool stays there as a whole: with its rest another cluster
            // would get the node.
            let has_rest = node.cluster.is_some() || is_starting;
            let record = node.record.as_deref().filter(|_| has_rest);
            let left = record.and_then(|record| left_of(pass, name, node, record));
            pass.stock.give(name, left, slack);
        }
    }

    fn start(
        &mut self,
        pass: &mut Pass<'a>,
        line: usize,
        job: &'a LiveJob,
        mut nodes: Vec<Placed<'a>>,
    ) {
        self.lines[line].started += 1;
        let mut mounts = match surroundings(pass.snapshot, job) {
            Ok(mounts) => mounts,
            Err(error) => return fail(pass, job, error),
        };
        if Fault::SplitGang.is_planted() {
            nodes.truncate(nodes.len().saturating_sub(1).max(1));
        }
        self.grant(pass, line, job, &nodes);
        let start_node = |(name, grant)| {
            Some(StartNode {
                record: Arc::clone(pass.node(name)?.record.as_ref()?),
                grant,
            })
        };
        let nodes: Vec<StartNode> = nodes.into_iter().filter_map(start_node).collect();
        let records: Vec<_> = nodes.iter().map(|node| &*node.record).collect();
        mounts.share = gang_share::plan(&mounts, &records, &job.record.uid, job.attempt() + 1);
        pass.started.insert(&job.record.uid);
        let status = job.status.as_ref();
        pass.decisions.actions.push(Action::Start(Start {
            record: Arc::clone(&job.record),
            record_revision: job.record_revision,
            status_revision: job.status_revision,
            attempt: job.attempt() + 1,
            previous_nodes: status
                .map(|status| status.previous_nodes.clone())
                .unwrap_or_default(),
            requeued: status.and_then(|status| status.requeued.clone()),
            uncounted_attempts: status.map_or(0, |status| status.uncounted_attempts),
            nodes,
            mounts,
        }));
    }

    /// Notes who lacks nodes, and whose idle nodes others wait for.
    fn finish(&mut self, pass: &mut Pass<'a>) {
        for market in 0..self.markets.len() {
            let lines = self.markets[market].lines.iter();
            let mut lines = lines.map(|line| &self.lines[*line]);
            if lines.any(|line| line.pool.is_some() && !pass.stock.is_empty(line.own)) {
                self.reserve(pass, market);
            }
        }
        for line in &self.lines {
            let waiting: usize = line.cluster.classes.values().map(BTreeMap::len).sum();
            let is_growing = line.pool.is_some() && pool::room(pass, line.key, line.cluster) > 0;
            if waiting > line.started && is_growing {
                pool::note_short(pass, line.key, line.cluster);
            }
        }
    }
}

/// Where the nodes of a job can come from.
struct Sources<'p> {
    own: Vec<&'p FreeNodes>,
    pool: Vec<&'p FreeNodes>,
    /// How many the cluster may take from the pool.
    takeable: usize,
    need: Need,
    avoided: Option<&'p BTreeSet<NodeName>>,
    pass: &'p Pass<'p>,
}

impl<'p> Sources<'p> {
    /// With a time, only what a job that ends by then may use beside reservations.
    fn new<'a: 'p>(
        pass: &'p Pass<'a>,
        line: &Line<'a>,
        job: &'p LiveJob,
        ends_by: Option<Timestamp>,
    ) -> Self {
        let promised = line.reservation.and_then(|id| pass.reservations.get(id));
        let kept = match (promised, ends_by) {
            (Some(promised), Some(ends_by)) if ends_by > promised.at => promised.foreign,
            _ => 0,
        };
        let takeable = pool::takeable(pass, line.key, line.cluster).saturating_sub(kept);
        let pool = line.pool.filter(|_| takeable > 0);
        Self {
            own: pass.stock.sets(line.own, ends_by),
            pool: pool.map_or_else(Vec::new, |pool| pass.stock.sets(pool, ends_by)),
            takeable,
            need: Need::of(&job.request, pass.snapshot.config().ports_per_allocation),
            avoided: job.unsuitable.as_ref().map(|unsuitable| &unsuitable.nodes),
            pass,
        }
    }

    fn choice<'c>(
        &'c self,
        sets: &'c [&'c FreeNodes],
        slot: &'c dyn Fn(&NodeName) -> Slot,
    ) -> Choice<'c> {
        Choice {
            sets,
            need: self.need,
            avoided: self.avoided,
            slot,
        }
    }

    /// How many nodes to take of the cluster and of the pool; none if there are too few.
    fn split(&self, count: usize) -> Option<(usize, usize)> {
        let slot = |name: &NodeName| self.pass.stock.slot(name);
        let from_own = self.choice(&self.own, &slot).count(count).min(count);
        let missing = count - from_own;
        let is_there =
            missing <= self.takeable && self.choice(&self.pool, &slot).count(missing) >= missing;
        is_there.then_some((from_own, missing))
    }
}

/// When the job ends at the latest if it starts now.
fn ends_by(pass: &Pass<'_>, job: &LiveJob) -> Timestamp {
    let limit = job.record.properties.constraints.max_wall_clock_time;
    after_seconds(pass.now, limit)
}

/// What is left of a node beside everything that is held of it now.
fn left_of(
    pass: &Pass<'_>,
    name: &NodeName,
    node: &NodeState,
    record: &NodeRecord,
) -> Option<Slot> {
    let held = pass.held_on(name, node);
    let is_full = pass.grants_on(name, node).any(|grant| grant.exclusive)
        || held.cpu_millis >= Amount::whole(record).cpu_millis;
    let ports = pass.snapshot.config().ports_per_allocation;
    (!is_full).then(|| node.slot(record, &held, pass.holds_on(name, node), ports))
}

/// Ends a job whose turn has come and that cannot be started; its nodes stay free.
pub(crate) fn fail<'a>(pass: &mut Pass<'a>, job: &'a LiveJob, error: ErrorRecord) {
    let uid = &job.record.uid;
    let verdict = Verdict::failed(Some(obstacle::EXIT_CODE), error);
    let transactions = change::conclude(job, pass.snapshot.gang(uid), verdict, None, pass.now);
    pass.started.insert(uid);
    pass.change(Subject::Job(uid.clone()), "refuse", transactions);
}

/// How many nodes could take their part of such a job now.
pub(crate) fn count_free<'a>(
    pass: &mut Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    request: &Request,
) -> usize {
    let own = pass.stock.of_cluster(key);
    let takeable = pool::takeable(pass, key, cluster);
    let pool = (takeable > 0).then(|| pass.stock.of_pool(&cluster.size));
    let need = Need::of(request, pass.snapshot.config().ports_per_allocation);
    let slot = |name: &NodeName| pass.stock.slot(name);
    let count = |shelf| {
        let sets = pass.stock.sets(shelf, None);
        let choice = Choice {
            sets: &sets,
            need,
            avoided: None,
            slot: &slot,
        };
        choice.count(usize::MAX)
    };
    let in_pool = pool.map_or(0, count) + count_claimed(pass, cluster, request);
    count(own) + in_pool.min(takeable)
}

/// How many nodes of the pool wait for a dedicated cluster with such a job.
fn count_claimed(pass: &Pass<'_>, cluster: &ClusterState, request: &Request) -> usize {
    if cluster.is_low_priority() {
        return 0;
    }
    let ports = pass.snapshot.config().ports_per_allocation;
    let suits = |name: &&&NodeName| {
        let record = pass.node(name).and_then(|node| node.record.as_deref());
        record.is_some_and(|record| {
            record.size.eq_ignore_ascii_case(&cluster.size) && request.is_possible_on(record, ports)
        })
    };
    pass.claimed.iter().filter(suits).count()
}

#[cfg(test)]
mod tests;
