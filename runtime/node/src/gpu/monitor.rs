//! Asks the driver, round by round, for as long as the daemon runs.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::book::{Answer, DriverState};
use super::driver::{Driver, DriverError, GpuEvent, MachineReading, Place};
use super::worker::Unanswered;
use super::{Gpus, events};
use crate::cgroup;

/// A round.
const ROUND: Duration = Duration::from_secs(1);

/// How many rounds there are between two readings of what takes milliseconds: energy and
/// temperature. The GPUs take turns, so that no round is long.
const SLOW_ROUNDS: u64 = 10;

/// The same for what changes seldom: memory that waits to be set aside, errors of NVLink.
const HEALTH_ROUNDS: u64 = 60;

/// The same for what there is.
const MACHINE_ROUNDS: u64 = 15;

/// The same for the control groups of jobs without GPUs.
const GROUP_ROUNDS: u64 = 5;

/// How long to wait before a driver that is not there is looked for again.
const RELOAD: Duration = Duration::from_secs(10);

/// What one round asks of one GPU or instance.
struct Look {
    place: Place,
    slow: bool,
    health: bool,
    occupancy: bool,
}

/// What one round has found.
struct Found {
    machine: Option<Result<MachineReading, DriverError>>,
    answers: Vec<Answer>,
}

/// How often the monitor does what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) round: Duration,
    pub(super) reload: Duration,
}

/// Works until `stop` is cancelled.
pub(crate) async fn run(gpus: Arc<Gpus>, stop: CancellationToken) {
    let pace = Pace {
        round: ROUND,
        reload: RELOAD,
    };
    run_at(pace, gpus, stop).await;
}

pub(super) async fn run_at(pace: Pace, gpus: Arc<Gpus>, stop: CancellationToken) {
    let heard = gpus
        .heard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(heard) = heard else { return };
    let hear = hear(&gpus, heard);
    let mut monitor = Monitor {
        gpus: &gpus,
        reload: pace.reload,
        number: 0,
        tried: Instant::now(),
    };
    let rounds = async {
        let mut rounds = interval(pace.round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            monitor.round().await;
        }
    };
    tokio::select! {
        () = rounds => {}
        () = hear => {}
        () = stop.cancelled() => {}
    }
}

/// Takes in what the driver says unasked, also while a round waits for it.
async fn hear(gpus: &Gpus, mut heard: mpsc::UnboundedReceiver<GpuEvent>) {
    while let Some(event) = heard.recv().await {
        gpus.book().event(&event, Timestamp::now());
        gpus.publish();
    }
}

struct Monitor<'a> {
    gpus: &'a Gpus,
    reload: Duration,
    /// Of the round, counted from the last load of the driver.
    number: u64,
    /// When the driver was looked for last.
    tried: Instant,
}

