//! Gang placement: all nodes of a job at once, or none; in order, holes filled.
//!
//! Jobs are looked at by priority, then age. The first that does not fit gets a
//! [`Reservation`]; jobs after it may start only where they do not delay it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use lote_model::allocation::Grant;
use lote_model::duration::Seconds;
use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;

use crate::actions::{Action, Start, StartNode, Subject};
use crate::change;
use crate::conclusion::Verdict;
use crate::decide::Pass;
use crate::obstacle::{self, obstacle};
use crate::reservation::Reservation;
use crate::room::{Amount, Hold, Request, cut};
use crate::scaling;
use crate::snapshot::{ClusterKey, ClusterState, Hindrance, LiveJob, NodeState, QueueKey, Waiting};
use crate::time::after_seconds;

/// A node and what a job gets of it.
type Placed<'a> = (&'a NodeName, Grant);

/// One walk along the queue of one cluster.
struct Walk<'a> {
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    /// Nodes on which this walk left nothing.
    full: HashSet<&'a NodeName>,
    /// Requests that did not fit; and that a reservation kept out, with their limit. What does
    /// not fit once does not fit later in the same walk, because nothing is freed in it.
    refused: HashSet<(Request, Option<Seconds>)>,
    /// Jobs that did not fit, until one of them has the reservation.
    blocked: Vec<(&'a QueueKey, Request)>,
    reservation: Option<Reservation<'a>>,
}

/// Starts the waiting jobs of a cluster that can start.
pub(crate) fn place_waiting(pass: &mut Pass<'_>, key: &ClusterKey) {
    let Some((key, cluster)) = pass.snapshot.clusters().get_key_value(key) else {
        return;
    };
    let mut walk = Walk {
        key,
        cluster,
        full: HashSet::new(),
        refused: HashSet::new(),
        blocked: Vec::new(),
        reservation: None,
    };
    for (queue_key, waiting) in &cluster.queue {
        match waiting.hindrance {
            Hindrance::Starting => continue,
            Hindrance::Busy => break,
            Hindrance::None => {}
        }
        if !walk.has_room(pass) {
            break;
        }
        walk.visit(pass, queue_key, waiting);
    }
    let is_short = !cluster.queue.iter().all(|(queue_key, waiting)| {
        waiting.hindrance == Hindrance::Starting || pass.started.contains(&queue_key.uid)
    });
    if is_short {
        scaling::note_short_of_work_nodes(pass, key, cluster);
    }
}

impl<'a> Walk<'a> {
    fn has_room(&self, pass: &Pass<'a>) -> bool {
        let taken = pass.taken.get(self.key).map_or(0, BTreeSet::len);
        let own = self.cluster.partial.len() + self.cluster.idle.len() + taken;
        own > self.full.len() || scaling::free_in_pool(pass, self.key, self.cluster) > 0
    }

    fn visit(&mut self, pass: &mut Pass<'a>, queue_key: &'a QueueKey, waiting: &Waiting) {
        let (request, limit) = (waiting.request, waiting.limit);
        if self.refused.contains(&(request, None)) || self.refused.contains(&(request, Some(limit)))
        {
            return;
        }
        let Some(job) = pass.snapshot.job(&queue_key.uid) else {
            return;
        };
        let Some(mut nodes) = self.find(pass, job, None) else {
            // What one job's plugin does not want, another's may.
            if job.unsuitable.is_none() {
                self.refused.insert((request, None));
            }
            if self.reservation.is_none() {
                self.blocked.push((queue_key, request));
            }
            return;
        };
        self.reserve(pass);
        if let Some(reservation) = &self.reservation {
            let Some(allowed) = self.find(pass, job, Some(reservation)) else {
                self.refused.insert((request, Some(limit)));
                return;
            };
            nodes = allowed;
        }
        self.start(pass, job, nodes);
    }

    /// Makes the reservation of the first job that could ever fit, if one was passed over.
    fn reserve(&mut self, pass: &Pass<'a>) {
        if self.reservation.is_some() {
            return;
        }
        for (queue_key, request) in std::mem::take(&mut self.blocked) {
            let avoided = pass
                .snapshot
                .job(&queue_key.uid)
                .and_then(|job| job.unsuitable.as_ref());
            let avoided = avoided.map(|unsuitable| &unsuitable.nodes);
            self.reservation = Reservation::new(pass, self.key, self.cluster, &request, avoided);
            if self.reservation.is_some() {
                return;
            }
        }
    }

