//! Fair shares between workspaces: that what each has used is counted as it was, and that one that
//! has used more does not come before one that has used less.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lote_control::actions::{Action, Decisions};
use lote_control::snapshot::{Hindrance, Snapshot, WorkspaceUse};
use lote_model::fair_share::Usage;
use lote_model::job::{JobRecord, JobStatus};
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_model::state::ExecutionState;
use lote_store::{Event, Revision};

use crate::checks::status;
use crate::order;
use crate::site::Site;

/// How many seconds of an attempt's nodes a leader may count that we do not, or the other way: it
/// counts from one decision to another, we from the commit of each, and what it sees is late.
const SLACK: f64 = 30.0;

/// Two that differ by less are alike: the leader compares in steps of up to a quarter.
const ALIKE: f64 = 1.3;

/// What is less than this is none to the leader, one node for a minute.
const NOTHING: f64 = 60.0;

/// A running job counts for an hour in advance.
const AHEAD: f64 = 3_600.0;

/// What one workspace has really used.
#[derive(Debug, Default)]
struct Truth {
    /// In seconds of nodes, worth less the longer ago it is.
    used: f64,
    /// The nodes of all attempts that were seen.
    attempts: f64,
}

/// An attempt that holds nodes.
#[derive(Debug)]
struct Attempt {
    number: u32,
    workspace: String,
    nodes: f64,
}

/// What all have really used.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    of: BTreeMap<String, Truth>,
    /// By the key of the job's status.
    running: BTreeMap<String, Attempt>,
    /// What the store held up to this revision has been looked at.
    seen: Revision,
}

impl Shares {
    /// One second later.
    pub(crate) fn after_step(&mut self, site: &Site) {
        let each = decay(1.0, Site::half_life());
        for truth in self.of.values_mut() {
            truth.used *= each;
        }
        let changes = site.store.after(self.seen, usize::MAX);
        for event in changes.flat_map(|(_, events)| events) {
            match event {
                Event::Put(item) if item.key.starts_with(key::JOB_STATUS) => {
                    let status: JobStatus = serde_json::from_slice(&item.value).unwrap();
                    self.note(site, &item.key, &status);
                }
                Event::Delete { key, .. } => {
                    self.running.remove(key);
                }
                Event::Put(_) => {}
            }
        }
        self.seen = site.store.revision();
        for attempt in self.running.values() {
            if let Some(truth) = self.of.get_mut(&attempt.workspace) {
                truth.used += attempt.nodes;
            }
        }
        // Adding all up each second costs time.
        if site.now % 64 == 0 {
            self.compare(site);
        }
    }

    fn note(&mut self, site: &Site, place: &str, status: &JobStatus) {
        // What is being terminated still holds its nodes.
        let holds = matches!(
            status.state,
            ExecutionState::Running | ExecutionState::Terminating
        );
        let record = site.jobs.get(&status.uid);
        let Some(record) = record.filter(|_| holds && status.start_time.is_some()) else {
            self.running.remove(place);
            return;
        };
        let known = self.running.get(place);
        if known.is_some_and(|known| known.number == status.attempt) {
            return;
        }
        let node = status.nodes.first();
        let node = node.and_then(|name| site.store.ledger.get(&key::node(name)));
        let attempt = Attempt {
            number: status.attempt,
            workspace: record.path.workspace.workspace.to_string(),
            nodes: nodes_held(record, node.as_ref()),
        };
        let truth = self.of.entry(attempt.workspace.clone()).or_default();
        truth.attempts += attempt.nodes;
        self.running.insert(place.to_owned(), attempt);
    }

    fn compare(&self, site: &Site) {
        for (workspace, truth) in &self.of {
            let counted = counted(site, workspace);
            let slack = SLACK * truth.attempts + 1.0;
            assert!(
                (counted - truth.used).abs() <= slack,
                "the leader counted {counted} seconds of nodes of {workspace}, there were {}, and \
                 {slack} are its slack",
                truth.used
            );
        }
    }
}

fn decay(seconds: f64, half_life: SignedDuration) -> f64 {
    (-seconds / half_life.as_secs_f64()).exp2()
}

