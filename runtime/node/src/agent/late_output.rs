//! Output that had not arrived when its job ended: it is delivered for as long as this node has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lote_model::id::JobUid;
use lote_model::job::JobStatus;
use lote_model::key;
use lote_store::get_json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Node;
use crate::mount;
use crate::spool::{self, Delivery, Manifest, SpoolPaths, spools};

/// How often spools without a task are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How long one look waits for what is about to arrive.
const MOMENT: Duration = Duration::from_millis(1);

/// What becomes of a spool whose job has no task here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nobody else writes there any more.
    Deliver,
    /// Another attempt may begin, or the end is not concluded yet.
    Wait,
    /// A later attempt writes there: what this one left would get between its output.
    GiveUp,
}

fn fate(status: Option<&JobStatus>, uid: &JobUid, attempt: u32) -> Fate {
    // The job is gone, or another has its name: its output is still somebody's.
    let Some(status) = status.filter(|status| status.uid == *uid) else {
        return Fate::Deliver;
    };
    if status.attempt > attempt {
        Fate::GiveUp
    } else if status.state.is_terminal() {
        Fate::Deliver
    } else {
        Fate::Wait
    }
}

/// Works until `stop` is cancelled.
pub(super) async fn deliver(
    node: Arc<Node>,
    mut registered: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let work = async {
        if registered.wait_for(|is| *is).await.is_err() {
            return;
        }
        let mut deliveries = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK).await;
            look(&node, &mut deliveries).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

async fn look(node: &Node, deliveries: &mut BTreeMap<String, Delivery>) {
    let found = found(node).await;
    deliveries.retain(|run, _| found.contains_key(run));
    for (run, (paths, manifest)) in found {
        let key = key::job_status(&manifest.job);
        let status = match get_json::<JobStatus>(&*node.store, &key).await {
            Ok(status) => status.map(|status| status.value),
            // Nobody knows who may write there.
            Err(_) => continue,
        };
        match fate(status.as_ref(), &manifest.uid, manifest.attempt) {
            Fate::Wait => drop(deliveries.remove(&run)),
            Fate::GiveUp => {
                tracing::warn!(run, job = %manifest.job, "a later attempt writes its output, so the rest of that of an earlier one is removed");
                deliveries.remove(&run);
                spool::remove(paths).await;
                mount::leave(&node.config.data_directory, &run).await;
            }
            Fate::Deliver => go_on(node, deliveries, run, paths, manifest).await,
        }
    }
}

/// Starts a delivery, or sees whether it is done.
async fn go_on(
    node: &Node,
    deliveries: &mut BTreeMap<String, Delivery>,
    run: String,
    paths: SpoolPaths,
    manifest: Manifest,
) {
    if let Some(delivery) = deliveries.get(&run) {
        if delivery.finish(MOMENT).await.is_ok() {
            tracing::info!(run, job = %manifest.job, "the output of a job has arrived late");
            deliveries.remove(&run);
            mount::leave(&node.config.data_directory, &run).await;
        }
        return;
    }
    let (limit, boot_id) = (node.config.spool.limit_bytes, node.record.boot_id.clone());
    let started =
        tokio::task::spawn_blocking(move || Delivery::start(paths, manifest, &boot_id, limit));
    match started.await {
        Ok(Ok(delivery)) => {
            deliveries.insert(run, delivery);
        }
        Ok(Err(error)) => tracing::warn!(%error, run, "cannot deliver the output of a job"),
        Err(_) => {}
    }
}

/// The spools whose attempts have no task.
async fn found(node: &Node) -> BTreeMap<String, (SpoolPaths, Manifest)> {
    let spools = spools(&node.config.data_directory);
    let read = tokio::task::spawn_blocking(move || {
        let entries = std::fs::read_dir(&spools).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let spool = |run: String| {
            let paths = SpoolPaths::new(&spools, &run);
            match paths.read() {
                Ok(Some(manifest)) => Some((run, (paths, Some(manifest)))),
                Ok(None) => Some((run, (paths, None))),
                Err(error) => {
                    tracing::warn!(%error, run, "a spool cannot be read");
                    None
                }
            }
        };
        names.filter_map(spool).collect::<BTreeMap<_, _>>()
    });
    let mut spools = BTreeMap::new();
    for (run, (paths, manifest)) in read.await.unwrap_or_default() {
        if node.tasks.have_run(&run) {
            continue;
        }
        match manifest {
            Some(manifest) => drop(spools.insert(run, (paths, manifest))),
            // What a crash left of the making of one.
            None => spool::remove(paths).await,
        }
    }
    spools
}

#[cfg(test)]
mod tests {
    use lote_model::state::ExecutionState;

    use super::*;

    fn status(state: ExecutionState, attempt: u32) -> JobStatus {
        let queued = serde_json::json!({
            "uid": "u", "state": "queued", "stateSince": "2026-01-01T00:00:00Z", "attempt": 0,
        });
        JobStatus {
            state,
            attempt,
            ..serde_json::from_value(queued).unwrap()
        }
    }

    #[test]
    fn output_is_delivered_while_nobody_else_writes_there() {
        let fate = |state, of| fate(Some(&status(state, of)), &JobUid::new("u"), 2);
        assert_eq!(fate(ExecutionState::Succeeded, 2), Fate::Deliver);
        assert_eq!(fate(ExecutionState::Failed, 2), Fate::Deliver);
        // Its end is not concluded yet, or it waits for the next attempt.
        assert_eq!(fate(ExecutionState::Running, 2), Fate::Wait);
        assert_eq!(fate(ExecutionState::Queued, 2), Fate::Wait);
        assert_eq!(fate(ExecutionState::Running, 3), Fate::GiveUp);
        assert_eq!(fate(ExecutionState::Succeeded, 3), Fate::GiveUp);
    }

    #[test]
    fn a_job_that_is_gone_writes_nothing_any_more() {
        assert_eq!(fate(None, &JobUid::new("u"), 1), Fate::Deliver);
        let other = status(ExecutionState::Running, 7);
        assert_eq!(fate(Some(&other), &JobUid::new("v"), 1), Fate::Deliver);
    }
}