    /// Nodes for the whole gang. Jobs that take a part of a node go where others are already, so
    /// that whole nodes stay free; nodes of the pool come last.
    fn find(
        &self,
        pass: &Pass<'a>,
        job: &LiveJob,
        reservation: Option<&Reservation<'a>>,
    ) -> Option<Vec<Placed<'a>>> {
        let count = job.request.node_count as usize;
        let from_pool = scaling::free_in_pool(pass, self.key, self.cluster);
        let in_use = self
            .cluster
            .partial
            .iter()
            .filter(|_| job.request.share.is_some());
        let taken = pass.taken.get(self.key).into_iter().flatten().copied();
        let own = in_use.chain(&self.cluster.idle).chain(taken);
        let pool = scaling::pool(pass, self.cluster).take(from_pool);
        let ends_by = after_seconds(
            pass.now,
            job.record.properties.constraints.max_wall_clock_time,
        );
        let mut found = Vec::new();
        for name in own.chain(pool) {
            let is_avoided = job
                .unsuitable
                .as_ref()
                .is_some_and(|unsuitable| unsuitable.nodes.contains(name));
            if self.full.contains(name) || is_avoided {
                continue;
            }
            let Some(node) = pass.node(name) else {
                continue;
            };
            let amount = job.request.amount_on(node.record.as_deref()?);
            if reservation.is_some_and(|reservation| !reservation.allows(name, &amount, ends_by)) {
                continue;
            }
            if let Some(grant) = grant(pass, &job.request, &amount, name, node) {
                found.push((name, grant));
            }
            if found.len() == count {
                return Some(found);
            }
        }
        None
    }

    fn start(&mut self, pass: &mut Pass<'a>, job: &'a LiveJob, nodes: Vec<Placed<'a>>) {
        if let Some(error) = obstacle(&job.record.properties) {
            return fail(pass, job, error);
        }
        let ends_by = after_seconds(
            pass.now,
            job.record.properties.constraints.max_wall_clock_time,
        );
        let mut start_nodes = Vec::with_capacity(nodes.len());
        let kept = if cfg!(feature = "planted-split-gang") {
            nodes.len().saturating_sub(1).max(1)
        } else {
            nodes.len()
        };
        for (name, grant) in nodes.into_iter().take(kept) {
            let Some((node, record)) = pass
                .node(name)
                .and_then(|node| Some((node, node.record.as_ref()?)))
            else {
                return;
            };
            start_nodes.push(StartNode {
                record: Arc::clone(record),
                grant: grant.clone(),
            });
            if let Some(reservation) = &mut self.reservation {
                reservation.take(name, &Amount::granted(&grant), ends_by);
            }
            if node.cluster.is_none() {
                scaling::take(pass, self.key, name);
            }
            let is_exclusive = grant.exclusive;
            pass.placed
                .entry(name)
                .or_default()
                .push(Hold { grant, ends_by });
            if is_exclusive
                || pass.held_on(name, node).cpu_millis >= Amount::whole(record).cpu_millis
            {
                self.full.insert(name);
            }
        }
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
            nodes: start_nodes,
        }));
    }
}

/// Ends a job whose turn has come and that cannot be started; its nodes stay free.
fn fail<'a>(pass: &mut Pass<'a>, job: &'a LiveJob, error: ErrorRecord) {
    let uid = &job.record.uid;
    let verdict = Verdict::failed(Some(obstacle::EXIT_CODE), error);
    let transactions = change::conclude(job, pass.snapshot.gang(uid), verdict, pass.now);
    pass.started.insert(uid);
    pass.change(Subject::Job(uid.clone()), "refuse", transactions);
}

fn grant(
    pass: &Pass<'_>,
    request: &Request,
    amount: &Amount,
    name: &NodeName,
    node: &NodeState,
) -> Option<Grant> {
    let record = node
        .record
        .as_deref()
        .filter(|_| !pass.is_withdrawn(name, node))?;
    // Sums first: most nodes of a busy cluster are refused here, without making lists.
    if !amount
        .plus(&pass.held_on(name, node))
        .is_within(&Amount::whole(record))
    {
        return None;
    }
    cut(
        request,
        record,
        pass.grants_on(name, node),
        pass.snapshot.config().ports_per_allocation,
    )
}

/// How many nodes could take their part of such a job now.
pub(crate) fn count_free(
    pass: &Pass<'_>,
    key: &ClusterKey,
    cluster: &ClusterState,
    request: &Request,
) -> usize {
    let taken = pass.taken.get(key).into_iter().flatten().copied();
    let pool = scaling::pool(pass, cluster).take(scaling::free_in_pool(pass, key, cluster));
    let names = cluster
        .partial
        .iter()
        .chain(&cluster.idle)
        .chain(taken)
        .chain(pool);
    let fits = |name: &&NodeName| {
        pass.node(name).is_some_and(|node| {
            let amount = node
                .record
                .as_deref()
                .map(|record| request.amount_on(record))
                .unwrap_or_default();
            grant(pass, request, &amount, name, node).is_some()
        })
    };
    names.filter(fits).count()
}

#[cfg(test)]
mod tests;
