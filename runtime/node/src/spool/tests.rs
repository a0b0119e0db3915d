//! A whole delivery between two real directories, with whatever can happen on the way.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lote_model::id::JobUid;
use lote_model::name::{GroupName, ResourceName};
use lote_model::path::{JobPath, WorkspacePath};
use lote_model::planned_mount::{MountSource, PlannedMount};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const BOOT: &str = "boot";
const LIMIT: u64 = 16 << 20;

struct Place {
    folder: TempDir,
}

/// What may happen while a job writes.
#[derive(Clone, Debug)]
enum Event {
    /// It writes so many bytes.
    Write(usize),
    /// The daemon is replaced.
    Restart,
    /// The destination cannot be opened.
    Break,
    /// It can again.
    Mend,
    /// Time passes.
    Pass(u64),
}

fn manifest(place: &Path) -> Manifest {
    let name = |text: &str| ResourceName::new(text).unwrap();
    let workspace = WorkspacePath {
        group: GroupName::new("g").unwrap(),
        workspace: name("w"),
    };
    Manifest {
        job: JobPath::new(&workspace.child(name("e")), name("j")),
        uid: JobUid::new("u"),
        attempt: 1,
        identity: None,
        boot_id: BOOT.into(),
        directory: "/job/stdouterr".into(),
        place: super::Place {
            // The one file system that is mounted everywhere.
            mount_point: "/".into(),
            below: place.strip_prefix("/").unwrap().join("share/stdouterr"),
            mode: 0o755,
        },
        mount: PlannedMount {
            relative_path: "share".into(),
            source: MountSource::Command("mount".into()),
        },
        umask: 0o022,
        names: vec!["execution.log".into(), "stdout.txt".into()],
        log: "execution.log".into(),
    }
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spool(&self) -> SpoolPaths {
        fs::create_dir_all(self.path("spool")).unwrap();
        SpoolPaths::new(&self.path("spool"), "u.1")
    }

    fn start(&self) -> Delivery {
        let manifest = manifest(&fs::canonicalize(self.folder.path()).unwrap());
        Delivery::start(self.spool(), manifest, BOOT, LIMIT).unwrap()
    }

    fn process(&self) -> File {
        let mut options = OpenOptions::new();
        let path = self.spool().files().join("stdout.txt");
        options.append(true).create(true).open(path).unwrap()
    }

    fn destination(&self) -> PathBuf {
        self.path("share/stdouterr/stdout.txt")
    }

    /// A file stands where the directory was.
    fn break_it(&self) {
        if self.path("share").is_dir() {
            fs::rename(self.path("share"), self.path("away")).unwrap();
            fs::write(self.path("share"), "").unwrap();
        }
    }

    fn mend(&self) {
        if self.path("share").is_file() {
            fs::remove_file(self.path("share")).unwrap();
            fs::rename(self.path("away"), self.path("share")).unwrap();
        }
    }
}

fn on_runtime<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

async fn play(events: Vec<Event>) -> (Vec<u8>, Vec<u8>) {
    let place = Place::new();
    let mut delivery = place.start();
    let mut process = place.process();
    let mut written = Vec::new();
    for event in events {
        match event {
            Event::Write(count) => {
                let bytes: Vec<u8> = (0..=250).cycle().take(count).collect();
                process.write_all(&bytes).unwrap();
                written.extend(bytes);
            }
            Event::Restart => {
                drop(delivery);
                delivery = place.start();
            }
            Event::Break => place.break_it(),
            Event::Mend => place.mend(),
            Event::Pass(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
        }
    }
    place.mend();
    delivery.finish(Duration::from_secs(30)).await.unwrap();
    assert!(!place.spool().directory().exists());
    (written, fs::read(place.destination()).unwrap())
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (1_usize..600_000).prop_map(Event::Write),
        2 => Just(Event::Restart),
        1 => Just(Event::Break),
        1 => Just(Event::Mend),
        2 => (0_u64..120).prop_map(Event::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_written_arrives_whatever_happens(events in prop::collection::vec(event(), 1..16)) {
        let (written, arrived) = on_runtime(play(events));
        prop_assert!(written == arrived, "{} and {} bytes", written.len(), arrived.len());
    }
}

#[test]
fn a_second_attempt_appends_to_what_the_first_has_left() {
    on_runtime(async {
        let place = Place::new();
        for text in ["one\n", "two\n"] {
            let delivery = place.start();
            place.process().write_all(text.as_bytes()).unwrap();
            delivery.finish(Duration::from_secs(30)).await.unwrap();
        }
        assert_eq!(
            fs::read_to_string(place.destination()).unwrap(),
            "one\ntwo\n"
        );
    });
}

#[test]
fn what_is_missing_is_told_with_the_reason() {
    on_runtime(async {
        let place = Place::new();
        fs::write(place.path("share"), "in the way").unwrap();
        let delivery = place.start();
        place.process().write_all(b"12345").unwrap();
        let undelivered = delivery.finish(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(undelivered.missing_bytes, 5);
        assert!(
            undelivered.trouble.contains("Not a directory"),
            "{undelivered:?}"
        );
        fs::remove_file(place.path("share")).unwrap();
        delivery.finish(Duration::from_secs(30)).await.unwrap();
        assert_eq!(fs::read_to_string(place.destination()).unwrap(), "12345");
    });
}

#[test]
fn nothing_is_written_where_nothing_is_mounted() {
    on_runtime(async {
        let place = Place::new();
        let mut manifest = manifest(place.folder.path());
        manifest.place.mount_point = place.path("point");
        fs::create_dir(place.path("point")).unwrap();
        let delivery = Delivery::start(place.spool(), manifest, BOOT, LIMIT).unwrap();
        place.process().write_all(b"12345").unwrap();
        let undelivered = delivery.finish(Duration::from_secs(1)).await.unwrap_err();
        assert!(
            undelivered.trouble.contains("no file system is mounted"),
            "{undelivered:?}"
        );
        assert_eq!(fs::read_dir(place.path("point")).unwrap().count(), 0);
    });
}

#[test]
fn a_paused_delivery_writes_nothing() {
    on_runtime(async {
        let place = Place::new();
        let delivery = place.start();
        delivery.set_paused(true);
        place.process().write_all(b"12345").unwrap();
        tokio::time::sleep(PACE * 3).await;
        assert!(!place.destination().exists());
        delivery.set_paused(false);
        delivery.finish(Duration::from_secs(30)).await.unwrap();
        assert_eq!(fs::read_to_string(place.destination()).unwrap(), "12345");
    });
}

#[test]
fn after_another_boot_a_file_that_lost_its_end_is_as_it_is() {
    on_runtime(async {
        let place = Place::new();
        let delivery = place.start();
        let process = place.process();
        (&process).write_all(b"12345").unwrap();
        while fs::read(place.destination()).unwrap_or_default() != b"12345" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Until it is written down that all has arrived.
        while delivery.shared.files().missing() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(delivery);
        process.set_len(2).unwrap();
        let manifest = manifest(&fs::canonicalize(place.folder.path()).unwrap());
        let delivery = Delivery::start(place.spool(), manifest, "another", LIMIT).unwrap();
        delivery.finish(Duration::from_secs(30)).await.unwrap();
        assert_eq!(fs::read_to_string(place.destination()).unwrap(), "12345");
    });
}
