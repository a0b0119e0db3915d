//! Exports and imports: of a store in use, cut off, interrupted, from one back end to another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lote_store::dump::{EXPORT_SYNC, Export, Header, ImportError, ImportPlan, LineError, VERSION};
use lote_store::{ListRequest, Store, Transaction, Write, dump};
use tempfile::TempDir;

use crate::etcd::server::Cluster;
use crate::{open, put};

fn header() -> Header {
    Header {
        lote_export: VERSION,
        exported_at: "2026-11-27T00:00:00Z".into(),
        daemon_version: "0.0.0".into(),
        cluster_key: Some("f00d".into()),
    }
}

async fn begin(store: &dyn Store) -> Export {
    Export::begin(store, header(), "one".into(), &["alive/"])
        .await
        .unwrap()
}

async fn rest(mut export: Export, store: &dyn Store) -> Vec<u8> {
    let mut lines = Vec::new();
    while let Some(more) = export.next(store).await.unwrap() {
        lines.extend(more);
    }
    lines
}

fn file(folder: &TempDir, content: &[u8]) -> PathBuf {
    let path = folder.path().join("state.jsonl");
    std::fs::write(&path, content).unwrap();
    path
}

async fn all(store: &dyn Store) -> BTreeMap<String, String> {
    let listing = store.list(ListRequest::default()).await.unwrap();
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let items = listing.items.into_iter();
    items
        .map(|item| (item.key, text(&item.value)))
        .filter(|(key, _)| key != EXPORT_SYNC && !key.starts_with("alive/"))
        .collect()
}

async fn import(path: &Path, store: &dyn Store) -> Result<dump::Imported, ImportError> {
    ImportPlan::read(path)?.import(store).await
}

/// Several pages of keys.
async fn filled(store: &dyn Store) {
    for number in 0..300 {
        put(
            store,
            &format!("jobs/{number:04}"),
            &format!("{{\"n\": {number}}}"),
        )
        .await;
    }
    put(store, "alive/n1", "1").await;
}

#[tokio::test]
async fn a_state_moves_from_one_machine_to_etcd_and_back() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let one = open(folders[0].path());
    filled(&one).await;
    let path = file(&folders[2], &rest(begin(&one).await, &one).await);
    let cluster = Cluster::start(1).await;
    let etcd = cluster.store().await;
    let imported = import(&path, &etcd).await.unwrap();
    assert_eq!(imported.keys, 300);
    assert_eq!(all(&etcd).await, all(&one).await);
    assert_eq!(etcd.get("alive/n1").await.unwrap(), None);

    let path = file(&folders[2], &rest(begin(&etcd).await, &etcd).await);
    let back = open(folders[1].path());
    import(&path, &back).await.unwrap();
    assert_eq!(all(&back).await, all(&one).await);
}

#[tokio::test]
async fn what_changes_meanwhile_is_in_the_export() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let store = open(folders[0].path());
    filled(&store).await;
    let mut export = begin(&store).await;
    let mut lines = Vec::new();
    // The header and the first page.
    for _ in 0..2 {
        lines.extend(export.next(&store).await.unwrap().unwrap());
    }
    // In a page that was read, in one that was not, new, gone, and come and gone.
    put(&store, "jobs/0000", "1").await;
    put(&store, "jobs/0299", "2").await;
    put(&store, "a", "3").await;
    put(&store, "z", "4").await;
    put(&store, "b", "5").await;
    let deletions = ["jobs/0001", "jobs/0298", "b"].map(Write::delete);
    let transaction = deletions
        .into_iter()
        .fold(Transaction::new(), Transaction::write);
    store.commit(transaction).await.unwrap();
    lines.extend(rest(export, &store).await);
    let path = file(&folders[2], &lines);
    let copy = open(folders[1].path());
    import(&path, &copy).await.unwrap();
    assert_eq!(all(&copy).await, all(&store).await);
}

