//! A machine: what really runs, whatever the store says.

use std::collections::BTreeMap;

use lote_control::actions::PowerOrder;
use lote_control::testing::NodeBuilder;
use lote_model::accounting::Account;
use lote_model::allocation::{Allocation, AllocationPhase};
use lote_model::fencing;
use lote_model::id::{JobUid, NodeName};
use lote_model::job::ErrorRecord;
use lote_model::key;
use lote_model::report::{Outcome, Report, ReportPhase};
use lote_store::{Transaction, Write};

use crate::disk::Disk;
use crate::random::Random;
use crate::site::{SharedStore, Site};

/// A lease ends this long after it was renewed.
const LEASE: i64 = fencing::LEASE.as_secs().cast_signed();

/// How often it is renewed.
const RENEWAL: i64 = 5;

/// A machine that could not renew for this long ends its jobs.
const FENCED_AFTER: i64 = fencing::FENCED_AFTER.as_secs().cast_signed();

/// One job's part on a machine.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) attempt: u32,
    rank: u32,
    pub(crate) allocation: Allocation,
    state: RunState,
}

#[derive(Clone, Debug)]
enum RunState {
    /// Until then the node prepares.
    Preparing(i64),
    /// It waits for the others of the gang.
    Prepared,
    /// Until then its processes run.
    Running(i64),
    /// Until then it is being stopped.
    Stopping(i64),
    /// Nothing runs any more.
    Ended(Outcome),
}

impl Run {
    /// Whether processes of it may exist.
    pub(crate) fn is_active(&self) -> bool {
        !matches!(self.state, RunState::Ended(_))
    }
}

/// A report on its way.
#[derive(Clone, Debug)]
struct Letter {
    due: i64,
    report: Report,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) builder: NodeBuilder,
    pub(crate) is_connected: bool,
    pub(crate) is_powered: bool,
    /// When it is off, because it was told so.
    goes_down_at: Option<i64>,
    /// When it has come back, because somebody switched it on.
    pub(crate) boots_at: Option<i64>,
    last_renewal: i64,
    pub(crate) runs: BTreeMap<JobUid, Run>,
    letters: Vec<Letter>,
    /// The file servers that it has.
    pub(crate) disk: Disk,
}

impl Machine {
    pub(crate) fn new(builder: NodeBuilder) -> Self {
        Self {
            builder,
            is_connected: true,
            is_powered: true,
            goes_down_at: None,
            boots_at: None,
            last_renewal: i64::MIN / 2,
            runs: BTreeMap::new(),
            letters: Vec::new(),
            disk: Disk::default(),
        }
    }

    pub(crate) fn name(&self) -> &NodeName {
        &self.builder.0.name
    }

    pub(crate) fn register(&self, store: &mut SharedStore) {
        let write = Write::put_json(key::node(self.name()), &self.builder.0).unwrap();
        store.commit(&Transaction::new().write(write));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.letters.is_empty()
    }

    /// Everything on it ends at once, and nobody is told.
    pub(crate) fn power_off(&mut self) {
        self.is_powered = false;
        self.goes_down_at = None;
        self.runs.clear();
        self.letters.clear();
        self.disk.served.clear();
    }

    /// Does what the leader orders, in a while.
    pub(crate) fn order(&mut self, order: PowerOrder, now: i64, random: &mut Random) {
        match order {
            PowerOrder::Off if self.is_powered => {
                self.assert_idle();
                self.goes_down_at = Some(now + random.between(1, 20));
            }
            PowerOrder::On if !self.is_powered => {
                self.boots_at = Some(now + random.between(5, 60));
            }
            PowerOrder::On | PowerOrder::Off => {}
        }
    }

    fn assert_idle(&self) {
        let active: Vec<_> = self
            .runs
            .iter()
            .filter(|(_, run)| run.is_active())
            .collect();
        assert!(
            active.is_empty(),
            "{} is switched off, and has {active:?}",
            self.name()
        );
    }

    fn go_down_or_boot(&mut self, store: &mut SharedStore, now: i64) {
        if self.goes_down_at.is_some_and(|at| at <= now) {
            self.goes_down_at = None;
            self.assert_idle();
            self.power_off();
        }
        if self.boots_at.is_some_and(|at| at <= now) {
            self.boots_at = None;
            self.is_powered = true;
            self.builder.0.boot_id = format!("boot-{now}");
            self.builder.0.started_at = lote_control::testing::at_second(now);
            self.register(store);
        }
    }

