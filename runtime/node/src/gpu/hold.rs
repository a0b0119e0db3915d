//! A job's side of the GPUs: they are its own from the allocation to the end, whichever daemon
//! started it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lote_model::accounting::GpuAccount;
use lote_model::id::JobUid;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::book::GpuFailure;
use super::driver::{ActivityReading, DriverError, OccupancyReading, Place};
use super::ledger::Cause;
use super::meter::Meter;
use super::occupancy::Occupancy;
use super::{Gpus, check};

/// The account of a running job's GPUs, in the directory of the attempt's run records.
pub(crate) const METERS_FILE: &str = "gpus.json";

/// How often it is written. What happened since is lost with the daemon, except for the energy,
/// which the GPU itself counts.
const KEEP: Duration = Duration::from_secs(30);

/// How long memory may stay in use after the last process of a job: drivers take half a second.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Between two looks whether it is free: soon at first, because a short job should end soon.
const SETTLE_STEPS_MS: [u64; 4] = [10, 20, 50, 100];

/// How long after the end of a process the driver may take to say that the GPU failed: the
/// process sees it first.
const SAID_LATE_MAX: Duration = Duration::from_millis(500);

/// The code of a GPU that is not fit for a job.
const GPU_CHECK_FAILED: &str = "GpuCheckFailed";

/// The GPUs of one job on this node, none too. They are anybody's when it is dropped.
#[derive(Debug)]
pub(crate) struct GpuHold {
    gpus: Arc<Gpus>,
    pub(super) id: u64,
    pub(super) failed: watch::Receiver<Option<GpuFailure>>,
    has_gpus: bool,
}

impl Drop for GpuHold {
    fn drop(&mut self) {
        self.gpus.book().release(self.id);
    }
}

impl Gpus {
    /// From now on these GPUs are the job's.
    pub(crate) fn hold(self: &Arc<Self>, job: JobUid, uuids: Vec<String>) -> GpuHold {
        let has_gpus = !uuids.is_empty();
        let (id, failed) = self.book().hold(job, uuids);
        GpuHold {
            gpus: Arc::clone(self),
            id,
            failed,
            has_gpus,
        }
    }
}

impl GpuHold {
    /// Whether the job has any GPU.
    pub(crate) fn has_gpus(&self) -> bool {
        self.has_gpus
    }

    /// The account begins, or goes on with what an earlier daemon wrote into `records`. `groups`
    /// are the directories of the job's control group.
    pub(crate) async fn begin(&self, records: &Path, groups: Vec<PathBuf>) {
        let file = records.join(METERS_FILE);
        let earlier = if self.has_gpus {
            tokio::fs::read(&file).await.ok()
        } else {
            None
        };
        let earlier = earlier.and_then(|text| serde_json::from_slice::<Vec<Meter>>(&text).ok());
        let earlier = earlier.unwrap_or_default();
        self.gpus
            .book()
            .begin(self.id, &earlier, groups, Timestamp::now());
        if self.has_gpus {
            self.measure().await;
            self.write(&file).await;
        }
    }

