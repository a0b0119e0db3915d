//! A daemon that leads, or waits for its turn.

use lote_control::actions::{Action, Start, Subject};
use lote_control::config::{Config, Leadership, PowerPolicy};
use lote_control::decide::decide;
use lote_control::launch;
use lote_control::snapshot::Snapshot;
use lote_control::testing::worker;
use lote_model::framework::PlannedLaunch;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::leader::LeaderRecord;
use lote_model::plan::LaunchPlan;
use lote_model::plan_check::CheckedPlan;
use lote_store::{Commit, Revision, Transaction, Write};

use crate::books;
use crate::machine::Machine;
use crate::order;
use crate::random::Random;
use crate::shares;
use crate::site::{SharedStore, Site};

/// A leader that could not renew for this long leads no more.
const LEASE: i64 = 10;

#[derive(Debug)]
pub(crate) struct Daemon {
    name: NodeName,
    /// It does nothing until then, and then goes on where it was.
    pub(crate) sleeps_until: i64,
    last_renewal: i64,
    reign: Option<Reign>,
}

/// What a leader has in its memory.
#[derive(Debug)]
struct Reign {
    /// The revision of its election.
    elected: Revision,
    snapshot: Snapshot,
    /// The snapshot is the store at this revision.
    position: Revision,
    /// Actions under way, and when they reach the store.
    under_way: Vec<(i64, Action)>,
    /// Actions that are over, and the revision that the snapshot must have seen.
    settling: Vec<(Revision, Subject)>,
}

impl Daemon {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            name: NodeName::new(format!("daemon{index}")),
            sleeps_until: 0,
            last_renewal: 0,
            reign: None,
        }
    }

    /// A crash: everything in its memory is gone.
    pub(crate) fn crash(&mut self) {
        self.reign = None;
    }

    pub(crate) fn leads(&self) -> bool {
        self.reign.is_some()
    }

    /// Whether it leads and is awake.
    pub(crate) fn works(&self, now: i64) -> bool {
        self.leads() && now >= self.sleeps_until
    }

    pub(crate) fn step(site: &mut Site, index: usize) {
        let time = site.time();
        let Site {
            random,
            now,
            store,
            daemons,
            machines,
            power,
            is_calm,
            ..
        } = site;
        let (daemon, now) = (&mut daemons[index], *now);
        daemon.expire(store, now);
        if now < daemon.sleeps_until {
            return;
        }
        if daemon.reign.is_none() {
            daemon.stand_for_election(store, power.as_ref(), now, time, random);
        }
        let Some(reign) = &mut daemon.reign else {
            return;
        };
        // One that has just woken up goes on with what it had begun before it looks at anything.
        reign.carry_out(store, machines, now, time, (*is_calm, random));
        reign.follow(store, time, random);
        let is_leader = revision_of(store, key::LEADER) == Some(reign.elected);
        if !is_leader {
            daemon.reign = None;
            return;
        }
        daemon.last_renewal = now;
        let decisions = decide(&reign.snapshot, time);
        books::low_priority_leaves_enough(&reign.snapshot, &decisions);
        order::nothing_is_delayed(&reign.snapshot, &decisions, time);
        shares::less_used_comes_first(&reign.snapshot, &decisions, time);
        reign.snapshot.begin(&decisions, time);
        for action in decisions.actions {
            reign.under_way.push((now + random.between(0, 2), action));
        }
    }

    /// The store lets the lease end.
    fn expire(&self, store: &mut SharedStore, now: i64) {
        let holder: Option<LeaderRecord> = store.ledger.get(key::LEADER);
        let is_own = holder.is_some_and(|holder| holder.node == self.name);
        if is_own && now - self.last_renewal >= LEASE {
            store.commit(&Transaction::new().delete(key::LEADER));
        }
    }

    fn stand_for_election(
        &mut self,
        store: &mut SharedStore,
        power: Option<&PowerPolicy>,
        now: i64,
        time: jiff::Timestamp,
        random: &mut Random,
    ) {
        if revision_of(store, key::LEADER).is_some() || random.once_in(3) {
            return;
        }
        let record = LeaderRecord {
            node: self.name.clone(),
            since: time,
        };
        let transaction = Transaction::new()
            .require_absent(key::LEADER)
            .write(Write::put_json(key::LEADER, &record).unwrap());
        if let Commit::Applied { revision } = store.commit(&transaction) {
            self.last_renewal = now;
            self.reign = Some(Reign::begin(
                store,
                revision,
                config(&self.name, power),
                time,
            ));
        }
    }
}

