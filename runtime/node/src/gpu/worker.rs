//! The thread that talks to the driver. A call may hang for ever there, and nobody else waits for
//! longer than they want to.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::driver::{Driver, DriverError, LoadDriver, MachineReading};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    /// A call has not come back.
    #[error("the driver does not answer")]
    Hangs,
    /// No driver is loaded.
    #[error("no driver is loaded")]
    NoDriver,
    /// The thread is gone.
    #[error("the thread that talks to the driver has ended")]
    Ended,
}

/// A driver that was loaded, and what it says of the machine.
pub(super) struct Loaded {
    pub(super) driver: Arc<dyn Driver>,
    pub(super) machine: MachineReading,
}

/// What the thread holds between two questions.
struct Slot {
    loader: Box<dyn LoadDriver>,
    driver: Option<Arc<dyn Driver>>,
}

type Question = Box<dyn FnOnce(&mut Slot) + Send>;

/// Since when the thread is at one question.
type Busy = Arc<Mutex<Option<Instant>>>;

/// Asks the thread. Dropping it ends the thread, at the latest when its call comes back.
#[derive(Debug)]
pub(super) struct Worker {
    questions: mpsc::Sender<Question>,
    busy: Busy,
    /// A call that takes longer hangs.
    limit: Duration,
}

impl Worker {
    /// Starts the thread, which loads nothing yet.
    pub(super) fn start(loader: Box<dyn LoadDriver>, limit: Duration) -> std::io::Result<Self> {
        let (questions, asked) = mpsc::channel::<Question>();
        let busy = Busy::default();
        let now = Arc::clone(&busy);
        let mut slot = Slot {
            loader,
            driver: None,
        };
        thread::Builder::new().name("gpu".into()).spawn(move || {
            for question in asked {
                set(&now, Some(Instant::now()));
                question(&mut slot);
                set(&now, None);
            }
        })?;
        Ok(Self {
            questions,
            busy,
            limit,
        })
    }

    /// Whether a call has not come back for longer than the limit.
    pub(super) fn hangs(&self) -> bool {
        let since = *self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() >= self.limit)
    }

    /// Loads the driver, in place of one that is loaded already.
    pub(super) async fn load(&self) -> Result<Result<Loaded, DriverError>, Unanswered> {
        self.question(load).await
    }

    /// The same without a runtime, for the start of the daemon.
    pub(super) fn load_now(
        &self,
        limit: Duration,
    ) -> Result<Result<Loaded, DriverError>, Unanswered> {
        let (reply, answer) = mpsc::sync_channel(1);
        let question: Question = Box::new(move |slot| {
            // Nobody waits any more.
            reply.send(load(slot)).ok();
        });
        self.questions
            .send(question)
            .map_err(|_| Unanswered::Ended)?;
        answer.recv_timeout(limit).map_err(|_| Unanswered::Hangs)
    }

    /// Forgets the driver, which is another one or none any more.
    pub(super) async fn unload(&self) -> Result<(), Unanswered> {
        self.question(|slot| slot.driver = None).await
    }

    /// Asks the driver something. While a call hangs there is no answer, at once.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Driver) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let answer = self.question(|slot| slot.driver.as_deref().map(question));
        answer.await?.ok_or(Unanswered::NoDriver)
    }

    /// The driver that is loaded, for a thread of its own.
    pub(super) async fn driver(&self) -> Result<Arc<dyn Driver>, Unanswered> {
        let driver = self.question(|slot| slot.driver.clone());
        driver.await?.ok_or(Unanswered::NoDriver)
    }

    async fn question<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Slot) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        if self.hangs() {
            return Err(Unanswered::Hangs);
        }
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |slot| {
            // Who gave up while another call hung wants no answer any more.
            if !reply.is_closed() {
                reply.send(question(slot)).ok();
            }
        });
        self.questions
            .send(question)
            .map_err(|_| Unanswered::Ended)?;
        match tokio::time::timeout(self.limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Unanswered::Ended),
            Err(_) => Err(Unanswered::Hangs),
        }
    }
}

fn load(slot: &mut Slot) -> Result<Loaded, DriverError> {
    // First the old one goes: the library counts who uses it.
    slot.driver = None;
    let driver = slot.loader.load()?;
    let machine = driver.machine()?;
    slot.driver = Some(Arc::clone(&driver));
    Ok(Loaded { driver, machine })
}

fn set(busy: &Busy, since: Option<Instant>) {
    *busy.lock().unwrap_or_else(PoisonError::into_inner) = since;
}
