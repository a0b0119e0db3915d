//! A full disk: nothing is acknowledged, nothing is lost, and it goes on when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use lote_store::{EmbeddedStore, Revision, Store, StoreError, Transaction};

use crate::{next, open, put, value_of};

const DISK_KIB: u32 = 4096;

/// A small file system of its own, gone with this value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_KIB}k");
        let arguments = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let output = Command::new("mount")
            .args(arguments)
            .arg(folder.path())
            .output()
            .ok()?;
        output.status.success().then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Something to delete later, so that there is room again.
    fn add_ballast(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        std::fs::write(&ballast, vec![0; (DISK_KIB as usize / 3) << 10]).unwrap();
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Writes until the disk is full; returns the keys that were acknowledged.
async fn fill(store: &EmbeddedStore) -> Vec<String> {
    let mut keys = Vec::new();
    for index in 0..1000 {
        let key = format!("fill/{index}");
        let put = Transaction::new().put(key.as_str(), vec![b'x'; 64 << 10]);
        match store.commit(put).await {
            Ok(outcome) => assert!(outcome.is_applied()),
            Err(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. }) => return keys,
            Err(error) => panic!("{error}"),
        }
        keys.push(key);
    }
    panic!("the disk does not fill up");
}

async fn assert_all_there(store: &EmbeddedStore, keys: &[String]) {
    for key in keys {
        assert!(store.get(key).await.unwrap().is_some(), "{key} is lost");
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_survived() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    let ballast = disk.add_ballast();
    let store = open(disk.path());
    put(&store, "a", "1").await;
    let mut watch = store.watch("a", 0).await.unwrap();
    let keys = fill(&store).await;
    assert!(!keys.is_empty());
    // Reads go on, and a second failure is an error again, not the end.
    assert_all_there(&store, &keys).await;
    fill(&store).await;
    assert_all_there(&store, &keys).await;

    std::fs::remove_file(&ballast).unwrap();
    let revision: Revision = put(&store, "a", "2").await;
    assert_eq!(next(&mut watch).await.unwrap().revision, revision);
    drop(store);
    let store = open(disk.path());
    assert_all_there(&store, &keys).await;
    assert_eq!(value_of(&store, "a").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_file_taken_away_is_no_empty_store() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    let (file, away) = (disk.path().join("store.redb"), disk.path().join("away"));
    let ballast = disk.add_ballast();
    let store = open(disk.path());
    put(&store, "a", "1").await;
    std::fs::rename(&file, &away).unwrap();
    // The full disk makes the store close its file, which it then does not find again.
    let keys = fill(&store).await;
    std::fs::remove_file(&ballast).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            store.get("a").await,
            Err(StoreError::Unavailable { .. })
        ));
        let refused = store.commit(Transaction::new().put("b", "1")).await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
    }
    assert!(!file.exists(), "a new file took its place");
    std::fs::rename(&away, &file).unwrap();
    // Without any write, it tries again by itself.
    let found = tokio::time::timeout(crate::PATIENCE, async {
        loop {
            match store.get("a").await {
                Ok(found) => return found,
                Err(StoreError::Unavailable { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert!(found.await.expect("the store stays away").is_some());
    assert_all_there(&store, &keys).await;
}

#[tokio::test]
async fn who_else_fills_the_disk_takes_nothing_from_the_store() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    let store = open(disk.path());
    put(&store, "a", "1").await;
    let mut others = std::fs::File::create(disk.path().join("of-others")).unwrap();
    let chunk = [1; 4096];
    while std::io::Write::write_all(&mut others, &chunk).is_ok() {}
    for index in 0..100 {
        let key = format!("reports/{index}");
        let outcome = store
            .commit(Transaction::new().put(key, vec![b'x'; 1000]))
            .await;
        assert!(outcome.unwrap().is_applied());
    }
    assert_eq!(value_of(&store, "a").await.as_deref(), Some("1"));
}
