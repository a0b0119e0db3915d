//! What the leader sees, for those who measure it: at most once a second, because looking at every
//! node costs as much as a small pass.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lote_model::leader::{GpuCounts, LeaderFigures, NodeCounts};

use crate::snapshot::{NodeState, Snapshot};

/// How old figures may be.
const EVERY: Duration = Duration::from_secs(1);

/// Where the figures of this daemon's leader are found; none while another daemon leads. Clones
/// show the same.
#[derive(Clone, Debug, Default)]
pub struct FiguresBoard(Arc<Mutex<Option<LeaderFigures>>>);

impl FiguresBoard {
    /// The last figures.
    pub fn latest(&self) -> Option<LeaderFigures> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn show(&self, figures: Option<LeaderFigures>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

/// Counts passes, and shows the figures when it is time.
#[derive(Debug)]
pub(super) struct Meter {
    board: FiguresBoard,
    passes: u64,
    pass_seconds: f64,
    pass_seconds_max: f64,
    shown_at: Option<Instant>,
}

impl Meter {
    pub(super) fn new(board: FiguresBoard) -> Self {
        Self {
            board,
            passes: 0,
            pass_seconds: 0.0,
            pass_seconds_max: 0.0,
            shown_at: None,
        }
    }

    /// A pass took so long.
    pub(super) fn passed(&mut self, took: Duration, snapshot: &Snapshot, actions: usize) {
        self.passes += 1;
        self.pass_seconds += took.as_secs_f64();
        self.pass_seconds_max = self.pass_seconds_max.max(took.as_secs_f64());
        if self.shown_at.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.shown_at = Some(Instant::now());
        self.board.show(Some(LeaderFigures {
            passes: self.passes,
            pass_seconds: self.pass_seconds,
            pass_seconds_max: std::mem::take(&mut self.pass_seconds_max),
            actions_under_way: actions as u64,
            ..seen(snapshot)
        }));
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.board.show(None);
    }
}

/// What a snapshot shows of jobs and nodes.
fn seen(snapshot: &Snapshot) -> LeaderFigures {
    let queued = snapshot
        .clusters()
        .iter()
        .map(|(key, cluster)| (key.to_string(), cluster.queue.len() as u64));
    let running = snapshot
        .workspaces()
        .iter()
        .map(|(key, workspace)| (key.to_string(), workspace.running.len() as u64));
    let mut nodes = NodeCounts::default();
    let mut gpus = GpuCounts::default();
    for node in snapshot.nodes().values() {
        count_node(&mut nodes, node);
        count_gpus(&mut gpus, node);
    }
    LeaderFigures {
        jobs_queued: queued.collect(),
        jobs_running: running.filter(|(_, count)| *count > 0).collect(),
        nodes,
        gpus,
        ..LeaderFigures::default()
    }
}

fn count_node(counts: &mut NodeCounts, node: &NodeState) {
    let place = if node.absent_since.is_some() {
        &mut counts.absent
    } else if node.is_drained() {
        &mut counts.drained
    } else if !node.is_usable() {
        &mut counts.unwell
    } else if node.holds.is_empty() {
        &mut counts.idle
    } else {
        &mut counts.busy
    };
    *place += 1;
}

fn count_gpus(counts: &mut GpuCounts, node: &NodeState) {
    let Some(record) = node.record.as_ref().filter(|_| node.absent_since.is_none()) else {
        return;
    };
    let held: std::collections::HashSet<&str> = node
        .holds
        .values()
        .flat_map(|hold| &hold.grant.gpus)
        .map(|gpu| gpu.uuid.as_str())
        .collect();
    for gpu in &record.gpus {
        let place = if !gpu.is_schedulable() {
            &mut counts.out_of_service
        } else if held.contains(gpu.uuid.as_str()) {
            &mut counts.held
        } else {
            &mut counts.free
        };
        *place += 1;
    }
}

#[cfg(test)]
mod tests {
    use lote_model::node::Condition;

    use super::*;
    use crate::testing::{World, cluster, job, node};

    #[test]
    fn figures_tell_queues_nodes_and_gpus() {
        let mut world = World::default();
        let mut ill = node("n2").gpus(2);
        ill.0.gpus[1].conditions.push(Condition {
            code: "GpuXid".into(),
            message: "m".into(),
            blocks_jobs: true,
            since: world.now,
        });
        world.add_node(&node("n1").gpus(2));
        world.add_node(&ill);
        world.put_cluster(&cluster("c").manual(2));
        for name in ["a", "b", "d"] {
            world.submit(job(name).share(2, 1.0, None));
        }
        world.settle();
        let figures = seen(&world.snapshot);
        assert_eq!(
            figures.jobs_queued.values().copied().collect::<Vec<_>>(),
            [2]
        );
        assert_eq!(
            figures.jobs_running.values().copied().collect::<Vec<_>>(),
            [1]
        );
        let nodes = NodeCounts {
            busy: 1,
            idle: 1,
            ..NodeCounts::default()
        };
        assert_eq!(figures.nodes, nodes);
        let gpus = GpuCounts {
            held: 2,
            free: 1,
            out_of_service: 1,
        };
        assert_eq!(figures.gpus, gpus);
    }

    #[test]
    fn figures_are_gone_with_the_leader() {
        let board = FiguresBoard::default();
        let mut meter = Meter::new(board.clone());
        let world = World::default();
        meter.passed(Duration::from_millis(3), &world.snapshot, 7);
        meter.passed(Duration::from_millis(2), &world.snapshot, 8);
        let shown = board.latest().unwrap();
        // The second came within a second.
        assert_eq!((shown.passes, shown.actions_under_way), (1, 7));
        drop(meter);
        assert_eq!(board.latest(), None);
    }
}
