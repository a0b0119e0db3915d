//! The driver over the real embedded store, with fake plugins and nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lote_control::config::Config;
use lote_control::driver;
use lote_control::testing::{JobBuilder, cluster, job, node};
use lote_model::allocation::Allocation;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::JobStatus;
use lote_model::key;
use lote_model::report::{Report, ReportPhase};
use lote_model::state::ExecutionState;
use lote_store::{EmbeddedOptions, EmbeddedStore, Event, ListRequest, Store, Transaction};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::{FakeFrameworks, Runs, serve_nodes};
use crate::invariants::check_node;
use crate::slow::SlowWatches;

pub(crate) struct Bench {
    pub(crate) store: Arc<dyn Store>,
    runs: Runs,
    nodes: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.nodes.abort();
    }
}

impl Bench {
    pub(crate) async fn new(node_count: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store: Arc<dyn Store> = Arc::new(
            EmbeddedStore::open(folder.path(), &EmbeddedOptions::default()).expect("a store"),
        );
        let runs = Runs::default();
        let nodes = tokio::spawn(serve_nodes(store.clone(), runs.clone()));
        let bench = Self {
            store,
            runs,
            nodes,
            _folder: folder,
        };
        for number in 0..node_count {
            let node = node(&format!("n{number}"));
            bench.put(&key::node(&node.0.name), &node.0).await;
            bench.put(&key::alive(&node.0.name), &true).await;
        }
        let cluster = cluster("c").auto(0, node_count);
        bench.put(&key::cluster(&cluster.0.path), &cluster.0).await;
        bench
    }

    async fn put(&self, key: &str, value: &impl serde::Serialize) {
        let transaction = Transaction::new().put_json(key, value).expect("JSON");
        self.store.commit(transaction).await.expect("a commit");
    }

    pub(crate) async fn submit(&self, job: JobBuilder) -> JobUid {
        let mut record = job.0;
        record.created_at = Timestamp::now();
        self.put(&key::job(&record.path), &record).await;
        record.uid
    }

    /// Submits so many jobs, one after the other; each tenth of them is a gang of two.
    pub(crate) async fn submit_mixed(&self, count: usize) {
        for number in 0..count {
            let job = job(&format!("j{number:03}"));
            let job = if number % 10 == 0 {
                job.nodes(2)
            } else {
                job.share(0, 1.0, None)
            };
            self.submit(job).await;
        }
    }

    pub(crate) fn lead(
        &self,
        stop: &CancellationToken,
    ) -> JoinHandle<Result<(), driver::LeaderError>> {
        lead(self.store.clone(), stop)
    }

    /// Follows all statuses until so many jobs have ended; how often each was written as ended.
    pub(crate) async fn until_ended(&self, count: usize) -> BTreeMap<JobUid, (JobStatus, u32)> {
        let mut ended: BTreeMap<JobUid, (JobStatus, u32)> = BTreeMap::new();
        let mut watch = self.store.watch(key::JOB_STATUS, 1).await.expect("a watch");
        while ended.len() < count {
            for event in watch.next().await.expect("a batch").events {
                let Event::Put(item) = event else { continue };
                let status: JobStatus = serde_json::from_slice(&item.value).expect("a status");
                if status.state.is_terminal() {
                    let times = ended.get(&status.uid).map_or(0, |(_, times)| *times) + 1;
                    ended.insert(status.uid.clone(), (status, times));
                }
            }
        }
        ended
    }

    /// Replays everything that happened; no node may have been over-committed at any revision.
    pub(crate) async fn check_history(&self) {
        let newest = self.store.revision().await.expect("a revision");
        let mut watch = self.store.watch("", 1).await.expect("a watch");
        let mut running: BTreeMap<NodeName, BTreeMap<JobUid, Allocation>> = BTreeMap::new();
        loop {
            let batch = watch.next().await.expect("a batch");
            for event in &batch.events {
                follow(&mut running, event);
            }
            for (name, allocations) in &running {
                let allocations: Vec<Allocation> = allocations.values().cloned().collect();
                check_node(&node(name.as_str()).0, &allocations);
            }
            if batch.revision == newest {
                return;
            }
        }
    }

    async fn count(&self, prefix: &str) -> usize {
        self.store
            .list(ListRequest::prefix(prefix))
            .await
            .expect("a list")
            .items
            .len()
    }
}

fn lead(
    store: Arc<dyn Store>,
    stop: &CancellationToken,
) -> JoinHandle<Result<(), driver::LeaderError>> {
    let frameworks = Arc::new(FakeFrameworks);
    tokio::spawn(driver::run(
        store,
        frameworks,
        Arc::new(driver::NoSwitch),
        Config::default(),
        driver::FiguresBoard::default(),
        stop.clone(),
    ))
}