    pub(crate) fn step(site: &mut Site, index: usize) {
        let Site {
            random,
            now,
            store,
            machines,
            ..
        } = site;
        let (machine, now) = (&mut machines[index], *now);
        machine.expire(store, now);
        machine.go_down_or_boot(store, now);
        if !machine.is_powered {
            return;
        }
        if machine.is_connected {
            machine.renew(store, now);
        }
        if now - machine.last_renewal >= FENCED_AFTER {
            machine.end_all();
        }
        // What the leader wants arrives late now and then.
        if machine.is_connected && machine.is_alive(now) && !random.once_in(4) {
            machine.follow(store, now, random.between(0, 3), random.between(1, 60));
            let node = machine.name().clone();
            machine.disk.follow(&node, store, now);
        }
        machine.go_on(now, random.between(0, 4), random.once_in(12));
        if machine.is_connected && machine.is_alive(now) {
            machine.send(store, now, random.once_in(20));
        }
    }

    fn is_alive(&self, now: i64) -> bool {
        now - self.last_renewal < LEASE
    }

    /// The store lets the lease end.
    fn expire(&self, store: &mut SharedStore, now: i64) {
        let key = key::alive(self.name());
        if now - self.last_renewal >= LEASE && store.ledger.get::<bool>(&key).is_some() {
            store.commit(&Transaction::new().delete(key));
        }
    }

    fn renew(&mut self, store: &mut SharedStore, now: i64) {
        if now - self.last_renewal < RENEWAL {
            return;
        }
        let key = key::alive(self.name());
        if store.ledger.get::<bool>(&key).is_none() {
            // What it no longer owns ends before it takes work again.
            let is_owned = |uid: &JobUid, run: &mut Run| {
                let key = key::allocation(&self.builder.0.name, uid);
                let allocation: Option<Allocation> = store.ledger.get(&key);
                allocation.is_some_and(|allocation| allocation.attempt == run.attempt)
            };
            self.runs.retain(is_owned);
            let write = Write::put_json(key, &true).unwrap();
            store.commit(&Transaction::new().write(write));
        }
        self.last_renewal = now;
    }

    /// Nobody knows whether its jobs were given to others: they end.
    fn end_all(&mut self) {
        let reason = "the node could not reach the store for too long";
        for run in self.runs.values_mut().filter(|run| run.is_active()) {
            run.state = RunState::Ended(Outcome::Lost {
                reason: reason.into(),
                error: None,
            });
        }
        self.announce_ends(0);
    }

    fn follow(&mut self, store: &SharedStore, now: i64, delay: i64, duration: i64) {
        let prefix = key::allocations_of(self.name());
        let read = |item: &lote_store::Versioned| serde_json::from_slice(&item.value).unwrap();
        let allocations: Vec<Allocation> = store.ledger.list(&prefix).map(read).collect();
        let is_wanted = |uid: &JobUid, run: &mut Run| {
            let is_same = |it: &Allocation| it.uid == *uid && it.attempt == run.attempt;
            allocations.iter().any(is_same)
        };
        self.runs.retain(is_wanted);
        for allocation in allocations {
            let is_reported = store
                .ledger
                .get::<Report>(&key::report(&allocation.uid, self.name()))
                .is_some_and(|report| {
                    report.attempt == allocation.attempt
                        && matches!(report.phase, ReportPhase::Ended { .. })
                });
            let uid = allocation.uid.clone();
            let is_new = !self.runs.contains_key(&uid);
            let run = self.runs.entry(uid.clone()).or_insert_with(|| Run {
                attempt: allocation.attempt,
                rank: allocation.rank,
                state: match (is_reported, self.builder.0.boot_id == allocation.boot_id) {
                    (true, _) => RunState::Ended(Outcome::Stopped),
                    (false, true) => RunState::Preparing(now + delay),
                    (false, false) => RunState::Ended(Outcome::Lost {
                        reason: "the machine was restarted".into(),
                        error: None,
                    }),
                },
                allocation: allocation.clone(),
            });
            run.allocation = allocation;
            match (&run.state, run.allocation.phase) {
                (RunState::Ended(_) | RunState::Stopping(_), _) => {}
                (_, AllocationPhase::Stop) => run.state = RunState::Stopping(now + delay),
                (RunState::Prepared, AllocationPhase::Run) => {
                    run.state = RunState::Running(now + duration);
                }
                (RunState::Preparing(_), _) if is_new => self.announce(&uid, now),
                _ => {}
            }
        }
        let lost: Vec<JobUid> = self
            .runs
            .iter()
            .filter(|(_, run)| matches!(run.state, RunState::Ended(Outcome::Lost { .. })))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in lost {
            if !self.letters.iter().any(|letter| letter.report.uid == uid) {
                self.announce(&uid, now);
            }
        }
    }

