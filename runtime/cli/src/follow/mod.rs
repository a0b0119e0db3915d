//! Following a job: its state by events, its output as it is written.
//!
//! The main thread turns: read the job, attend to its files, wait for news. One
//! thread hears events, one waits for interrupts, and each output file has one that
//! copies its bytes as they come. A thread that ends only says so; the main thread
//! decides whether to start it again where it stopped. So a daemon that is
//! restarted in the meantime costs nothing but time: the job has gone on, and
//! every byte is shown once.

pub mod files;
pub mod interrupt;
mod narrator;
mod output;
pub mod prefix;
pub mod printer;
pub mod sse;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lote_model::path::JobPath;
use lote_model::state::ExecutionState;

use crate::answer::Job;
use crate::console::Console;
use crate::failure::Failure;
use crate::http::Client;
use crate::place;
use interrupt::Interrupts;
use narrator::Narrator;
use output::Outputs;
pub(crate) use output::{files_url, list_files, log_url};

/// At least this often the job is looked at, events or not.
const TURN_MAX: Duration = Duration::from_secs(1);

/// How often a job that has just started is looked at until its files are there.
const TURN_EARLY: Duration = Duration::from_millis(30);

/// How long that goes on; afterwards a job's files may come at any time.
const EARLY: Duration = Duration::from_secs(5);

/// How long the daemon may be away. The job goes on without it.
const AWAY_MAX: Duration = Duration::from_mins(2);

/// How long the rest of the output may take after the end of the job without a byte.
const DRAIN_MAX: Duration = Duration::from_secs(15);

/// What the threads tell the main one.
#[derive(Debug)]
enum News {
    /// Something has happened to the job.
    Event,
    /// The user pressed Ctrl-C.
    Interrupt,
    /// A copy of a file has come to its end.
    FileEnded,
}

/// What to do besides waiting for the end.
pub struct Options {
    /// Show the output of all processes.
    pub output: bool,
    /// Only this file of it.
    pub only_file: Option<String>,
    /// Say nothing about the job's state.
    pub quiet: bool,
    /// What the first interrupt does; without it nothing is caught.
    pub interrupts: Option<Interrupts>,
    /// When to give up.
    pub deadline: Option<Instant>,
}

/// How following came to an end.
#[derive(Debug)]
pub enum End {
    /// The job has ended, and all output has been shown.
    Ended(Box<Job>),
    /// The user left; the job is being ended.
    Left,
    /// The deadline has come; this was its last state.
    TimedOut(ExecutionState),
}

/// Follows a job to its end.
pub fn follow(
    client: &Client,
    path: &JobPath,
    console: &Console,
    options: Options,
) -> Result<End, Failure> {
    let (sender, news) = channel();
    hear_events(client.clone(), path, sender.clone());
    if let Some(interrupts) = options.interrupts {
        forward(interrupts, sender.clone());
    }
    let outputs = options
        .output
        .then(|| Outputs::new(client, path, console, options.only_file, sender));
    let follower = Follower {
        client,
        path,
        narrator: Narrator::new(console, options.quiet),
        outputs,
        deadline: options.deadline,
        away_since: None,
        started_at: None,
        interrupted: false,
    };
    let end = follower.run(&news);
    console.clear_status();
    end
}

fn forward(interrupts: Interrupts, sender: Sender<News>) {
    std::thread::spawn(move || {
        for () in interrupts {
            if sender.send(News::Interrupt).is_err() {
                return;
            }
        }
    });
}

/// Events only say when to look again, so losing them costs a second at most.
fn hear_events(client: Client, path: &JobPath, sender: Sender<News>) {
    let url = format!("{}/events", place::job(path));
    std::thread::spawn(move || {
        loop {
            match client.stream("follow the job", &url, "text/event-stream") {
                Ok(stream) => {
                    let _ = sse::listen(stream, |_| sender.send(News::Event).is_ok());
                }
                Err(failure) if failure.is_transient() => {}
                Err(_) => return,
            }
            if sender.send(News::Event).is_err() {
                return;
            }
            std::thread::sleep(TURN_MAX);
        }
    });
}

struct Follower<'a> {
    client: &'a Client,
    path: &'a JobPath,
    narrator: Narrator,
    outputs: Option<Outputs>,
    deadline: Option<Instant>,
    away_since: Option<Instant>,
    started_at: Option<Instant>,
    interrupted: bool,
}

