//! Why a job waits, in a sentence of its status.
//!
//! The jobs at the head of each queue learn exactly what they lack, when it is expected and who
//! comes first; those further behind only how many are before them, roughly, so that their texts
//! do not change with every start. Of jobs of other workspaces nobody learns more than that there
//! are some.
//!
//! Looking costs time too: where many jobs wait, only a part of them is looked at each time, in
//! turn.

pub(crate) mod site;

use std::collections::HashMap;

use jiff::Timestamp;
use lote_model::quantity::format_bytes;

use self::site::Site;
use crate::abilities::{Abilities, Named};
use crate::actions::Subject;
use crate::change;
use crate::decide::Pass;
use crate::mounts;
use crate::placement;
use crate::pool;
use crate::reservation::Reservation;
use crate::room::{Request, Share};
use crate::scaling::budget;
use crate::snapshot::{ClusterKey, ClusterState, Hindrance, LiveJob, QueueKey, Waiting};
use crate::time::after;

/// How many jobs at the head of each queue learn exactly what they lack; the others wait for
/// these first.
const HEAD: usize = 16;

/// How many heads of queues are looked at each time.
const HEADS_LOOKED_AT: usize = 256;

/// How many of the other jobs are looked at each time.
const OTHERS_LOOKED_AT: usize = 1024;

/// Looks at the explanations of waiting jobs, if it is time to, and writes those that changed.
pub(crate) fn explain_waiting(pass: &mut Pass<'_>) {
    let clusters = pass.snapshot.clusters().iter();
    let open = clusters.filter(|(_, cluster)| cluster.is_open() && !cluster.queue.is_empty());
    let queues: Vec<Queue<'_>> = open.map(|(key, cluster)| Queue { key, cluster }).collect();
    if queues.is_empty() {
        return;
    }
    let config = pass.snapshot.config();
    let (every, mut left) = (config.explain_every, config.explanations_max);
    let due = pass.snapshot.explained_at().map(|at| after(at, every));
    if let Some(due) = due.filter(|due| *due > pass.now) {
        pass.wake_at(due);
        return;
    }
    pass.decisions.explained = true;
    pass.wake_at(after(pass.now, every));
    if left == 0 {
        return;
    }
    let mut round = Round::new(pass, &queues);
    for queue in &queues {
        round.explain(pass, *queue, &mut left);
    }
}

/// A cluster and its waiting jobs.
#[derive(Clone, Copy)]
struct Queue<'a> {
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
}

/// What all explanations of one time have in common.
struct Round<'a> {
    site: Site<'a>,
    /// The first job of each queue whose cluster takes nodes from the pool, by size.
    first: HashMap<&'a str, Vec<(&'a QueueKey, &'a ClusterKey)>>,
    /// How many nodes are free for requests of a cluster.
    free: HashMap<(&'a ClusterKey, Request), usize>,
    turns: Turns,
}

/// Whose turn it is. Depends on nothing but the time, so that any leader goes on in turn.
#[derive(Clone, Copy)]
struct Turns {
    round: u64,
    heads: u64,
    others: u64,
}

impl Turns {
    fn has(self, key: &QueueKey, is_head: bool) -> bool {
        let turns = if is_head { self.heads } else { self.others };
        // FNV-1a: any hash that is the same everywhere does.
        let hash = key
            .uid
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        hash % turns == self.round % turns
    }
}