/// Writers do not stop; each writes two keys together, so that a state in between shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_export_is_one_state_whoever_writes() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let store = std::sync::Arc::new(open(folders[0].path()));
    filled(&*store).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let mut number = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                let transaction = Transaction::new()
                    .put("a", number.to_string())
                    .put(format!("m/{}", number % 50), "1")
                    .put("z", number.to_string());
                store.commit(transaction).await.unwrap();
            }
        }
    });
    for _ in 0..5 {
        let lines = rest(begin(&*store).await, &*store).await;
        let copy_folder = tempfile::tempdir().unwrap();
        let copy = open(copy_folder.path());
        import(&file(&folders[2], &lines), &copy).await.unwrap();
        let state = all(&copy).await;
        assert_eq!(state.get("a"), state.get("z"));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_whole_changes_nothing() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let store = open(folders[0].path());
    filled(&store).await;
    let lines = rest(begin(&store).await, &store).await;
    let text = String::from_utf8(lines).unwrap();
    let empty = open(folders[1].path());
    let lines: Vec<&str> = text.lines().collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let without_one = [&lines[..5], &lines[6..]].concat().join("\n");
    let damaged = text.replacen("\"n\"", "\"n", 1);
    let cases: [(&str, String); 5] = [
        ("cut", text[..text.len() / 2].to_owned()),
        ("without its end", lines[..lines.len() - 1].join("\n")),
        ("without a line", without_one),
        ("damaged", damaged),
        ("another file", format!("{last}\n{first}")),
    ];
    for (what, content) in cases {
        let error = import(&file(&folders[2], content.as_bytes()), &empty).await;
        assert!(matches!(error, Err(ImportError::Line { .. })), "{what}");
        assert_eq!(all(&empty).await, BTreeMap::new(), "{what}");
    }
    let path = file(&folders[2], lines[..10].join("\n").as_bytes());
    let error = ImportPlan::read(&path).unwrap_err();
    let ImportError::Line { source, .. } = error else {
        panic!("{error}")
    };
    assert!(
        matches!(source, LineError::CutOff { number: 10 }),
        "{source}"
    );
}

#[tokio::test]
async fn a_store_in_use_is_not_imported_into() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let store = open(folders[0].path());
    put(&store, "jobs/mine", "1").await;
    let path = file(&folders[1], &rest(begin(&store).await, &store).await);
    let error = import(&path, &store).await.unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty { .. }), "{error}");
    assert!(!dump::is_half_imported(&store).await.unwrap());
}

#[tokio::test]
async fn half_an_import_is_known_and_begun_anew() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let store = open(folders[0].path());
    filled(&store).await;
    let path = file(&folders[2], &rest(begin(&store).await, &store).await);
    let plan = ImportPlan::read(&path).unwrap();
    let copy = std::sync::Arc::new(open(folders[1].path()));
    // Dropped as soon as something is there.
    let mut watch = copy.watch("jobs/", 0).await.unwrap();
    tokio::select! {
        biased;
        _ = watch.next() => {}
        _ = plan.import(&*copy) => panic!("it should have been interrupted"),
    }
    assert!(dump::is_half_imported(&*copy).await.unwrap());
    put(&*copy, "jobs/of another file", "1").await;
    plan.import(&*copy).await.unwrap();
    assert!(!dump::is_half_imported(&*copy).await.unwrap());
    assert_eq!(all(&*copy).await, all(&store).await);
}

/// Etcd tells no revision that others made beside Lote's keys.
#[tokio::test]
async fn an_export_ends_where_others_share_the_etcd() {
    let cluster = Cluster::start(1).await;
    let store = cluster.store().await;
    put(&store, "a", "1").await;
    let mut others = etcd_client::Client::connect(cluster.endpoints(), None)
        .await
        .unwrap();
    let export = begin(&store).await;
    others.put("/other", "1", None).await.unwrap();
    let lines = tokio::time::timeout(Duration::from_secs(20), rest(export, &store))
        .await
        .expect("the export does not end");
    assert_eq!(String::from_utf8(lines).unwrap().lines().count(), 3);
}
