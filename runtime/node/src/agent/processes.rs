//! Launching, following and restarting the processes of a plan.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lote_model::plan::{Command, OnFailure, Part, Process};
use lote_model::problem::explain;
use nix::sys::signal::Signal;

use super::Node;
use super::ending::{Failure, FailureCause, Step, cause_of_failure};
use super::process_spec::{JobContext, PREPARATION, shown};
use crate::cgroup::JobCgroup;
use crate::launch::{
    Attached, LaunchError, LostReason, Outcome, ProcessSpec, Supervised, Tombstone, attach, tail,
    tombstone,
};
use crate::peer::all_records;

/// How much of a failed process's standard error goes into its error.
const LAST_LINES_BYTES_MAX: u64 = 2_048;

/// How often a launch is tried when the spawner ended under it.
const LAUNCH_TRIES: u32 = 3;

/// A process that runs or has run, whoever started it.
#[derive(Debug)]
enum Started {
    Running(Supervised),
    Finished(Outcome),
    Failed(String),
}

/// The processes of one job on this node.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    node: Arc<Node>,
    job: Arc<JobContext>,
}

/// A process whose first start has been made.
#[derive(Debug)]
pub(super) struct StartedProcess {
    process: Process,
    /// Where every start of it writes its errors.
    stderr: PathBuf,
    first: Started,
}

impl Processes {
    pub(super) fn new(node: Arc<Node>, job: Arc<JobContext>) -> Self {
        Self { node, job }
    }

    /// Runs the preparation command to its end. `None`: it ended well.
    pub(super) async fn prepare(&self, command_line: &str) -> Option<Failure> {
        let spec = self.job.preparation(command_line);
        let started = self.ensure(&spec).await;
        let outcome = finish(started).await;
        self.failure(
            Step::Preparation,
            command_line.to_owned(),
            &spec.stderr,
            outcome,
        )
        .await
    }

    /// Starts every process, stage by stage.
    pub(super) async fn start(&self) -> Vec<StartedProcess> {
        let mut processes = self.job.plan.launch.processes.clone();
        processes.sort_by_key(|process| process.stage);
        let mut started = Vec::with_capacity(processes.len());
        for process in processes {
            let spec = self.job.process(&process, 0);
            let first = self.ensure(&spec).await;
            started.push(StartedProcess {
                process,
                stderr: spec.stderr,
                first,
            });
        }
        started
    }

    /// Follows a process to its last end, starting it again as often as the plan
    /// allows. `None`: it ended well, or its failures are to be ignored.
    pub(super) async fn follow(&self, started: StartedProcess) -> (Process, Option<Failure>) {
        let StartedProcess {
            process,
            stderr,
            first,
        } = started;
        let restarts = match process.on_failure {
            OnFailure::Restart(restarts) => restarts,
            OnFailure::FailJob | OnFailure::Ignore => 0,
        };
        let mut started = first;
        let mut start = 0;
        loop {
            let outcome = finish(started).await;
            let step = Step::Process(process.name.clone());
            let failure = self
                .failure(step, shown(&process.command), &stderr, outcome)
                .await;
            match failure {
                None => return (process, None),
                Some(_) if process.on_failure == OnFailure::Ignore => return (process, None),
                Some(failure) if start == restarts || is_lost(&failure) => {
                    return (process, Some(failure));
                }
                Some(_) => {}
            }
            start += 1;
            started = self.ensure(&self.job.process(&process, start)).await;
        }
    }

    /// Runs one clean-up step; gives up on it after `limit`.
    pub(super) async fn finish_step(&self, index: usize, command: &Command, limit: Duration) {
        let spec = self.job.finish_step(index, command);
        let run = async { finish(self.ensure(&spec).await).await };
        match tokio::time::timeout(limit, run).await {
            Ok(Ok(outcome)) if cause_of_failure(&outcome).is_none() => {}
            other => {
                tracing::warn!(job = %self.job.plan.job, command = shown(command), ?other, "a clean-up step failed");
            }
        }
    }

    /// Keeps everything that has not started from starting; gives what runs.
    pub(super) fn close(&self) -> Vec<Supervised> {
        let names = self
            .job
            .plan
            .launch
            .processes
            .iter()
            .map(|process| process.name.as_str());
        let mut running: Vec<Supervised> = std::iter::once(PREPARATION)
            .chain(names)
            .filter_map(|name| self.close_one(name))
            .collect();
        // The member is closed, so there will be no more of them.
        let remote = all_records(&self.job.records()).into_iter();
        running.extend(remote.filter_map(|record| close_record(&record)));
        running
    }

