//! File servers: users make and delete them, machines serve them, jobs mount them; and what gangs
//! share that have none.

use std::collections::{BTreeMap, BTreeSet};

use lote_control::testing::file_server;
use lote_model::allocation::NodePlan;
use lote_model::export::{Export, ExportPhase, NfsAbility, NfsServer, NfsService, SharePlace};
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::id::{FileServerUid, JobUid, NodeName};
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_model::planned_mount::{GangShare, MountSource};
use lote_store::{Event, Revision, Transaction, Versioned, Write};

use crate::random::Random;
use crate::site::{SharedStore, Site};

/// The names that file servers get, again and again.
const NAMES: [&str; 3] = ["fs0", "fs1", "fs2"];

/// What users want of file servers, and what was seen of them.
#[derive(Debug)]
pub(crate) struct Storage {
    /// Of its own, so that sites without file servers stay as they are.
    random: Random,
    is_used: bool,
    made: u32,
    /// What was seen up to this revision.
    seen: Revision,
    /// The last record of each, by its key.
    records: BTreeMap<String, FileServerRecord>,
    /// The node of each, which never changes.
    homes: BTreeMap<FileServerUid, NodeName>,
    /// What the parts of each attempt of a job mount of file servers.
    mounts: BTreeMap<(JobUid, u32), BTreeSet<FileServerUid>>,
    /// What each attempt of a gang shares.
    gang_shares: BTreeMap<(JobUid, u32), GangShare>,
}

/// Whether a node can serve files and mount those of others.
pub(crate) fn equip(record: &mut NodeRecord, random: &mut Random) {
    record.nfs = Some(if random.once_in(4) {
        NfsAbility::Lacks("no NFS server".into())
    } else {
        NfsAbility::Serves(NfsService {
            server: NfsServer::Ganesha,
            nfs_port: 2049,
            mount_port: Some(20_048),
            versions: vec!["4.2".into(), "3".into()],
            shares: SharePlace::Below("/var/lib/lote/work/shared".into()),
        })
    });
    if !random.once_in(6) {
        record.nfs_client_versions = vec!["3".into()];
    }
}

impl Storage {
    pub(crate) fn new(seed: u64, is_large: bool) -> Self {
        let mut random = Random::new(seed.wrapping_add(0x5354_4F52));
        Self {
            is_used: !is_large && random.once_in(2),
            random,
            made: 0,
            seen: 0,
            records: BTreeMap::new(),
            homes: BTreeMap::new(),
            mounts: BTreeMap::new(),
            gang_shares: BTreeMap::new(),
        }
    }

