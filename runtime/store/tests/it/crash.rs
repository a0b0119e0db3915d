//! `kill -9` loses nothing that was acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use lote_store::{Event, ListRequest, Store};

use crate::{next, open, put};

const FOLDER_VARIABLE: &str = "LOTE_STORE_CRASH_TEST_FOLDER";
const WRITERS: usize = 8;

/// Not a test by itself: the process that the test below kills. It writes for ever and prints
/// each key once it is acknowledged.
#[test]
#[ignore = "started by the test below"]
fn writer_process() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Arc::new(open(Path::new(&folder)));
    let run = runtime.block_on(store.revision()).unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            runtime.spawn(async move {
                for index in 0_u64.. {
                    let key = format!("k/{run}/{writer}/{index}");
                    put(&*store, &key, "1").await;
                    writeln!(std::io::stdout().lock(), "\nacknowledged {key}").unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
}

fn start_writers(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::writer_process",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER_VARIABLE, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets the writers acknowledge `count` keys, kills them, and returns all keys that were
/// acknowledged until then.
fn acknowledged_until_killed(folder: &Path, count: usize) -> Vec<String> {
    let mut child = start_writers(folder);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut keys = Vec::new();
    for line in lines {
        let line = line.unwrap();
        keys.extend(line.strip_prefix("acknowledged ").map(str::to_owned));
        if keys.len() == count {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(
        !status.success() && keys.len() >= count,
        "{status}, {} keys",
        keys.len()
    );
    keys
}

#[tokio::test]
async fn every_acknowledged_key_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for count in [1, 50, 333, 700] {
        acknowledged.extend(acknowledged_until_killed(folder.path(), count));
        let store = open(folder.path());
        for key in &acknowledged {
            assert!(store.get(key).await.unwrap().is_some(), "{key} is lost");
        }
        assert_history_matches_keys(&store).await;
    }
}

/// Every revision is in the history, once, and made exactly the keys that are there.
async fn assert_history_matches_keys(store: &dyn Store) {
    let listing = store.list(ListRequest::prefix("")).await.unwrap();
    let mut watch = store.watch("", 1).await.unwrap();
    let mut keys = Vec::new();
    for revision in 1..=listing.revision {
        let batch = next(&mut watch).await.unwrap();
        assert_eq!(batch.revision, revision);
        keys.extend(batch.events.iter().map(Event::key).map(str::to_owned));
    }
    keys.sort();
    assert_eq!(
        keys,
        listing
            .items
            .into_iter()
            .map(|item| item.key)
            .collect::<Vec<_>>()
    );
}