    /// Places a tombstone behind the last start of a process; gives that start
    /// if it runs.
    fn close_one(&self, name: &str) -> Option<Supervised> {
        let mut last = None;
        for start in 0.. {
            let record = self.job.record(name, start);
            match tombstone(&record) {
                Ok(Tombstone::Placed) => break,
                Ok(Tombstone::AlreadyClaimed) => match attach(&record) {
                    Ok(Attached::Running(process)) => last = Some(process),
                    Ok(Attached::Finished(Outcome::Tombstone)) => break,
                    Ok(_) => last = None,
                    Err(error) => {
                        tracing::error!(%error, "cannot tell whether a process runs");
                        break;
                    }
                },
                Err(error) => {
                    tracing::error!(%error, "cannot keep a process from starting");
                    break;
                }
            }
        }
        last
    }

    /// Starts the process of a record unless it has been started before.
    async fn ensure(&self, spec: &ProcessSpec) -> Started {
        match attach(&spec.record) {
            Ok(Attached::Running(process)) => return Started::Running(process),
            Ok(Attached::Finished(outcome)) => return Started::Finished(outcome),
            // The record of a start may not have reached the disk before the machine
            // went down; starting now could be the second time.
            Ok(Attached::NeverStarted) if self.is_after_reboot() => {
                return Started::Finished(Outcome::Lost(LostReason::MachineRestarted));
            }
            Ok(Attached::NeverStarted) => {
                if let Some(problem) = self.job.secrets.problem() {
                    return Started::Failed(problem.message.clone());
                }
            }
            Err(error) => return Started::Failed(explain(&error)),
        }
        let mut result = self.node.launcher.launch(spec).await;
        for _ in 1..LAUNCH_TRIES {
            match result {
                // The record keeps a second launch from starting a second process.
                Err(LaunchError::SpawnerEnded) => result = self.node.launcher.launch(spec).await,
                _ => break,
            }
        }
        match result {
            Ok(process) => Started::Running(process),
            Err(error) => Started::Failed(explain(&error)),
        }
    }

    fn is_after_reboot(&self) -> bool {
        self.job.allocation.boot_id != self.node.record.boot_id
    }

    async fn failure(
        &self,
        step: Step,
        command: String,
        stderr: &Path,
        outcome: Result<Outcome, String>,
    ) -> Option<Failure> {
        let cause = match outcome {
            Ok(outcome) => cause_of_failure(&outcome)?,
            Err(reason) => FailureCause::NotStarted(reason),
        };
        // The daemon does not see the job's mounts where the job does.
        let (path, identity) = (self.job.layout.to_host(stderr), self.job.identity);
        let last_lines =
            tokio::task::spawn_blocking(move || tail(&path, LAST_LINES_BYTES_MAX, identity));
        let last_lines = last_lines
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default();
        Some(Failure {
            step,
            command,
            cause,
            last_lines: self.job.secrets.redacted(last_lines.trim_end()),
        })
    }
}

/// Keeps the process of a record from starting; gives it if it runs.
fn close_record(record: &Path) -> Option<Supervised> {
    match tombstone(record).and_then(|placed| match placed {
        Tombstone::Placed => Ok(None),
        Tombstone::AlreadyClaimed => attach(record).map(Some),
    }) {
        Ok(Some(Attached::Running(process))) => Some(process),
        Ok(_) => None,
        Err(error) => {
            tracing::error!(%error, "cannot tell whether a remotely started process runs");
            None
        }
    }
}

/// Waits for the end of a started process.
async fn finish(started: Started) -> Result<Outcome, String> {
    match started {
        Started::Running(process) => process.wait().await.map_err(|error| explain(&error)),
        Started::Finished(outcome) => Ok(outcome),
        Started::Failed(reason) => Err(reason),
    }
}

fn is_lost(failure: &Failure) -> bool {
    matches!(failure.cause, FailureCause::Lost(_))
}

impl StartedProcess {
    /// Whether the job waits for its end.
    pub(super) fn is_primary(&self) -> bool {
        self.process.part == Part::Primary
    }
}

/// SIGTERM to everything, the grace period until `patience` ends, SIGKILL to the processes of
/// the plan; what they left is killed with the control group.
pub(super) async fn terminate(
    processes: &Processes,
    cgroup: Option<&JobCgroup>,
    patience: impl Future<Output = ()>,
) {
    let running = processes.close();
    match cgroup {
        Some(cgroup) => {
            if let Err(error) = cgroup.signal(Signal::SIGTERM) {
                tracing::warn!(
                    error = explain(&error),
                    "cannot ask the processes of a job to end"
                );
            }
        }
        None => signal_each(&running, Signal::SIGTERM),
    }
    let all_ended = async {
        for process in &running {
            process.wait().await.ok();
        }
        if let Some(cgroup) = cgroup {
            cgroup.wait_empty().await.ok();
        }
    };
    let has_ended = tokio::select! {
        biased;
        () = all_ended => true,
        () = patience => false,
    };
    if !has_ended {
        signal_each(&running, Signal::SIGKILL);
        for process in &running {
            process.wait().await.ok();
        }
    }
}

fn signal_each(processes: &[Supervised], signal: Signal) {
    for process in processes {
        if let Err(error) = process.signal(signal) {
            tracing::warn!(error = explain(&error), "cannot signal a process");
        }
    }
}