impl<'a> Round<'a> {
    fn new(pass: &Pass<'a>, queues: &[Queue<'a>]) -> Self {
        let mut first: HashMap<&str, Vec<_>> = HashMap::new();
        let (mut heads, mut others) = (0, 0);
        for queue in queues {
            let length = queue.cluster.queue.len();
            heads += length.min(HEAD);
            others += length.saturating_sub(HEAD);
            let mut waiting = queue.cluster.queue.iter();
            let waits_for_nodes = |it: &(&QueueKey, &Waiting)| it.1.hindrance != Hindrance::Storage;
            if queue.cluster.is_automatic()
                && let Some((key, _)) = waiting.find(waits_for_nodes)
            {
                let of_size = first.entry(&queue.cluster.size).or_default();
                of_size.push((key, queue.key));
            }
        }
        let every = pass.snapshot.config().explain_every.as_millis().max(1);
        let round = i128::from(pass.now.as_millisecond()) / every;
        Self {
            site: Site::of(pass),
            first,
            free: HashMap::new(),
            turns: Turns {
                round: u64::try_from(round).unwrap_or_default(),
                heads: heads.div_ceil(HEADS_LOOKED_AT).max(1) as u64,
                others: others.div_ceil(OTHERS_LOOKED_AT).max(1) as u64,
            },
        }
    }

    fn explain(&mut self, pass: &mut Pass<'a>, queue: Queue<'a>, left: &mut usize) {
        for (position, (queue_key, waiting)) in queue.cluster.queue.iter().enumerate() {
            if *left == 0 {
                return;
            }
            let is_head = position < HEAD;
            if !matches!(waiting.hindrance, Hindrance::None | Hindrance::Storage)
                || !self.turns.has(queue_key, is_head)
                || pass.started.contains(&queue_key.uid)
            {
                continue;
            }
            let job = pass.snapshot.job(&queue_key.uid);
            let may_be_told = |job: &&LiveJob| job.in_flight.is_none() && has_waited(pass, job);
            let Some(job) = job.filter(may_be_told) else {
                continue;
            };
            let lacks_storage = waiting.hindrance == Hindrance::Storage;
            let text = if lacks_storage {
                mounts::why_it_waits(pass.snapshot, job).unwrap_or_default()
            } else if is_head {
                self.why(pass, queue, queue_key, job)
            } else {
                format!(
                    "waits behind {} or more other jobs for cluster '{}'",
                    roughly(position),
                    queue.cluster.name()
                )
            };
            let status = job.status.as_ref();
            let known = status.and_then(|status| status.waiting.as_deref());
            if known != Some(text.as_str()) {
                *left -= 1;
                let subject = Subject::Job(queue_key.uid.clone());
                pass.change(subject, "explain", change::explain(job, text));
            }
        }
    }

    fn why(
        &mut self,
        pass: &mut Pass<'a>,
        queue: Queue<'a>,
        queue_key: &QueueKey,
        job: &'a LiveJob,
    ) -> String {
        let node_count = job.request.node_count;
        if let Some(text) = budget::why_it_waits(pass, queue.key, queue.cluster, node_count) {
            return text;
        }
        if let Some(never) = self.never(pass, queue.cluster, &job.request) {
            return never;
        }
        let before = before_in_queue(pass, queue, queue_key, job);
        let (free, expected) = self.lacks(pass, queue, job, before.is_none());
        let missing = (job.request.node_count as usize).saturating_sub(free);
        let mut parts = vec![needs(queue.cluster, &job.request, free)];
        if missing == 0 {
            parts.extend(kept_for(pass, job));
        } else {
            parts.extend(pool::limit(pass, queue.key, queue.cluster, missing));
        }
        parts.extend(expected.map(|at| format!("enough are expected by {}", second(at))));
        parts.extend(before.or_else(|| self.before_elsewhere(pass, queue, queue_key, job)));
        parts.extend(used_more(pass, job));
        let away = self.site.size(&queue.cluster.size);
        parts.extend(away.and_then(site::Size::away));
        parts.join("; ")
    }

    /// How many nodes are free for a request of a cluster; and for the first job of a queue, and
    /// those that are promised nodes, when enough are at the latest.
    fn lacks(
        &mut self,
        pass: &mut Pass<'a>,
        queue: Queue<'a>,
        job: &'a LiveJob,
        is_first: bool,
    ) -> (usize, Option<Timestamp>) {
        let known = self.free.entry((queue.key, job.request));
        let free = *known
            .or_insert_with(|| placement::count_free(pass, queue.key, queue.cluster, &job.request));
        let mut reservations = pass.reservations.iter();
        let own = reservations.find(|reservation| *reservation.uid == job.record.uid);
        let expected = match own {
            Some(reservation) => Some(reservation.at),
            // When the others can start decides for those behind.
            None if is_first => {
                let reservation = Reservation::new(pass, queue.key, queue.cluster, job);
                reservation.map(|reservation| reservation.at)
            }
            None => None,
        };
        // What is free now is not what it waits for.
        (free, expected.filter(|at| *at > pass.now))
    }

    /// Who comes first on other clusters of the size.
    fn before_elsewhere(
        &self,
        pass: &Pass<'a>,
        queue: Queue<'a>,
        queue_key: &QueueKey,
        job: &LiveJob,
    ) -> Option<String> {
        queue.cluster.is_automatic().then_some(())?;
        let others = self.first.get(queue.cluster.size.as_str())?.iter();
        let is_low = queue.cluster.is_low_priority();
        let comes_first = |key: &QueueKey, other: &ClusterKey| {
            let other = pass
                .cluster(other)
                .is_some_and(ClusterState::is_low_priority);
            if other == is_low {
                key < queue_key
            } else {
                is_low
            }
        };
        let mut others =
            others.filter(|(key, other)| *other != queue.key && comes_first(key, other));
        let first = pass.snapshot.job(&others.next()?.0.uid)?;
        Some(if first.workspace == job.workspace {
            format!("jobs of cluster '{}' come first", first.record.cluster.name)
        } else {
            "jobs of other workspaces come first".to_owned()
        })
    }

    /// Why it will wait until somebody changes something.
    fn never(&self, pass: &Pass<'_>, cluster: &ClusterState, request: &Request) -> Option<String> {
        let record = cluster.record.as_ref()?;
        let (name, size) = (cluster.name(), &record.properties.vm_size);
        let asks = nodes(request.node_count);
        if let Some(obstacle) = record.properties.setup_obstacles().first() {
            return Some(format!("cluster '{name}': {}", obstacle.message));
        }
        if request.node_count > cluster.nodes_max() {
            let most = nodes(cluster.nodes_max());
            return Some(format!(
                "asks for {asks}, cluster '{name}' has at most {most}: scale the cluster up"
            ));
        }
        let Some(of_size) = self.site.size(&cluster.size) else {
            return Some(format!(
                "asks for {asks} of size '{size}', and no machine of that size has joined"
            ));
        };
        let ports = pass.snapshot.config().ports_per_allocation;
        let able = of_size.able(request, ports);
        let wanted = request.node_count as usize;
        if able < wanted
            && let Some(lack) = lacking(of_size, request, ports)
        {
            return Some(format!(
                "asks for {asks} {}, and {able} of size '{size}' offer that: `lote node status` says \
                 under '{}' what the others lack",
                lack.words, lack.capability
            ));
        }
        if able == 0 {
            let asks = request
                .share
                .as_ref()
                .map_or_else(|| "a whole node and its ports".to_owned(), per_node);
            return Some(format!(
                "asks for {asks} on each node, and no node of size '{size}' has that much: ask for less"
            ));
        }
        (able < wanted).then(|| {
            format!("asks for {asks}, and only {able} of size '{size}' can hold it: add machines")
        })
    }
}