/// What every leader can know: the sums, the runs that ended, and those that last.
fn counted(site: &Site, workspace: &str) -> f64 {
    let (now, half_life) = (site.time(), Site::half_life());
    let prefix = format!("{}lab/{workspace}", key::SHARES);
    let stored = site.store.ledger.list(&prefix).filter(|item| {
        let rest = &item.key[prefix.len()..];
        rest.is_empty() || rest.starts_with('/')
    });
    let stored = stored.map(|item| serde_json::from_slice(&item.value).unwrap());
    let ended: f64 = stored.map(|usage| worth(&usage, now, half_life)).sum();
    let jobs = site.jobs.values();
    let own = jobs.filter(|record| record.path.workspace.workspace.as_str() == workspace);
    let runs = own.filter_map(|record| {
        let status = status(&site.store.ledger, record)?;
        let since = status.start_time.filter(|_| !status.state.is_terminal())?;
        let node = site.store.ledger.get(&key::node(status.nodes.first()?));
        Some(run(
            nodes_held(record, node.as_ref()),
            since,
            now,
            half_life,
        ))
    });
    ended + runs.sum::<f64>()
}

fn worth(usage: &Usage, now: Timestamp, half_life: SignedDuration) -> f64 {
    usage.node_seconds
        * decay(
            now.duration_since(usage.at).as_secs_f64().max(0.0),
            half_life,
        )
}

/// As the sum over its seconds, each worth a little less than the next.
fn run(nodes: f64, since: Timestamp, now: Timestamp, half_life: SignedDuration) -> f64 {
    let seconds = now.duration_since(since).as_secs_f64().max(0.0);
    let each = decay(1.0, half_life);
    nodes * (1.0 - each.powf(seconds)) / (1.0 - each)
}

/// A part of a node counts as the largest part of what it has.
fn nodes_held(record: &JobRecord, node: Option<&NodeRecord>) -> f64 {
    let count = f64::from(record.properties.node_count);
    let Some((resources, node)) = record.properties.lote.resources.as_ref().zip(node) else {
        return count;
    };
    let part = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let gpus = u32::try_from(node.gpus.len()).unwrap();
    let gpus = part(resources.gpus_per_node.unwrap_or(0).into(), gpus.into());
    let cpus = part(
        f64::from(resources.cpu_millis()) / 1000.0,
        node.cpu_cores.into(),
    );
    count * gpus.max(cpus).min(1.0)
}

/// No job starts while one that is like it, and asks for no longer, waits in a workspace that has
/// used less and gets nothing.
pub(crate) fn less_used_comes_first(snapshot: &Snapshot, decisions: &Decisions, now: Timestamp) {
    let starts = decisions.actions.iter().filter_map(|action| match action {
        Action::Start(start) => snapshot.job(&start.record.uid),
        _ => None,
    });
    let starts: Vec<_> = starts.collect();
    let ended = order::ended(decisions);
    let half_life = snapshot.config().usage_half_life;
    let used = |workspace: &str| {
        let known = snapshot.workspaces().get(workspace);
        known.map_or(0.0, |it| used(it, now, half_life))
    };
    for started in &starts {
        let limit = started.record.properties.constraints.max_wall_clock_time;
        let priority = Reverse(started.record.properties.scheduling_priority);
        for (key, waiting) in &snapshot.clusters()[&started.cluster].queue {
            let Some(job) = snapshot.job(&key.uid) else {
                continue;
            };
            let is_alike = key.priority == priority
                && waiting.hindrance == Hindrance::None
                && waiting.request == started.request
                && waiting.limit <= limit
                && job.unsuitable.is_none();
            let gets_something = starts.iter().any(|other| other.workspace == job.workspace);
            if !is_alike || gets_something || ended.contains(&key.uid) {
                continue;
            }
            let (less, more) = (used(&job.workspace), used(&started.workspace));
            assert!(
                more <= (less * ALIKE).max(NOTHING),
                "at {now} {} of {}, which used {more}, starts before {} of {}, which used {less}",
                started.record.uid,
                started.workspace,
                key.uid,
                job.workspace
            );
        }
    }
}

fn used(workspace: &WorkspaceUse, now: Timestamp, half_life: SignedDuration) -> f64 {
    let ended = workspace.total.iter().chain(workspace.ended.values());
    let ended: f64 = ended.map(|usage| worth(usage, now, half_life)).sum();
    let runs = workspace.running.values();
    let runs = runs.map(|it| run(it.nodes, it.since, now, half_life) + it.nodes * AHEAD);
    ended + runs.sum::<f64>()
}
