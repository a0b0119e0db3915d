//! Why a job waits, in a sentence of its status.

use jiff::Timestamp;
use lote_model::node::NodeRecord;
use lote_model::quantity::format_bytes;

use crate::actions::Subject;
use crate::change;
use crate::decide::Pass;
use crate::placement;
use crate::reservation::Reservation;
use crate::room::Request;
use crate::scaling::budget;
use crate::snapshot::{ClusterKey, ClusterState, Hindrance, LiveJob};
use crate::time::after;

/// How many jobs at the head of each queue learn exactly what they lack; the others wait for
/// these first.
const HEAD: usize = 16;

/// Looks at the explanations of waiting jobs, if it is time to, and writes those that changed.
pub(crate) fn explain_waiting(pass: &mut Pass<'_>) {
    let open = pass
        .snapshot
        .clusters()
        .iter()
        .filter(|(_, cluster)| cluster.is_open() && !cluster.queue.is_empty());
    let clusters: Vec<_> = open.collect();
    if clusters.is_empty() {
        return;
    }
    let due = pass
        .snapshot
        .explained_at()
        .map(|at| after(at, pass.snapshot.config().explain_every));
    if let Some(due) = due.filter(|due| *due > pass.now) {
        pass.wake_at(due);
        return;
    }
    pass.decisions.explained = true;
    pass.wake_at(after(pass.now, pass.snapshot.config().explain_every));
    let mut left = pass.snapshot.config().explanations_max;
    for (key, cluster) in clusters {
        explain_cluster(pass, key, cluster, &mut left);
    }
}

fn explain_cluster<'a>(
    pass: &mut Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    left: &mut usize,
) {
    for (position, (queue_key, waiting)) in cluster.queue.iter().enumerate() {
        if *left == 0 {
            return;
        }
        if waiting.hindrance != Hindrance::None || pass.started.contains(&queue_key.uid) {
            continue;
        }
        let Some(job) = pass
            .snapshot
            .job(&queue_key.uid)
            .filter(|job| has_waited(pass, job))
        else {
            continue;
        };
        let text = if position < HEAD {
            why(pass, key, cluster, job)
        } else {
            format!("waits behind other jobs for cluster '{}'", cluster.name())
        };
        let known = job
            .status
            .as_ref()
            .and_then(|status| status.waiting.as_deref());
        if known != Some(text.as_str()) {
            *left -= 1;
            pass.change(
                Subject::Job(queue_key.uid.clone()),
                "explain",
                change::explain(job, text),
            );
        }
    }
}

fn has_waited(pass: &Pass<'_>, job: &LiveJob) -> bool {
    let since = job
        .status
        .as_ref()
        .map_or(job.record.created_at, |status| status.state_since);
    after(since, pass.snapshot.config().explain_after) <= pass.now
}

fn why<'a>(
    pass: &mut Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    job: &'a LiveJob,
) -> String {
    let request = &job.request;
    if let Some(text) = budget::why_it_waits(pass, key, cluster, request.node_count) {
        return text;
    }
    never(pass, cluster, request).unwrap_or_else(|| {
        let name = cluster.name();
        let free = placement::count_free(pass, key, cluster, request);
        let expected = expected_at(pass, key, cluster, job).map_or_else(
            || "they are with other clusters".to_owned(),
            |at| format!("expected by {} at the latest", second(at)),
        );
        format!(
            "needs {} of cluster '{name}' at once, {free} can take it now; {expected}",
            nodes(request.node_count)
        )
    })
}

/// When the job can start at the latest, if what runs now decides.
fn expected_at<'a>(
    pass: &mut Pass<'a>,
    key: &'a ClusterKey,
    cluster: &'a ClusterState,
    job: &'a LiveJob,
) -> Option<Timestamp> {
    let mut reservations = pass.reservations.iter();
    let known = reservations.find(|reservation| *reservation.uid == job.record.uid);
    let known = known.map(|reservation| reservation.at);
    known.or_else(|| Some(Reservation::new(pass, key, cluster, job)?.at))
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

/// Why it will wait until somebody changes something.
fn never(pass: &Pass<'_>, cluster: &ClusterState, request: &Request) -> Option<String> {
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
    let all = pass
        .snapshot
        .nodes()
        .values()
        .filter_map(|node| node.record.as_deref());
    let of_size: Vec<&NodeRecord> = all
        .filter(|node| node.size.eq_ignore_ascii_case(size))
        .collect();
    if of_size.is_empty() {
        return Some(format!(
            "asks for {asks} of size '{size}', and no machine of that size has joined"
        ));
    }
    let ports = pass.snapshot.config().ports_per_allocation;
    let able = of_size
        .iter()
        .filter(|node| request.is_possible_on(node, ports))
        .count();
    if able == 0 {
        let asks = per_node(request);
        return Some(format!(
            "asks for {asks} on each node, and no node of size '{size}' has that much: ask for less"
        ));
    }
    (able < request.node_count as usize).then(|| {
        format!("asks for {asks}, and only {able} of size '{size}' can hold it: add machines")
    })
}

fn per_node(request: &Request) -> String {
    let Some(share) = &request.share else {
        return "a whole node and its ports".to_owned();
    };
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