impl Follower<'_> {
    fn run(mut self, news: &Receiver<News>) -> Result<End, Failure> {
        let mut state = ExecutionState::Queued;
        loop {
            if let Some(job) = self.look()? {
                state = job.properties.execution_state;
                self.narrator.tell(&job, Timestamp::now());
                if self.attend(&job)? {
                    self.narrator.tell_end(&job);
                    return Ok(End::Ended(Box::new(job)));
                }
            }
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
            {
                return Ok(End::TimedOut(state));
            }
            if self.hear(news)? {
                return Ok(End::Left);
            }
        }
    }

    /// The job as it is now; none while the daemon is away.
    fn look(&mut self) -> Result<Option<Job>, Failure> {
        let action = format!("read job '{}'", self.path.job);
        match self.client.get_as(&action, &place::job(self.path)) {
            Ok(job) => {
                if self.away_since.take().is_some() {
                    self.narrator.remark("the daemon answers again");
                }
                Ok(Some(job))
            }
            Err(failure) => self.bear(failure).map(|()| None),
        }
    }

    /// A daemon that is away for a while is no reason to give up.
    fn bear(&mut self, failure: Failure) -> Result<(), Failure> {
        if !failure.is_transient() {
            return Err(failure);
        }
        match self.away_since {
            None => {
                self.away_since = Some(Instant::now());
                self.narrator
                    .remark("the daemon does not answer; the job goes on without it, trying again");
                Ok(())
            }
            Some(since) if since.elapsed() < AWAY_MAX => Ok(()),
            Some(_) => Err(failure),
        }
    }

    /// Looks after the output. True when the job has ended and all of it is shown.
    fn attend(&mut self, job: &Job) -> Result<bool, Failure> {
        let state = job.properties.execution_state;
        if state == ExecutionState::Queued {
            self.started_at = None;
            return Ok(false);
        }
        self.started_at.get_or_insert_with(Instant::now);
        let Some(outputs) = &mut self.outputs else {
            return Ok(state.is_terminal());
        };
        let complete = match outputs.attend(state.is_terminal()) {
            Ok(complete) => complete,
            Err(failure) if state.is_terminal() && !failure.is_transient() => {
                self.narrator
                    .remark(&format!("the output cannot be read: {failure}"));
                true
            }
            Err(failure) => return self.bear(failure).map(|()| false),
        };
        if state.is_terminal() && !complete && outputs.quiet_for() > DRAIN_MAX {
            self.narrator
                .remark("the rest of the output does not arrive; see `lote job logs`");
            return Ok(true);
        }
        Ok(state.is_terminal() && complete)
    }

    /// Waits for news. True when the user leaves.
    fn hear(&mut self, news: &Receiver<News>) -> Result<bool, Failure> {
        let first = match news.recv_timeout(self.patience()) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            // The senders end with the process only; never spin if not.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(TURN_MAX);
                None
            }
        };
        for news in first.into_iter().chain(news.try_iter()) {
            if matches!(news, News::Interrupt) && self.interrupt()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn patience(&self) -> Duration {
        let early = self.started_at.is_some_and(|since| since.elapsed() < EARLY)
            && self.outputs.as_ref().is_some_and(Outputs::is_expecting);
        let turn = if early { TURN_EARLY } else { TURN_MAX };
        match self.deadline {
            Some(deadline) => turn.min(deadline.saturating_duration_since(Instant::now())),
            None => turn,
        }
    }

    /// The first interrupt ends the job, the second leaves. True for the second.
    fn interrupt(&mut self) -> Result<bool, Failure> {
        if std::mem::replace(&mut self.interrupted, true) {
            return Ok(true);
        }
        self.narrator
            .remark("terminating the job; Ctrl-C again leaves without waiting for its end");
        let action = format!("terminate job '{}'", self.path.job);
        let url = format!("{}/terminate", place::job(self.path));
        match self.client.post(&action, &url, None) {
            Ok(_) => Ok(false),
            Err(failure) if failure.is_transient() => {
                // Not told the daemon yet: the next Ctrl-C shall try again.
                self.interrupted = false;
                self.narrator
                    .remark("the daemon does not answer; press Ctrl-C again once it does");
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }
}