fn revision_of(store: &SharedStore, key: &str) -> Option<Revision> {
    let item = store.ledger.list(key).next()?;
    (item.key == key).then_some(item.mod_revision)
}

impl Reign {
    fn begin(
        store: &SharedStore,
        elected: Revision,
        config: Config,
        time: jiff::Timestamp,
    ) -> Self {
        Self {
            elected,
            snapshot: store.ledger.load(config, time).expect("readable records"),
            position: store.revision(),
            under_way: Vec::new(),
            settling: Vec::new(),
        }
    }

    /// What is seen is behind what there is, now and then by a lot.
    fn follow(&mut self, store: &SharedStore, time: jiff::Timestamp, random: &mut Random) {
        let most = match random.below(8) {
            0 => 0,
            1 => 2,
            _ => usize::MAX,
        };
        for (revision, events) in store.after(self.position, most) {
            for event in events {
                self.snapshot.apply(event, time).expect("a readable record");
            }
            self.position = *revision;
        }
        let position = self.position;
        let (seen, waiting) = std::mem::take(&mut self.settling)
            .into_iter()
            .partition(|(at, _)| *at <= position);
        self.settling = waiting;
        let seen: Vec<(Revision, Subject)> = seen;
        for (_, subject) in seen {
            self.snapshot.finish(&subject, time);
        }
    }

    fn carry_out(
        &mut self,
        store: &mut SharedStore,
        machines: &mut [Machine],
        now: i64,
        time: jiff::Timestamp,
        (is_calm, random): (bool, &mut Random),
    ) {
        let (due, later) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(due, _)| *due <= now);
        self.under_way = later;
        let due: Vec<(i64, Action)> = due;
        for (_, action) in due {
            let subject = action.subject();
            let order = match &action {
                Action::Power(power) => power.order.map(|order| (power.node.name.clone(), order)),
                _ => None,
            };
            let mut is_applied = true;
            let transactions = match action {
                Action::Change(change) => change.transactions,
                Action::Power(power) => power.transaction.into_iter().collect(),
                Action::Start(start) => {
                    launch::transactions(&start, &planned(&start), time).expect("a small plan")
                }
            };
            let mut newest = 0;
            for transaction in transactions {
                let fenced = lote_control::fence::require_leader(transaction, self.elected);
                let commit = store.commit(&fenced);
                newest = commit.revision();
                if !commit.is_applied() {
                    is_applied = false;
                    break;
                }
            }
            if let Some((name, order)) = order.filter(|_| is_applied) {
                // Without a transaction nothing says so if another leads meanwhile.
                let leads = revision_of(store, key::LEADER) == Some(self.elected);
                let outcome = if is_calm { 8 } else { random.below(8) };
                let machine = machines.iter_mut().find(|machine| *machine.name() == name);
                match outcome {
                    _ if !leads => {}
                    0 => self
                        .snapshot
                        .fail_to_switch(&name, "no answer from the BMC".into()),
                    // Nobody hears the call.
                    1 => {}
                    _ => machine.expect("a machine").order(order, now, random),
                }
            }
            self.settling.push((newest, subject));
        }
    }
}

/// The real settings; explanations every second would only cost time.
fn config(name: &NodeName, power: Option<&PowerPolicy>) -> Config {
    Config {
        leadership: Leadership::Elected { node: name.clone() },
        power: power.cloned(),
        explain_every: jiff::SignedDuration::from_secs(20),
        ..Config::default()
    }
}

/// One process per node, all of which decide.
fn planned(start: &Start) -> PlannedLaunch {
    let ranks = 0..u32::try_from(start.nodes.len()).unwrap();
    PlannedLaunch {
        plan: CheckedPlan::trusted_from_store(LaunchPlan {
            processes: ranks.map(worker).collect(),
            ..LaunchPlan::default()
        }),
        plugin: "test 0.1.0".into(),
    }
}
