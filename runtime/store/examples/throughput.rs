//! Measures the embedded store on this machine's disk:
//! `cargo run --release -p lote-store --example throughput [FOLDER]`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lote_store::{EmbeddedOptions, EmbeddedStore, ListRequest, Store, Transaction};

const WRITERS: u32 = 64;
const TRANSACTIONS_PER_WRITER: u32 = 500;
const SINGLE_TRANSACTIONS: usize = 1000;
const READS: usize = 100_000;
const KEYS: usize = 100_000;
/// About the size of a job.
const VALUE_BYTES: usize = 700;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let folder = tempfile::tempdir_in(parent)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run(folder.path()))
}

async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(EmbeddedStore::open(folder, &EmbeddedOptions::default())?);
    single_writer(&store).await?;
    many_writers(&store).await?;
    reads(&store).await?;
    println!(
        "resident memory before the many keys: {} KiB",
        resident_kib()?
    );
    fill(&store).await?;
    println!("resident memory after {KEYS} keys: {} KiB", resident_kib()?);
    single_writer(&store).await?;
    reads(&store).await?;
    drop(store);
    let file_bytes = std::fs::metadata(folder.join("store.redb"))?.len();
    println!("file: {} MiB", file_bytes >> 20);
    let start = Instant::now();
    let _store = EmbeddedStore::open(folder, &EmbeddedOptions::default())?;
    println!("reopened in {:?}", start.elapsed());
    Ok(())
}

fn transaction(key: String) -> Transaction {
    Transaction::new().put(key, vec![b'x'; VALUE_BYTES])
}

async fn single_writer(store: &EmbeddedStore) -> Result<(), Box<dyn Error>> {
    let mut taken = Vec::with_capacity(SINGLE_TRANSACTIONS);
    for index in 0..SINGLE_TRANSACTIONS {
        let start = Instant::now();
        store.commit(transaction(format!("single/{index}"))).await?;
        taken.push(start.elapsed());
    }
    print_quantiles("one writer, one transaction", &mut taken);
    Ok(())
}

async fn many_writers(store: &Arc<EmbeddedStore>) -> Result<(), Box<dyn Error>> {
    let before = store.stats();
    let start = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut taken = Vec::new();
                for index in 0..TRANSACTIONS_PER_WRITER {
                    let start = Instant::now();
                    store
                        .commit(transaction(format!("many/{writer}/{index}")))
                        .await?;
                    taken.push(start.elapsed());
                }
                Ok::<_, lote_store::StoreError>(taken)
            })
        })
        .collect();
    let mut taken = Vec::new();
    for writer in writers {
        taken.extend(writer.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let syncs = store.stats().syncs - before.syncs;
    let count = WRITERS * TRANSACTIONS_PER_WRITER;
    println!(
        "{WRITERS} writers: {:.0} transactions/s, {syncs} syncs for {count}",
        f64::from(count) / seconds
    );
    print_quantiles("  one of them", &mut taken);
    Ok(())
}

async fn reads(store: &EmbeddedStore) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    for index in 0..READS {
        store
            .get(&format!("single/{}", index % SINGLE_TRANSACTIONS))
            .await?;
    }
    println!("get: {:?}", start.elapsed() / u32::try_from(READS)?);
    for limit in [Some(16), Some(256), Some(257), None] {
        const LISTS: u32 = 300;
        let request = ListRequest {
            limit,
            ..ListRequest::prefix("single/")
        };
        let start = Instant::now();
        for _ in 0..LISTS {
            store.list(request.clone()).await?;
        }
        println!("list of at most {limit:?}: {:?}", start.elapsed() / LISTS);
    }
    Ok(())
}

async fn fill(store: &EmbeddedStore) -> Result<(), Box<dyn Error>> {
    for page in 0..KEYS / 100 {
        let puts = (0..100).fold(Transaction::new(), |transaction, index| {
            transaction.put(format!("fill/{page}/{index}"), vec![b'x'; VALUE_BYTES])
        });
        store.commit(puts).await?;
    }
    Ok(())
}

fn print_quantiles(what: &str, taken: &mut [Duration]) {
    taken.sort_unstable();
    let at = |percent: usize| taken[(taken.len() - 1) * percent / 100];
    println!(
        "{what}: median {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(99),
        at(100)
    );
}

fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?
        .parse()?)
}