    fn go_on(&mut self, now: i64, delay: i64, fails: bool) {
        let mut news = Vec::new();
        for (uid, run) in &mut self.runs {
            let next = match run.state {
                RunState::Preparing(until) if until <= now => Some(RunState::Prepared),
                RunState::Running(until) if until <= now && fails => {
                    let error = ErrorRecord::new("JobFailed", "it failed");
                    Some(RunState::Ended(Outcome::Failed {
                        exit_code: Some(1),
                        error,
                    }))
                }
                RunState::Running(until) if until <= now => {
                    Some(RunState::Ended(Outcome::Completed))
                }
                RunState::Stopping(until) if until <= now => {
                    Some(RunState::Ended(Outcome::Stopped))
                }
                _ => None,
            };
            if let Some(next) = next {
                run.state = next;
                news.push(uid.clone());
            }
        }
        for uid in news {
            self.announce(&uid, now + delay);
        }
    }

    fn announce_ends(&mut self, due: i64) {
        let ended: Vec<JobUid> = self
            .runs
            .iter()
            .filter(|(_, run)| !run.is_active())
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in ended {
            let is_on_its_way = |letter: &Letter| {
                letter.report.uid == uid && matches!(letter.report.phase, ReportPhase::Ended { .. })
            };
            if !self.letters.iter().any(is_on_its_way) {
                self.announce(&uid, due);
            }
        }
    }

    fn announce(&mut self, uid: &JobUid, due: i64) {
        let Some(run) = self.runs.get(uid) else {
            return;
        };
        let phase = match &run.state {
            RunState::Ended(outcome) => ReportPhase::Ended {
                outcome: outcome.clone(),
                account: Account::default(),
            },
            RunState::Preparing(_) => ReportPhase::Preparing {
                doing: "what takes long".into(),
            },
            _ => ReportPhase::Prepared,
        };
        let report = Report {
            uid: uid.clone(),
            node: self.name().clone(),
            attempt: run.attempt,
            rank: run.rank,
            phase,
            directories: Vec::new(),
            at: lote_control::testing::at_second(due),
        };
        // A node writes its reports one after the other: a later one never arrives before.
        let before = self.letters.iter().filter(|it| it.report.uid == *uid);
        let due = before.map(|letter| letter.due).fold(due, i64::max);
        self.letters.push(Letter { due, report });
    }

    /// Sends what is due, in order; now and then something twice.
    fn send(&mut self, store: &mut SharedStore, now: i64, twice: bool) {
        let (due, later) = std::mem::take(&mut self.letters)
            .into_iter()
            .partition(|letter| letter.due <= now);
        self.letters = later;
        let due: Vec<Letter> = due;
        for letter in due {
            let report = &letter.report;
            let allocation = key::allocation(self.name(), &report.uid);
            let item = store.ledger.list(&allocation).next();
            let item = item.filter(|item| item.key == allocation);
            let Some(item) = item else { continue };
            let current: Allocation = serde_json::from_slice(&item.value).unwrap();
            if current.attempt != report.attempt {
                continue;
            }
            let write = Write::put_json(key::report(&report.uid, self.name()), report).unwrap();
            let transaction = Transaction::new()
                .require_revision(allocation, item.mod_revision)
                .write(write);
            store.commit(&transaction);
            let is_end = matches!(report.phase, ReportPhase::Ended { .. });
            if twice && is_end {
                self.letters.push(Letter {
                    due: now + 7,
                    report: letter.report,
                });
            }
        }
    }
}