/// Keeps what may still run on each node.
fn follow(running: &mut BTreeMap<NodeName, BTreeMap<JobUid, Allocation>>, event: &Event) {
    if let Some((node, uid)) = pair(event.key(), key::ALLOCATIONS) {
        let on_node = running.entry(NodeName::new(node)).or_default();
        on_node.remove(&JobUid::new(uid));
        if let Event::Put(item) = event {
            let allocation = serde_json::from_slice(&item.value).expect("an allocation");
            on_node.insert(JobUid::new(uid), allocation);
        }
    }
    if let (Some((uid, node)), Event::Put(item)) = (pair(event.key(), key::REPORTS), event) {
        let report: Report = serde_json::from_slice(&item.value).expect("a report");
        if matches!(report.phase, ReportPhase::Ended { .. }) {
            running
                .entry(NodeName::new(node))
                .or_default()
                .remove(&JobUid::new(uid));
        }
    }
}

fn pair<'a>(key: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    key.strip_prefix(prefix)?.split_once('/')
}

/// How many jobs the crash test runs.
const JOBS: usize = 300;

/// Fails rather than hangs; far longer than anything here takes.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), work)
        .await
        .expect("it does not take for ever")
}

/// Every job succeeded with its first start, and that was concluded once.
pub(crate) fn assert_each_ran_once(ended: &BTreeMap<JobUid, (JobStatus, u32)>) {
    for (uid, (status, times)) in ended {
        assert_eq!(
            (status.state, status.attempt, *times),
            (ExecutionState::Succeeded, 1, 1),
            "{uid}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_run_to_their_end_and_leave_nothing() {
    let bench = Bench::new(4).await;
    let stop = CancellationToken::new();
    let leader = bench.lead(&stop);
    bench.submit(job("one")).await;
    bench.submit(job("gang").nodes(3)).await;
    for number in 0..20 {
        bench
            .submit(job(&format!("part{number}")).share(0, 2.0, Some("1g")))
            .await;
    }
    let ended = soon(bench.until_ended(22)).await;
    for (uid, (status, _)) in &ended {
        assert_eq!(
            (status.state, status.exit_code, status.attempt),
            (ExecutionState::Succeeded, Some(0), 1),
            "{uid}"
        );
    }
    assert_eq!(
        ended[&JobUid::new("uid-gang")]
            .0
            .account
            .as_ref()
            .expect("an account")
            .cpu_seconds
            .to_bits(),
        1.5_f64.to_bits()
    );
    stop.cancel();
    soon(leader).await.expect("no panic").expect("no error");
    assert_eq!(
        bench.count(key::ALLOCATIONS).await + bench.count(key::REPORTS).await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_dropped_again_and_again_runs_every_job_once() {
    let bench = Bench::new(3).await;
    let stop = CancellationToken::new();
    let submitting = bench.submit_mixed(JOBS);
    let crashing = async {
        // Times without a pattern, from a tenth of a pass to many passes.
        for round in 0..40_u64 {
            let leader = bench.lead(&stop);
            tokio::time::sleep(Duration::from_micros(100 + round * 7919 % 20_000)).await;
            leader.abort();
        }
        // The last one stays until the runtime ends.
        drop(bench.lead(&stop));
    };
    let ended = soon(async {
        let ((), (), ended) = tokio::join!(submitting, crashing, bench.until_ended(JOBS));
        ended
    })
    .await;
    stop.cancel();
    assert_each_ran_once(&ended);
    let runs = bench.runs.lock().expect("a lock");
    assert_eq!(runs.len(), JOBS, "every job was run in one attempt only");
    for ((uid, _), nodes) in runs.iter() {
        let expected = if uid.as_str().ends_with('0') { 2 } else { 1 };
        assert_eq!(nodes.len(), expected, "{uid}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_job_ends_though_nothing_else_happens() {
    let bench = Bench::new(0).await;
    let stop = CancellationToken::new();
    let leader = bench.lead(&stop);
    let mut record = job("one").0;
    bench.submit(job("one")).await;
    record.terminate_requested_at = Some(Timestamp::now());
    bench.put(&key::job(&record.path), &record).await;
    let ended = soon(bench.until_ended(1)).await;
    assert_eq!(ended[&record.uid].0.errors[0].code, "JobTerminated");
    stop.cancel();
    soon(leader).await.expect("no panic").expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_granted_twice_though_the_store_tells_late() {
    let bench = Bench::new(2).await;
    let stop = CancellationToken::new();
    let leader = lead(Arc::new(SlowWatches(bench.store.clone())), &stop);
    for number in 0..40 {
        let job = job(&format!("j{number}"));
        bench
            .submit(if number % 2 == 0 {
                job
            } else {
                job.share(0, 3.0, None)
            })
            .await;
    }
    let ended = soon(bench.until_ended(40)).await;
    assert!(
        ended
            .values()
            .all(|(status, times)| (status.attempt, *times) == (1, 1))
    );
    soon(bench.check_history()).await;
    stop.cancel();
    soon(leader).await.expect("no panic").expect("a clean stop");
}
