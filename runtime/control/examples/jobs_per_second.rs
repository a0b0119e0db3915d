//! How many jobs go through the leader and the real embedded store, with plugins and nodes that
//! do nothing: `cargo run --release -p lote-control --example jobs_per_second [JOBS]`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement may stop at once"
)]

#[path = "../tests/it/fake.rs"]
mod fake;

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use lote_control::config::Config;
use lote_control::driver;
use lote_control::testing::{cluster, job, node};
use lote_model::job::JobStatus;
use lote_model::key;
use lote_store::{EmbeddedOptions, EmbeddedStore, Event, Store, Transaction};
use tokio_util::sync::CancellationToken;

async fn put(store: &dyn Store, key: &str, value: &impl serde::Serialize) {
    store
        .commit(Transaction::new().put_json(key, value).expect("JSON"))
        .await
        .expect("a commit");
}

async fn until_ended(store: &dyn Store, count: usize) {
    let mut watch = store.watch(key::JOB_STATUS, 1).await.expect("a watch");
    let mut ended = 0;
    while ended < count {
        for event in watch.next().await.expect("a batch").events {
            let Event::Put(item) = event else { continue };
            let status: JobStatus = serde_json::from_slice(&item.value).expect("a status");
            ended += usize::from(status.state.is_terminal());
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let jobs: usize = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(2000);
    let folder = tempfile::tempdir().expect("a folder");
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(folder.path(), &EmbeddedOptions::default()).expect("a store"));
    let nodes = tokio::spawn(fake::serve_nodes(store.clone(), fake::Runs::default()));
    let machine = node("n0").cores(2);
    put(store.as_ref(), &key::node(&machine.0.name), &machine.0).await;
    put(store.as_ref(), &key::alive(&machine.0.name), &true).await;
    let local = cluster("c").auto(0, 1);
    put(store.as_ref(), &key::cluster(&local.0.path), &local.0).await;
    let stop = CancellationToken::new();
    let frameworks = Arc::new(fake::FakeFrameworks);
    let leader = tokio::spawn(driver::run(
        store.clone(),
        frameworks,
        Arc::new(driver::NoSwitch),
        Config::default(),
        driver::FiguresBoard::default(),
        stop.clone(),
    ));
    let start = Instant::now();
    let submit = |client: usize| {
        let store = store.clone();
        async move {
            for number in (client..jobs).step_by(8) {
                let mut record = job(&format!("j{number:05}")).share(0, 0.25, None).0;
                record.created_at = Timestamp::now();
                put(store.as_ref(), &key::job(&record.path), &record).await;
            }
        }
    };
    let clients: Vec<_> = (0..8).map(|client| tokio::spawn(submit(client))).collect();
    until_ended(store.as_ref(), jobs).await;
    let elapsed = start.elapsed();
    for client in clients {
        client.await.expect("no panic");
    }
    stop.cancel();
    leader.await.expect("no panic").expect("a clean stop");
    nodes.abort();
    println!(
        "{jobs} jobs in {elapsed:.2?}: {:.0} jobs/s",
        rate(jobs, elapsed.as_secs_f64())
    );
    let processor_milliseconds = processor_seconds() * 1000.0;
    println!(
        "processor time of leader, store and fakes: {:.2} ms per job",
        1.0 / rate(jobs, processor_milliseconds)
    );
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(count: usize, time: f64) -> f64 {
    count as f64 / time
}

/// User and system time of this process; the kernel counts in hundredths.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks
        .map(|field| field.parse::<f64>().expect("a number"))
        .sum::<f64>()
        / 100.0
}