impl Monitor<'_> {
    async fn round(&mut self) {
        let state = self.gpus.book().state().clone();
        match state {
            DriverState::Absent(_) | DriverState::Gone { .. } => self.look_for_driver().await,
            DriverState::Works => self.ask().await,
            DriverState::Hangs { .. } => self.ask_again().await,
        }
        self.sample_jobs().await;
        self.number += 1;
        self.gpus.publish();
    }

    async fn look_for_driver(&mut self) {
        if self.tried.elapsed() < self.reload {
            return;
        }
        let loaded = self.gpus.worker.load().await;
        self.tried = Instant::now();
        if matches!(loaded, Ok(Ok(_))) {
            self.number = 0;
        }
        self.gpus.take_in(loaded);
    }

    /// A call hung. When it has come back, everything is looked at anew.
    async fn ask_again(&mut self) {
        if self.gpus.worker.hangs() {
            return;
        }
        self.number = 0;
        if self.gpus.book().inventory().driver.is_none() {
            // It hung before it had said what there is.
            return self.gpus.take_in(self.gpus.worker.load().await);
        }
        self.ask().await;
    }

    async fn ask(&mut self) {
        let looks = self.looks();
        let is_listening = self.listens();
        // With the first round the machine has just been read, unless it hung.
        let asks_machine = self.number.is_multiple_of(MACHINE_ROUNDS);
        let counted = self.gpus.book().inventory().count;
        let found = self.gpus.worker.ask(move |driver| {
            let is_another = driver.count() != Ok(counted);
            Found {
                machine: (asks_machine || is_another).then(|| driver.machine()),
                // Whatever is at an index now: the next round knows.
                answers: if is_another {
                    Vec::new()
                } else {
                    looks.into_iter().map(|look| look.ask(driver)).collect()
                },
            }
        });
        match found.await {
            Ok(found) => {
                self.gpus.book().answers();
                if let Some(reason) = found.gone() {
                    self.driver_is_gone(reason).await;
                } else {
                    self.take_in(found);
                    if !is_listening {
                        self.listen_again().await;
                    }
                }
            }
            Err(Unanswered::Hangs) => self.gpus.book().hangs(Timestamp::now()),
            Err(error @ (Unanswered::NoDriver | Unanswered::Ended)) => {
                self.gpus
                    .book()
                    .unusable(error.to_string(), Timestamp::now());
            }
        }
    }

    fn looks(&self) -> Vec<Look> {
        let book = self.gpus.book();
        let places = book.inventory().places().zip(0_u64..);
        let looks = places.map(|(place, turn)| {
            let is_due = |rounds| self.number == 0 || (self.number + turn).is_multiple_of(rounds);
            let is_whole = matches!(place, Place::Whole { .. });
            Look {
                slow: is_due(SLOW_ROUNDS),
                health: is_whole && is_due(HEALTH_ROUNDS),
                occupancy: book.is_to_be_inspected(place.uuid()),
                place: place.clone(),
            }
        });
        looks.collect()
    }

    fn take_in(&self, found: Found) {
        let now = Timestamp::now();
        let mut book = self.gpus.book();
        if let Some(Ok(machine)) = &found.machine {
            book.machine(machine, &self.gpus.config.sysfs, now);
            self.gpus.memory().keep(book.inventory());
        }
        book.round(found.answers, &self.gpus.processes, now);
    }

    async fn driver_is_gone(&mut self, reason: String) {
        tracing::warn!(
            reason,
            "the driver of the GPUs is gone; looking for it again"
        );
        *self.gpus.listening() = None;
        // The library counts who uses it, and a driver in use cannot be replaced.
        self.gpus.worker.unload().await.ok();
        self.gpus.book().unusable(reason, Timestamp::now());
        self.tried = Instant::now();
    }

    fn listens(&self) -> bool {
        self.gpus
            .listening()
            .as_ref()
            .is_some_and(|listening| !listening.has_ended())
    }

    async fn listen_again(&self) {
        if !self.number.is_multiple_of(MACHINE_ROUNDS) {
            return;
        }
        if let Ok(driver) = self.gpus.worker.driver().await {
            let listening = events::listen(driver, self.gpus.hears.clone());
            *self.gpus.listening() = listening.ok();
        }
    }

    /// What jobs do: those with GPUs in every round.
    async fn sample_jobs(&self) {
        let all = self.number.is_multiple_of(GROUP_ROUNDS);
        let jobs = self.gpus.book().groups(all);
        if jobs.is_empty() {
            return;
        }
        let read = tokio::task::spawn_blocking(move || {
            let jobs = jobs.into_iter();
            let usage = jobs.map(|(hold, directories)| (hold, cgroup::current_usage(&directories)));
            usage.collect::<Vec<_>>()
        });
        let now = Timestamp::now();
        for (hold, (cpu_seconds, memory_bytes)) in read.await.unwrap_or_default() {
            self.gpus
                .book()
                .job_sample(hold, cpu_seconds, memory_bytes, now);
        }
    }
}

impl Look {
    fn ask(self, driver: &dyn Driver) -> Answer {
        Answer {
            activity: Some(driver.activity(&self.place, self.slow)),
            health: self.health.then(|| driver.health(&self.place)),
            occupancy: self.occupancy.then(|| driver.occupancy(&self.place)),
            uuid: self.place.uuid().to_owned(),
        }
    }
}

impl Found {
    /// Why nothing more will come of this driver, if so.
    fn gone(&self) -> Option<String> {
        let machine = self
            .machine
            .iter()
            .filter_map(|machine| machine.as_ref().err());
        let answers = self.answers.iter();
        let errors = answers.filter_map(|answer| answer.activity.as_ref()?.as_ref().err());
        let gone = |error: &DriverError| match error {
            DriverError::Gone(_) => Some(error.to_string()),
            _ => None,
        };
        machine.chain(errors).find_map(gone)
    }
}
