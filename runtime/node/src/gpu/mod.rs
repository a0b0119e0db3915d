//! The node's GPUs: what they are, whether they are well, who uses them, what jobs do with them.
//!
//! * `driver` — what is asked of a driver; the seam behind which NVML is, or a fake of a test.
//! * `nvml` — the driver behind NVML.
//! * `worker` — the thread that talks to the driver, where a call may hang.
//! * `events` — the thread that waits for what the driver says unasked.
//! * `topology` — from readings to GPUs and the ways between them; pure.
//! * `sysfs` — NUMA nodes.
//! * `xid` — what the driver's numbered errors mean; pure.
//! * `ledger` — what is wrong with a GPU, and since when; pure.
//! * `health` — whether a GPU is well, from readings and events; pure.
//! * `occupancy` — who uses a GPU that no job has.
//! * `check` — the operator's own look at a GPU before a job.
//! * `meter` — what a job does with a GPU, added up; pure.
//! * `memory` — what GPUs there were when the daemon last looked.
//! * `ring` — a job's samples of the last hour; pure.
//! * `book` — all that is known, and what it means for jobs and for the node's record; pure.
//! * `monitor` — asks the driver, round by round.
//! * `hold` — a job's side: its GPUs from the allocation to the end.
//! * `telemetry` — samples for whoever asks.
//!
//! What this module must never do: wait for the driver anywhere but on its own threads, or longer
//! than the limit; give a GPU of unknown state to a job.

mod book;
mod check;
mod driver;
mod events;
mod health;
mod hold;
mod ledger;
mod memory;
mod meter;
mod monitor;
mod nvml;
mod occupancy;
mod ring;
mod sysfs;
mod telemetry;
mod topology;
mod worker;
mod xid;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lote_model::id::NodeName;
use tokio::sync::{mpsc, watch};

pub(crate) use book::{GpuFailure, View};
pub use check::GpuCheck;
pub(crate) use hold::{GpuHold, METERS_FILE};
pub(crate) use monitor::run as monitor;
pub(crate) use sysfs::Sysfs;
pub use telemetry::Telemetry;

use book::Book;
use driver::{DriverError, GpuEvent, LoadDriver};
use events::Listening;
use memory::Memory;
use nvml::NvmlLoader;
use occupancy::ProcessTable;
use worker::{Unanswered, Worker};

/// A call that takes longer than this hangs. None that is made takes more than a few
/// milliseconds, and a GPU that wakes up a second or two.
const CALL_MAX: Duration = Duration::from_secs(10);

/// How long the daemon's start waits for the driver: without persistence mode every GPU is woken
/// up, which takes seconds for each.
const LOAD_MAX: Duration = Duration::from_secs(30);

/// What the operator sets for the GPUs of a node.
#[derive(Clone, Debug)]
pub(crate) struct GpuConfig {
    pub(crate) node: NodeName,
    /// Where the NVML library is, if not where the system looks.
    pub(crate) library: Option<PathBuf>,
    pub(crate) sysfs: Sysfs,
    /// Where jobs have their records.
    pub(crate) runs: PathBuf,
    /// The file that remembers what GPUs there are.
    pub(crate) memory: PathBuf,
    /// The machine's boot.
    pub(crate) boot_id: String,
    /// What is looked at before a job, if anything is.
    pub(crate) check: Option<GpuCheck>,
}

/// The GPUs of this node.
#[derive(Debug)]
pub(crate) struct Gpus {
    config: GpuConfig,
    worker: Worker,
    processes: ProcessTable,
    book: Mutex<Book>,
    view: watch::Sender<View>,
    /// Where events go; the monitor takes the other end.
    hears: mpsc::UnboundedSender<GpuEvent>,
    heard: Mutex<Option<mpsc::UnboundedReceiver<GpuEvent>>>,
    listening: Mutex<Option<Listening>>,
    memory: Mutex<Memory>,
}

impl Gpus {
    /// Looks for GPUs. Blocks until the driver has answered, for half a minute at most.
    pub(crate) fn start(config: GpuConfig) -> std::io::Result<Arc<Self>> {
        let loader = NvmlLoader {
            library: config.library.clone(),
        };
        Self::start_with(config, Box::new(loader), CALL_MAX, LOAD_MAX)
    }

    fn start_with(
        config: GpuConfig,
        loader: Box<dyn LoadDriver>,
        call_max: Duration,
        load_max: Duration,
    ) -> std::io::Result<Arc<Self>> {
        let memory = Memory::open(config.memory.clone(), &config.boot_id);
        let book = Book::new(memory.last().clone(), Timestamp::now());
        let (hears, heard) = mpsc::unbounded_channel();
        let gpus = Self {
            worker: Worker::start(loader, call_max)?,
            processes: ProcessTable::new("/proc", config.runs.clone()),
            view: watch::Sender::new(book.view()),
            book: Mutex::new(book),
            hears,
            heard: Mutex::new(Some(heard)),
            listening: Mutex::new(None),
            memory: Mutex::new(memory),
            config,
        };
        let loaded = gpus.worker.load_now(load_max);
        gpus.take_in(loaded);
        Ok(Arc::new(gpus))
    }

    /// What the node's record says of the GPUs; changes whenever that does.
    pub(crate) fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// Samples, for whoever wants to see them.
    pub(crate) fn telemetry(self: &Arc<Self>) -> Telemetry {
        Telemetry::new(Arc::clone(self))
    }

    /// Every allocation that there was at the start has its hold by now: who else uses a GPU is a
    /// stranger.
    pub(crate) fn allocations_are_known(&self) {
        self.book().allocations_are_known();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listening(&self) -> MutexGuard<'_, Option<Listening>> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what has changed, if anything has.
    fn publish(&self) {
        let new = self.book().view();
        self.view.send_if_modified(|view| {
            let is_new = *view != new;
            *view = new;
            is_new
        });
    }

    /// What came of loading the driver.
    fn take_in(&self, loaded: Result<Result<worker::Loaded, DriverError>, Unanswered>) {
        let now = Timestamp::now();
        match loaded {
            Ok(Ok(loaded)) => {
                let listening = events::listen(loaded.driver, self.hears.clone());
                let listening = listening.inspect_err(|error| {
                    tracing::warn!(%error, "no thread to wait for errors of GPUs");
                });
                *self.listening() = listening.ok();
                let mut book = self.book();
                book.loaded();
                book.machine(&loaded.machine, &self.config.sysfs, now);
                self.memory().keep(book.inventory());
            }
            Ok(Err(error)) => self.book().unusable(error.to_string(), now),
            Err(Unanswered::Hangs) => self.book().hangs(now),
            Err(error) => self.book().unusable(error.to_string(), now),
        }
        self.publish();
    }
}
