//! Everything together, second by second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use lote_control::config::{Config, PowerPolicy};
use lote_control::testing::{Ledger, at_second};
use lote_model::id::JobUid;
use lote_model::job::JobRecord;
use lote_store::{Commit, Event, Revision, Transaction};

use crate::books::Books;
use crate::checks::{self, Checks};
use crate::daemon::Daemon;
use crate::faults;
use crate::machine::Machine;
use crate::random::Random;
use crate::shares::Shares;
use crate::storage::{self, Storage};
use crate::trace::{self, Trace};

/// How long faults go on.
const TROUBLE_SECONDS: i64 = 300;

/// How long everything has to end after that: several losses in a row, each job at its limit.
const RECOVERY_SECONDS: i64 = 6_000;

/// The store as all see it, and its history.
#[derive(Debug, Default)]
pub(crate) struct SharedStore {
    pub(crate) ledger: Ledger,
    /// What each revision changed.
    history: Vec<(Revision, Vec<Event>)>,
}

impl SharedStore {
    pub(crate) fn revision(&self) -> Revision {
        self.ledger.revision()
    }

    pub(crate) fn commit(&mut self, transaction: &Transaction) -> Commit {
        let events = self.ledger.commit(transaction).expect("within the limits");
        let revision = self.ledger.revision();
        match events {
            Some(events) => {
                if !events.is_empty() {
                    self.history.push((revision, events));
                }
                Commit::Applied { revision }
            }
            None => Commit::Conflict { revision },
        }
    }

    /// What each revision changed.
    pub(crate) fn history(&self) -> &[(Revision, Vec<Event>)] {
        &self.history
    }

    /// What happened after a revision, at most so many revisions of it.
    pub(crate) fn after(
        &self,
        revision: Revision,
        most: usize,
    ) -> impl Iterator<Item = &(Revision, Vec<Event>)> {
        let first = self.history.partition_point(|(at, _)| *at <= revision);
        self.history[first..].iter().take(most)
    }
}

/// A whole site.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) random: Random,
    /// Seconds since the epoch.
    pub(crate) now: i64,
    pub(crate) store: SharedStore,
    pub(crate) daemons: Vec<Daemon>,
    pub(crate) machines: Vec<Machine>,
    /// Every job that was acknowledged.
    pub(crate) jobs: BTreeMap<JobUid, JobRecord>,
    /// When machines are switched off and on.
    pub(crate) power: Option<PowerPolicy>,
    /// Whether nothing goes wrong any more.
    pub(crate) is_calm: bool,
    trace: Trace,
    checks: Checks,
    books: Books,
    shares: Shares,
    storage: Storage,
}

