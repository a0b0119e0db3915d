//! Several daemons, one of which leads.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lote_control::config::{Config, Leadership};
use lote_control::driver::{self, LeaderError};
use lote_control::testing::job;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::leader::LeaderRecord;
use lote_store::{Event, Store, Transaction, Write, get_json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::driver::{Bench, assert_each_ran_once, soon};
use crate::fake::FakeFrameworks;
use crate::held::Held;

/// Longer than a leader's lease.
const TERM_OVER: Duration = Duration::from_secs(12);

struct Daemon {
    stop: CancellationToken,
    task: JoinHandle<Result<(), LeaderError>>,
}

impl Daemon {
    fn start(store: Arc<dyn Store>, name: &str) -> Self {
        let stop = CancellationToken::new();
        let config = Config {
            leadership: Leadership::Elected {
                node: NodeName::new(name),
            },
            ..Config::default()
        };
        let task = tokio::spawn(driver::run(
            store,
            Arc::new(FakeFrameworks),
            Arc::new(driver::NoSwitch),
            config,
            driver::FiguresBoard::default(),
            stop.clone(),
        ));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        soon(self.task)
            .await
            .expect("no panic")
            .expect("a clean stop");
    }
}

async fn leader(store: &dyn Store) -> Option<String> {
    let found = get_json::<LeaderRecord>(store, key::LEADER).await;
    found
        .expect("a record")
        .map(|entry| entry.value.node.to_string())
}

async fn until_leader(store: &dyn Store, name: &str) {
    soon(async {
        while leader(store).await.as_deref() != Some(name) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_and_another_takes_over_at_once_when_it_stops() {
    let bench = Bench::new(2).await;
    let first = Daemon::start(bench.store.clone(), "first");
    until_leader(&*bench.store, "first").await;
    let second = Daemon::start(bench.store.clone(), "second");
    bench.submit(job("one")).await;
    soon(bench.until_ended(1)).await;
    assert_eq!(leader(&*bench.store).await.as_deref(), Some("first"));

    let start = tokio::time::Instant::now();
    first.stop().await;
    until_leader(&*bench.store, "second").await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    bench.submit(job("two")).await;
    soon(bench.until_ended(2)).await;
    second.stop().await;
    assert_eq!(leader(&*bench.store).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_leader_can_change_nothing() {
    let bench = Bench::new(2).await;
    let held = Held::new(bench.store.clone());
    let paused = Daemon::start(held.clone(), "paused");
    until_leader(&*bench.store, "paused").await;
    bench.submit(job("before")).await;
    soon(bench.until_ended(1)).await;

    // It is stopped with a decision in its hands. Nothing of the job's own would keep that from
    // being written: the one who leads now has not looked at the job yet.
    held.hold();
    bench.submit(job("one")).await;
    soon(held.until_held()).await;
    bench
        .store
        .revoke_lease(held.lease())
        .await
        .expect("a lease");
    let lease = bench
        .store
        .grant_lease(Duration::from_mins(1))
        .await
        .expect("a lease");
    let other = LeaderRecord {
        node: NodeName::new("other"),
        since: Timestamp::now(),
    };
    let elected = Transaction::new().require_absent(key::LEADER).write(
        Write::put_json(key::LEADER, &other)
            .expect("JSON")
            .with_lease(lease),
    );
    let elected = bench.store.commit(elected).await.expect("a commit");
    assert!(elected.is_applied());

    held.release();
    soon(held.until_answered()).await;
    let outcomes = held.outcomes();
    assert!(!outcomes.is_empty());
    assert!(
        outcomes.iter().all(|outcome| !outcome.is_applied()),
        "{outcomes:?}"
    );

    // Whoever leads next finds the job as it was, and runs it once.
    bench.store.revoke_lease(lease).await.expect("a lease");
    let next = Daemon::start(bench.store.clone(), "next");
    let ended = soon(bench.until_ended(2)).await;
    assert_each_ran_once(&ended);
    soon(bench.check_history()).await;
    next.stop().await;
    paused.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_renew_stops_before_another_begins() {
    let bench = Bench::new(2).await;
    let held = Held::new(bench.store.clone());
    let silent = Daemon::start(held.clone(), "silent");
    until_leader(&*bench.store, "silent").await;
    let second = Daemon::start(bench.store.clone(), "second");
    held.hold();
    tokio::time::timeout(2 * TERM_OVER, until_leader(&*bench.store, "second"))
        .await
        .expect("the lease ends");
    // By its own clock it had stopped before: it holds no decision, and makes none.
    bench.submit(job("one")).await;
    let ended = soon(bench.until_ended(1)).await;
    assert!(
        ended
            .values()
            .all(|(status, times)| (status.attempt, *times) == (1, 1))
    );
    held.release();
    soon(held.until_answered()).await;
    assert!(held.outcomes().iter().all(|outcome| !outcome.is_applied()));

    // Both are well again: the second goes on leading.
    bench.submit(job("two")).await;
    soon(bench.until_ended(2)).await;
    assert_eq!(leader(&*bench.store).await.as_deref(), Some("second"));
    second.stop().await;
    until_leader(&*bench.store, "silent").await;
    silent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_change_all_the_time_run_every_job_once() {
    const JOBS: usize = 100;
    let bench = Bench::new(3).await;
    let daemons = ["a", "b", "c"];
    let submitting = bench.submit_mixed(JOBS);
    let changing = async {
        let mut running: Vec<_> = daemons
            .iter()
            .map(|name| Daemon::start(bench.store.clone(), name))
            .collect();
        for round in 0..12_u64 {
            tokio::time::sleep(Duration::from_millis(5 + round * 37 % 60)).await;
            running.remove(0).stop().await;
            let name = format!("d{round}");
            running.push(Daemon::start(bench.store.clone(), &name));
        }
        running
    };
    let (running, ended) = soon(async {
        let ((), running, ended) = tokio::join!(submitting, changing, bench.until_ended(JOBS));
        (running, ended)
    })
    .await;
    assert_each_ran_once(&ended);
    soon(bench.check_history()).await;
    for daemon in running {
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sole_leader_is_not_elected() {
    let bench = Bench::new(1).await;
    let stop = CancellationToken::new();
    let leading = bench.lead(&stop);
    let mut watch = bench.store.watch("", 1).await.expect("a watch");
    bench.submit(job("one")).await;
    soon(bench.until_ended(1)).await;
    stop.cancel();
    soon(leading)
        .await
        .expect("no panic")
        .expect("a clean stop");
    let newest = bench.store.revision().await.expect("a revision");
    loop {
        let batch = soon(watch.next()).await.expect("a batch");
        assert!(
            batch
                .events
                .iter()
                .all(|event: &Event| event.key() != key::LEADER && event.key() != key::LEADER_SYNC)
        );
        if batch.revision == newest {
            return;
        }
    }
}