/// What too few nodes of a size offer, of which there would be enough otherwise.
fn lacking(of_size: &site::Size<'_>, request: &Request, ports: u16) -> Option<Named> {
    let too_few = |needs: Abilities| {
        let able = of_size.able(&Request { needs, ..*request }, ports);
        able < request.node_count as usize
    };
    if too_few(Abilities::default()) {
        return None;
    }
    let mut all = request.needs.each();
    // Where there is enough of each, and too little together, any tells what to look at.
    let any = all.clone().next();
    all.find(|one| too_few(one.ability)).or(any)
}

/// Who comes first on the same cluster.
fn before_in_queue(
    pass: &Pass<'_>,
    queue: Queue<'_>,
    queue_key: &QueueKey,
    job: &LiveJob,
) -> Option<String> {
    let before = queue.cluster.queue.range(..queue_key);
    let mut before = before.filter(|(key, waiting)| pass.still_waits(key, waiting));
    let next = pass.snapshot.job(&before.next()?.0.uid)?;
    let count = 1 + before.count();
    let cluster = queue.cluster.name();
    let who = if count == 1 {
        format!("1 job of cluster '{cluster}' comes")
    } else {
        format!("{count} jobs of cluster '{cluster}' come")
    };
    let name = if next.workspace == job.workspace {
        format!(", the next is '{}'", next.record.path.job)
    } else {
        String::new()
    };
    Some(format!("{who} first{name}"))
}

