//! The loop around [`decide`](crate::decide::decide): store, plugins and clock.
//!
//! The snapshot always is the store at one revision, the position of the watch, plus the actions
//! under way. An action ends for the snapshot when the watch has passed the revision at which it
//! was committed, or refused; until then nothing else is decided about its subject. So no
//! decision rests on a half of a change, and a lost answer does no harm: what was not reached is
//! decided again.

mod act;
mod election;
mod figures;
mod load;
mod power;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::Timestamp;
use lote_model::framework::Frameworks;
use lote_store::{Revision, Store, StoreError, Watch, WatchBatch};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::act::{Outcome, act};
pub use self::election::Leadership;
use self::election::{Candidate, Mandate};
pub use self::figures::FiguresBoard;
use self::figures::Meter;
pub use self::power::{NoSwitch, PowerSwitch, Switching};
use crate::actions::Subject;
use crate::config::Config;
use crate::decide::decide;
use crate::snapshot::Snapshot;

/// The first pause after the store failed; each further one is twice as long.
const BACK_OFF_FIRST: Duration = Duration::from_millis(20);
/// The longest pause: a store that comes back is used again within a second.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// The longest time without a pass, should a clock jump.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// How long the watch may be silent while a revision is waited for.
const SYNC_AFTER: Duration = Duration::from_secs(1);

/// How many machines are switched at once: each may be a process of the operator's command.
const SWITCHES_MAX: usize = 16;

/// How long a leader that stops waits for what is under way: longer than a plugin call takes.
const FINISH_MAX: Duration = Duration::from_secs(10);

/// Why the leader stopped though nobody told it to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LeaderError {
    /// The store was closed.
    #[error("the leader has no store any more: stop the leader before the store")]
    StoreClosed,
}

/// Leads until `stop` is cancelled; then lets what is under way finish, and returns. Dropping the
/// future instead is like a crash, which is safe as well. Where others can lead, it waits until
/// this daemon is elected, and again after it was not any more.
///
/// Failures of the store are logged and tried again for ever. What it sees is shown on `figures`.
pub async fn run(
    store: Arc<dyn Store>,
    frameworks: Arc<dyn Frameworks>,
    power: Arc<dyn PowerSwitch>,
    config: Config,
    figures: FiguresBoard,
    stop: CancellationToken,
) -> Result<(), LeaderError> {
    let tools = Tools {
        store: store.clone(),
        frameworks,
        figures,
        planners: Arc::new(Semaphore::new(config.planners.max(1))),
        power,
        switches: Arc::new(Semaphore::new(SWITCHES_MAX)),
    };
    let mut candidate = Candidate::new(store, config.leadership.clone());
    loop {
        let won = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            won = candidate.win() => won,
        };
        let reign = won.map_err(|_| LeaderError::StoreClosed)?;
        let ended = reign_until_ended(&tools, &config, &reign.mandate, &stop).await;
        candidate.resign(reign).await;
        match ended {
            Ended::Stopped => return Ok(()),
            Ended::Closed => return Err(LeaderError::StoreClosed),
            Ended::Behind | Ended::Deposed => {}
        }
    }
}

/// What decisions are carried out with.
#[derive(Clone)]
struct Tools {
    store: Arc<dyn Store>,
    frameworks: Arc<dyn Frameworks>,
    planners: Arc<Semaphore>,
    figures: FiguresBoard,
    power: Arc<dyn PowerSwitch>,
    switches: Arc<Semaphore>,
}