    /// When the job got its GPUs, if its account has begun.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        let meters = self.gpus.book().meters(self.id);
        meters.iter().map(Meter::since).min()
    }

    /// Writes the account now and then, for ever.
    pub(crate) async fn keep(&self, records: &Path) -> Infallible {
        let file = records.join(METERS_FILE);
        loop {
            sleep(KEEP).await;
            if self.has_gpus {
                self.write(&file).await;
            }
        }
    }

    async fn write(&self, file: &Path) {
        let meters = self.gpus.book().meters(self.id);
        let Ok(text) = serde_json::to_vec(&meters) else {
            return;
        };
        let draft = file.with_extension("json.new");
        let written = async {
            tokio::fs::write(&draft, text).await?;
            tokio::fs::rename(&draft, file).await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, file = %file.display(), "cannot keep the account of GPUs");
        }
    }

    /// One reading of everything, energy too.
    async fn measure(&self) {
        for (uuid, reading) in self
            .read(|driver, place| driver.activity(place, true))
            .await
        {
            self.take_in(&uuid, reading);
        }
        self.gpus.publish();
    }

    fn take_in(&self, uuid: &str, reading: Result<ActivityReading, DriverError>) {
        let now = Timestamp::now();
        match reading {
            Ok(reading) => {
                self.gpus.book().activity(uuid, &reading, now);
            }
            Err(error) => self.gpus.book().error(uuid, &error, now),
        }
    }

    /// Asks the driver about each of the job's GPUs. Nothing, if it does not answer.
    async fn read<T: Send + 'static>(
        &self,
        ask: impl Fn(&dyn super::driver::Driver, &Place) -> T + Send + 'static,
    ) -> Vec<(String, T)> {
        let places = self.gpus.book().places_of(self.id);
        let answers = self.gpus.worker.ask(move |driver| {
            let answers = places
                .iter()
                .map(|place| (place.uuid().to_owned(), ask(driver, place)));
            answers.collect()
        });
        answers.await.unwrap_or_default()
    }

    /// Waits until a GPU of the job has failed, for ever if none does.
    pub(crate) async fn failure(&self) -> GpuFailure {
        let mut failed = self.failed.clone();
        let failure = match failed.wait_for(Option::is_some).await {
            Ok(failure) => failure.clone(),
            Err(_) => None,
        };
        match failure {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// A process of the job failed: whether because its GPU did. The process may see that before
    /// the driver says so.
    pub(crate) async fn reason_of_failure(&self) -> Option<GpuFailure> {
        if !self.has_gpus {
            return None;
        }
        self.measure().await;
        tokio::time::timeout(SAID_LATE_MAX, self.failure())
            .await
            .ok()
    }

    /// Looks at the GPUs before the job starts, if the operator wants that. One that is not fit
    /// is kept from jobs.
    pub(crate) async fn check(&self) -> Result<(), GpuFailure> {
        let Some(wanted) = self.gpus.config.check.as_ref().filter(|_| self.has_gpus) else {
            return Ok(());
        };
        let readings = self.read(|driver, place| driver.occupancy(place)).await;
        for (uuid, reading) in readings {
            let found = match reading {
                Ok(reading) => self.occupancy(&uuid, &reading).message(),
                Err(error) => Some(error.to_string()),
            };
            if let Some(message) = found {
                return Err(self.unfit(&uuid, Cause::CheckOccupied, &message));
            }
            if let Some(command) = &wanted.command
                && let Err(message) = check::run(command, &uuid).await
            {
                let message = format!("{message}; see to the GPU and start the daemon again");
                return Err(self.unfit(&uuid, Cause::CheckFailed, &message));
            }
        }
        Ok(())
    }

    fn unfit(&self, uuid: &str, cause: Cause, reason: &str) -> GpuFailure {
        let sentence = format!("the check before a job failed: {reason}");
        tracing::error!(gpu = uuid, "{sentence}");
        let mut book = self.gpus.book();
        book.unfit(uuid, cause, &sentence, Timestamp::now());
        let bus_id = book.bus_id(uuid);
        drop(book);
        self.gpus.publish();
        GpuFailure {
            code: GPU_CHECK_FAILED,
            uuid: uuid.to_owned(),
            bus_id,
            xid: None,
            sentence,
        }
    }

    fn occupancy(&self, uuid: &str, reading: &OccupancyReading) -> Occupancy {
        self.gpus
            .book()
            .inspect(uuid, reading, &self.gpus.processes)
    }

    /// The last reading, when no process of the job is left, and what it all comes to.
    pub(crate) async fn account(&self) -> Vec<GpuAccount> {
        if !self.has_gpus {
            return Vec::new();
        }
        self.measure().await;
        let node = &self.gpus.config.node;
        self.gpus.book().account(self.id, node, Timestamp::now())
    }

    /// Waits until the GPUs are free of what the job had there. One that does not become so is
    /// kept from jobs.
    pub(crate) async fn settle(&self) {
        if !self.has_gpus {
            return;
        }
        let deadline = Instant::now() + SETTLE_MAX;
        let mut steps = SETTLE_STEPS_MS.into_iter().map(Duration::from_millis);
        let mut step = Duration::ZERO;
        loop {
            let readings = self.read(|driver, place| driver.occupancy(place)).await;
            let found = readings.iter().filter_map(|(uuid, reading)| {
                // One that does not answer has a condition of its own.
                let occupancy = self.occupancy(uuid, reading.as_ref().ok()?);
                Some((uuid, occupancy))
            });
            let busy: Vec<_> = found
                .filter(|(_, found)| *found != Occupancy::Free)
                .collect();
            if busy.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                for (uuid, occupancy) in &busy {
                    self.gpus.book().occupied(uuid, occupancy, Timestamp::now());
                }
                return self.gpus.publish();
            }
            step = steps.next().unwrap_or(step);
            sleep(step).await;
        }
    }
}