fn has_waited(pass: &Pass<'_>, job: &LiveJob) -> bool {
    let since = job
        .status
        .as_ref()
        .map_or(job.record.created_at, |status| status.state_since);
    after(since, pass.snapshot.config().explain_after) <= pass.now
}

/// A number without its last digits: 10, 20, 50, 100, 200, 500 and so on.
fn roughly(count: usize) -> usize {
    let mut step = 10;
    loop {
        for factor in [5, 2, 1] {
            if count < step * 10 && count >= step * factor {
                return step * factor;
            }
        }
        if count < step {
            return count;
        }
        step *= 10;
    }
}

fn needs(cluster: &ClusterState, request: &Request, free: usize) -> String {
    let whose = if cluster.is_automatic() {
        let record = cluster.record.as_ref();
        let size = record.map_or("", |record| &record.properties.vm_size);
        format!("of size '{size}'")
    } else {
        format!("of cluster '{}'", cluster.name())
    };
    let node = if request.node_count == 1 {
        "node"
    } else {
        "nodes"
    };
    let count = request.node_count;
    match &request.share {
        None => {
            let verb = if free == 1 { "is" } else { "are" };
            format!("needs {count} free {node} {whose}, {free} {verb} free")
        }
        Some(share) => {
            let verb = if free == 1 { "has" } else { "have" };
            let what = per_node(share);
            format!("needs {count} {node} {whose} with {what} free, {free} {verb} that")
        }
    }
}

/// For whom the nodes are kept that would do.
fn kept_for(pass: &Pass<'_>, job: &LiveJob) -> Option<String> {
    let cluster = pass.cluster(&job.cluster)?;
    let mut reservations = pass.reservations.iter().filter(|reservation| {
        let is_rival = pass.cluster(reservation.cluster).is_some_and(|other| {
            other.is_automatic() && cluster.is_automatic() && other.size == cluster.size
        });
        *reservation.uid != job.record.uid && (is_rival || *reservation.cluster == job.cluster)
    });
    let first = pass.snapshot.job(reservations.next()?.uid)?;
    Some(if first.workspace == job.workspace {
        format!("they are kept for job '{}'", first.record.path.job)
    } else {
        "they are kept for a job of another workspace".to_owned()
    })
}

/// That others have used less.
fn used_more(pass: &Pass<'_>, job: &LiveJob) -> Option<String> {
    let own = *pass.steps.get(&*job.workspace)?;
    let least = *pass.steps.values().min()?;
    let workspace = &job.record.path.workspace.workspace;
    (own > least)
        .then(|| format!("workspace '{workspace}' has used more of late than others that wait"))
}

fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn nodes(count: u32) -> String {
    if count == 1 {
        "1 node".to_owned()
    } else {
        format!("{count} nodes")
    }
}

fn per_node(share: &Share) -> String {
    let memory = share
        .memory_bytes
        .map(|bytes| format!(", {} of memory", format_bytes(bytes)))
        .unwrap_or_default();
    format!(
        "{} GPUs, {} processors{memory}",
        share.gpus,
        f64::from(share.cpu_millis) / 1000.0
    )
}

#[cfg(test)]
mod tests;