/// Leads under one mandate, from as many loads of the store as it takes.
async fn reign_until_ended(
    tools: &Tools,
    config: &Config,
    mandate: &Arc<Mandate>,
    stop: &CancellationToken,
) -> Ended {
    let mut pause = BACK_OFF_FIRST;
    loop {
        let loaded = tokio::select! {
            () = stop.cancelled() => return Ended::Stopped,
            () = mandate.ended() => return Ended::Deposed,
            loaded = load::load(tools.store.as_ref(), config.clone()) => loaded,
        };
        match loaded {
            Ok(loaded) => {
                pause = BACK_OFF_FIRST;
                let mut leader = Leader::new(tools.clone(), Arc::clone(mandate), loaded);
                match leader.lead(stop).await {
                    Ended::Behind => tracing::warn!(
                        "the leader fell behind the store's history and loads it again"
                    ),
                    ended => return ended,
                }
            }
            Err(StoreError::Closed) => return Ended::Closed,
            Err(error) => {
                tracing::warn!(%error, "the leader cannot load the store yet");
                tokio::select! {
                    () = stop.cancelled() => return Ended::Stopped,
                    () = mandate.ended() => return Ended::Deposed,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

/// Why leading from one load of the store came to an end.
enum Ended {
    Stopped,
    Closed,
    Behind,
    Deposed,
}

struct Leader {
    tools: Tools,
    mandate: Arc<Mandate>,
    snapshot: Snapshot,
    watch: Watch,
    /// The snapshot is the store at this revision.
    position: Revision,
    tasks: JoinSet<Outcome>,
    /// Actions that are over, and the revision that the snapshot must have seen.
    settling: Vec<(Revision, Subject)>,
    /// When the watch told something last, was made to, or began to be waited for.
    heard_at: Instant,
    meter: Meter,
}

impl Leader {
    fn new(tools: Tools, mandate: Arc<Mandate>, loaded: load::Loaded) -> Self {
        let load::Loaded {
            snapshot,
            watch,
            position,
        } = loaded;
        tracing::info!(
            revision = position,
            live_jobs = snapshot.live_jobs(),
            "the leader has loaded the store"
        );
        Self {
            meter: Meter::new(tools.figures.clone()),
            tools,
            mandate,
            snapshot,
            watch,
            position,
            tasks: JoinSet::new(),
            settling: Vec::new(),
            heard_at: Instant::now(),
        }
    }

    async fn lead(&mut self, stop: &CancellationToken) -> Ended {
        loop {
            if !self.mandate.holds() {
                return Ended::Deposed;
            }
            let sleep = self.pass();
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => Err(Ended::Stopped),
                () = self.mandate.ended() => return Ended::Deposed,
                batch = self.watch.next() => self.follow(batch),
                Some(outcome) = self.tasks.join_next() => {
                    self.note(outcome);
                    Ok(())
                }
                () = tokio::time::sleep(sleep) => Ok(()),
            };
            let drained = next.and_then(|()| self.drain());
            if let Err(ended) = drained {
                self.let_finish().await;
                return ended;
            }
            self.settle();
            self.wake_watch();
        }
    }

    /// Makes the watch tell something if a revision is waited for that it may never tell.
    fn wake_watch(&mut self) {
        if self.settling.is_empty() || self.heard_at.elapsed() < SYNC_AFTER {
            return;
        }
        self.heard_at = Instant::now();
        let store = self.tools.store.clone();
        tokio::spawn(async move {
            if let Err(error) = load::make_revision(store.as_ref()).await {
                tracing::debug!(%error, "the leader cannot make a revision");
            }
        });
    }

    /// Waits for what is under way. What does not end is like after a crash: decided again.
    async fn let_finish(&mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_MAX, all).await.is_err() {
            tracing::warn!("the leader stops without waiting for the store any longer");
        }
    }

    /// Decides, sets everything decided going, and says how long nothing else will be due.
    fn pass(&mut self) -> Duration {
        let (now, begun) = (Timestamp::now(), Instant::now());
        let decisions = decide(&self.snapshot, now);
        self.snapshot.begin(&decisions, now);
        let under_way = self.tasks.len() + decisions.actions.len();
        self.meter
            .passed(begun.elapsed(), &self.snapshot, under_way);
        let wake_at = decisions.wake_at;
        for action in decisions.actions {
            self.tasks
                .spawn(act(self.tools.clone(), Arc::clone(&self.mandate), action));
        }
        let until = wake_at.map_or(SLEEP_MAX, |at| {
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        });
        let longest = if self.settling.is_empty() {
            SLEEP_MAX
        } else {
            SYNC_AFTER
        };
        until.min(longest)
    }

    /// Takes everything that has happened meanwhile, so that a burst costs one pass.
    fn drain(&mut self) -> Result<(), Ended> {
        while let Some(batch) = self.watch.next().now_or_never() {
            self.follow(batch)?;
        }
        while let Some(outcome) = self.tasks.try_join_next() {
            self.note(outcome);
        }
        Ok(())
    }

    fn follow(&mut self, batch: Result<WatchBatch, StoreError>) -> Result<(), Ended> {
        match batch {
            Ok(batch) => {
                load::apply_batch(&mut self.snapshot, &batch);
                self.position = batch.revision;
                self.heard_at = Instant::now();
                Ok(())
            }
            Err(StoreError::Closed) => Err(Ended::Closed),
            Err(StoreError::Unavailable { .. }) => Ok(()),
            Err(_) => Err(Ended::Behind),
        }
    }

    fn note(&mut self, outcome: Result<Outcome, JoinError>) {
        match outcome {
            Ok(Outcome {
                subject,
                revision,
                refusal,
                unswitched,
            }) => {
                if let (Some(refusal), Subject::Job(uid)) = (refusal, &subject) {
                    self.snapshot.refuse(uid, refusal);
                }
                if let (Some(why), Subject::Power(node)) = (unswitched, &subject) {
                    self.snapshot.fail_to_switch(node, why);
                }
                if self.settling.is_empty() {
                    self.heard_at = Instant::now();
                }
                self.settling.push((revision, subject));
            }
            // Tasks do not panic. Should one, its subject rests until the leader starts again.
            Err(error) => tracing::error!(%error, "an action of the leader broke off"),
        }
    }

    fn settle(&mut self) {
        let now = Timestamp::now();
        let position = self.position;
        let (seen, waiting) = std::mem::take(&mut self.settling)
            .into_iter()
            .partition(|(at, _)| *at <= position);
        self.settling = waiting;
        let seen: Vec<(Revision, Subject)> = seen;
        for (_, subject) in &seen {
            self.snapshot.finish(subject, now);
        }
    }
}