    /// Which file server a new job mounts, if any; also one that is not there.
    pub(crate) fn mounted_by_next_job(&mut self) -> Option<&'static str> {
        let mounts = self.is_used && self.random.once_in(3);
        mounts.then(|| NAMES[self.random.index(NAMES.len())])
    }

    /// What users do with file servers in one second.
    pub(crate) fn step(&mut self, store: &mut SharedStore, now: jiff::Timestamp) {
        if !self.is_used {
            return;
        }
        let name = NAMES[self.random.index(NAMES.len())];
        if self.random.once_in(15) {
            self.create(store, name, now);
        }
        if self.random.once_in(60) {
            let erase = self.random.once_in(2);
            change(store, name, |record| {
                if record.delete_requested_at.is_none() {
                    record.delete_requested_at = Some(now);
                    record.erase_data = erase;
                }
            });
        }
    }

    /// As the API does: never in the place of one that is still there.
    fn create(&mut self, store: &mut SharedStore, name: &str, now: jiff::Timestamp) {
        self.made += 1;
        let mut record = file_server(name, &format!("uid-{name}-{}", self.made));
        record.created_at = now;
        let key = key::file_server(&record.path);
        let write = Write::put_json(&key, &record).unwrap();
        store.commit(&Transaction::new().require_absent(key).write(write));
    }

    pub(crate) fn after_step(&mut self, site: &Site) {
        let changes = site.store.after(self.seen, usize::MAX);
        for (revision, events) in changes {
            for event in events {
                self.see(event, site);
            }
            self.seen = *revision;
        }
        self.nobody_has_what_is_withdrawn(site);
    }

    fn see(&mut self, event: &Event, site: &Site) {
        match event {
            Event::Put(item) if item.key.starts_with(key::FILE_SERVERS) => {
                self.records.insert(item.key.clone(), read(item));
            }
            Event::Delete { key, .. } if key.starts_with(key::FILE_SERVERS) => {
                let record = self.records.remove(key).expect("it was there");
                erased_rightly(&record, site);
            }
            Event::Put(item) if item.key.starts_with(key::FILE_SERVER_STATUS) => {
                let status: FileServerStatus = read(item);
                let Some(node) = status.node else { return };
                let home = self.homes.entry(status.uid.clone()).or_insert(node.clone());
                assert_eq!(*home, node, "file server {} has moved", status.uid);
            }
            Event::Put(item) if item.key.starts_with(key::PLANS) => {
                self.see_plan(&read(item), site);
            }
            _ => {}
        }
    }

    fn see_plan(&mut self, plan: &NodePlan, site: &Site) {
        let attempt = (plan.uid.clone(), plan.attempt);
        let all = plan.mounts.cluster.iter().chain(&plan.mounts.job);
        let servers = all.filter_map(|mount| match &mount.source {
            MountSource::FileServer(source) => Some(source.uid.clone()),
            _ => None,
        });
        self.mounts
            .entry(attempt.clone())
            .or_default()
            .extend(servers);
        let share = &plan.mounts.share;
        let known = self.gang_shares.entry(attempt).or_insert(share.clone());
        assert_eq!(
            known, share,
            "the nodes of {} share different things",
            plan.uid
        );
        let needs_one = plan.gang.len() > 1 && plan.mounts.shared_between_nodes().is_none();
        assert_eq!(needs_one, !share.is_none(), "{}: {share:?}", plan.uid);
        if let GangShare::Directory(source) = share {
            let first = &plan.gang[0];
            assert_eq!(
                (&first.node, &first.address),
                (&source.node, &source.address)
            );
            let name = format!("/{}.{}", plan.uid, plan.attempt);
            assert!(source.point.path.ends_with(&name), "{source:?}");
            for member in &plan.gang[1..] {
                let mut machines = site.machines.iter();
                let machine = machines.find(|machine| *machine.name() == member.node);
                let record = &machine.expect("a machine").builder.0;
                assert!(
                    !record.nfs_client_versions.is_empty(),
                    "{} mounts nothing",
                    record.name
                );
            }
        }
    }

    /// Before a node is told to withdraw a file server, nothing that mounts it runs any more, not
    /// even on machines that nobody hears of.
    fn nobody_has_what_is_withdrawn(&self, site: &Site) {
        let exports = site.store.ledger.list(key::EXPORTS).map(read::<Export>);
        let withdrawn: BTreeSet<FileServerUid> = exports
            .filter(|export| export.phase != ExportPhase::Serve)
            .map(|export| export.uid)
            .collect();
        for machine in &site.machines {
            for (uid, run) in machine.runs.iter().filter(|(_, run)| run.is_active()) {
                let mounts = self.mounts.get(&(uid.clone(), run.attempt));
                for server in mounts.into_iter().flatten() {
                    let is_there = self.records.values().any(|record| record.uid == *server);
                    assert!(
                        is_there && !withdrawn.contains(server),
                        "{uid} runs on {} and mounts {server}, which is withdrawn",
                        machine.name()
                    );
                }
            }
        }
    }
}

/// Only what a user wants to be gone goes, and only when its node serves it no more; its files with
/// it if that was asked for, and only then.
fn erased_rightly(record: &FileServerRecord, site: &Site) {
    let uid = &record.uid;
    assert!(
        record.delete_requested_at.is_some(),
        "nobody wanted {uid} to go"
    );
    for machine in &site.machines {
        let disk = &machine.disk;
        assert!(
            !disk.served.contains(uid),
            "{} still serves {uid}",
            machine.name()
        );
        let was_here = disk.made.contains(uid);
        assert!(
            !was_here || record.erase_data != disk.files.contains(uid),
            "the files of {uid} on {}, to be erased: {}",
            machine.name(),
            record.erase_data
        );
    }
}

fn change(store: &mut SharedStore, name: &str, change: impl FnOnce(&mut FileServerRecord)) {
    let key = key::file_server(&file_server(name, "").path);
    let Some(mut record) = store.ledger.get::<FileServerRecord>(&key) else {
        return;
    };
    change(&mut record);
    let write = Write::put_json(key, &record).unwrap();
    store.commit(&Transaction::new().write(write));
}

/// The user deletes all that there are; in the end nothing may be left of them.
pub(crate) fn delete_all(site: &mut Site) {
    let now = site.time();
    for name in NAMES {
        change(&mut site.store, name, |record| {
            record.delete_requested_at.get_or_insert(now);
        });
    }
}

/// Whether nothing is stored about any of them.
pub(crate) fn is_gone(site: &Site) -> bool {
    [
        key::FILE_SERVERS,
        key::FILE_SERVER_STATUS,
        key::EXPORTS,
        key::EXPORTED,
    ]
    .iter()
    .all(|prefix| site.store.ledger.list(prefix).next().is_none())
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(item: &Versioned) -> T {
    serde_json::from_slice(&item.value).unwrap()
}