impl Site {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shape = trace::shape(seed, &mut random);
        let mut site = Self {
            now: shape.start,
            store: SharedStore::default(),
            daemons: (0..3).map(Daemon::new).collect(),
            machines: Vec::new(),
            jobs: BTreeMap::new(),
            power: shape.power.clone(),
            is_calm: false,
            trace: Trace::new(&shape, &mut random),
            checks: Checks::default(),
            books: Books::default(),
            shares: Shares::default(),
            storage: Storage::new(seed, shape.nodes.len() > 100),
            random,
        };
        for builder in shape.nodes {
            let machine = Machine::new(builder);
            machine.register(&mut site.store);
            site.machines.push(machine);
        }
        for cluster in &shape.clusters {
            Trace::put_cluster(&mut site.store, cluster);
        }
        site
    }

    /// The time as the leaders are told it.
    pub(crate) fn time(&self) -> Timestamp {
        at_second(self.now)
    }

    /// After how long the use of nodes counts half.
    pub(crate) fn half_life() -> SignedDuration {
        // Asked every second, and the default looks at how many processors there are.
        static KNOWN: LazyLock<SignedDuration> =
            LazyLock::new(|| Config::default().usage_half_life);
        *KNOWN
    }

    /// Trouble, then recovery.
    pub(crate) fn run(&mut self) {
        let end_of_trouble = self.now + TROUBLE_SECONDS;
        while self.now < end_of_trouble {
            self.step(true);
        }
        faults::heal_all(self);
        trace::raise_budget(self);
        let mut deletes = false;
        let deadline = self.now + RECOVERY_SECONDS;
        let mut given_up = false;
        while !self.is_over() {
            if !given_up && self.now > deadline - RECOVERY_SECONDS / 2 {
                // What still waits asks for more than there is.
                given_up = true;
                trace::assert_nothing_starves(self);
                trace::terminate_waiting(self);
            }
            assert!(
                self.now < deadline,
                "these jobs never end: {:#?}",
                self.unfinished_in_full()
            );
            if !deletes && self.is_finished() {
                deletes = true;
                storage::delete_all(self);
            }
            self.step(false);
        }
        checks::at_the_end(self);
    }

    fn step(&mut self, trouble: bool) {
        self.now += 1;
        if trouble {
            trace::step(self);
            let now = self.time();
            self.storage.step(&mut self.store, now);
            faults::step(self);
        }
        let turns = self.machines.len() + self.daemons.len();
        let first = self.random.index(turns);
        for turn in 0..turns {
            let actor = (first + turn) % turns;
            if actor < self.daemons.len() {
                Daemon::step(self, actor);
            } else {
                Machine::step(self, actor - self.daemons.len());
            }
        }
        let mut checks = std::mem::take(&mut self.checks);
        checks.after_step(self);
        self.checks = checks;
        let mut books = std::mem::take(&mut self.books);
        books.after_step(self, trouble);
        self.books = books;
        let mut shares = std::mem::take(&mut self.shares);
        shares.after_step(self);
        self.shares = shares;
        self.storage_after_step();
    }

    fn storage_after_step(&mut self) {
        let nothing = Storage::new(0, true);
        let mut storage = std::mem::replace(&mut self.storage, nothing);
        storage.after_step(self);
        self.storage = storage;
    }

    /// Why jobs were started again, all codes that were seen.
    pub(crate) fn requeued(&self) -> &BTreeSet<String> {
        &self.checks.requeued
    }

    pub(crate) fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    pub(crate) fn storage(&mut self) -> &mut Storage {
        &mut self.storage
    }

    fn is_over(&self) -> bool {
        // Looking costs more than the second that it may save.
        self.now % 5 == 0 && self.is_clean() && self.is_finished() && storage::is_gone(self)
    }

    /// Whether every job has ended.
    fn is_finished(&self) -> bool {
        let mut jobs = self.jobs.values();
        jobs.all(|record| checks::is_finished(&self.store.ledger, record))
    }

    fn unfinished(&self) -> Vec<&JobUid> {
        let is_open = |record: &&JobRecord| !checks::is_finished(&self.store.ledger, record);
        let open = self.jobs.values().filter(is_open);
        open.map(|record| &record.uid).collect()
    }

    /// What the store and the machines say of them, for whoever looks into a failure.
    fn unfinished_in_full(&self) -> Vec<String> {
        let describe = |uid: &JobUid| {
            let record = &self.jobs[uid];
            let status = checks::status(&self.store.ledger, record);
            let here = |machine: &&Machine| machine.runs.contains_key(uid);
            let runs = self.machines.iter().filter(here);
            let runs: Vec<String> = runs
                .map(|machine| format!("{}: {:?}", machine.name(), machine.runs[uid]))
                .collect();
            let nodes = record.properties.node_count;
            format!(
                "{uid} on {nodes} nodes of {}: {status:?} {runs:?}",
                record.cluster.name
            )
        };
        self.unfinished().into_iter().map(describe).collect()
    }

    fn is_clean(&self) -> bool {
        let allocations = self.store.ledger.list(lote_model::key::ALLOCATIONS);
        allocations.count() == 0 && self.machines.iter().all(Machine::is_empty)
    }
}
