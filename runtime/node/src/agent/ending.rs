//! From exit records to outcomes and errors. Pure.

use lote_model::job::ErrorRecord;
use lote_model::quantity::format_bytes;
use lote_model::report::Outcome;

use super::room::FullDirectory;
use crate::cgroup::CgroupUsage;
use crate::gpu::GpuFailure;
use crate::launch::Outcome as ProcessOutcome;
use crate::launch::{ExitCause, LostReason, SetupStep};
use crate::spool::Undelivered;

/// Which step of a job a process belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The preparation command.
    Preparation,
    /// A process of the plan, by name.
    Process(String),
}

/// How a process or step ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) command: String,
    pub(super) cause: FailureCause,
    /// The last lines of its standard error, if any.
    pub(super) last_lines: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FailureCause {
    Exit(ExitCause),
    Lost(LostReason),
    /// It could not be started at all.
    NotStarted(String),
}

/// What the kernel says about limits, to tell an effect from its cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LimitsHit {
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) out_of_memory: bool,
    pub(super) processes: bool,
    /// Where there is no room left.
    pub(super) full: Option<FullDirectory>,
}

impl LimitsHit {
    pub(super) fn new(
        usage: &CgroupUsage,
        memory_limit_bytes: Option<u64>,
        full: Option<FullDirectory>,
    ) -> Self {
        Self {
            full,
            memory_limit_bytes,
            out_of_memory: usage.oom_kills > 0,
            processes: usage.pids_limit_hits > 0,
        }
    }
}

/// The outcome of a node where a GPU failed, or is not fit for the job.
pub(super) fn gpu_failed(node: &str, failure: &GpuFailure) -> Outcome {
    let bus_id = failure.bus_id.as_deref().unwrap_or("unknown");
    let GpuFailure { uuid, sentence, .. } = failure;
    let message = format!("GPU {uuid} (bus id {bus_id}) of node {node}: {sentence}");
    let mut error = ErrorRecord::new(failure.code, &message)
        .with("node", node)
        .with("gpu", uuid)
        .with("busId", bus_id);
    if let Some(xid) = failure.xid {
        error = error.with("xid", xid.to_string());
    }
    Outcome::Lost {
        reason: message,
        error: Some(error),
    }
}

/// The outcome of a node whose output has not arrived: what went wrong before stays the reason, and
/// what went well was in vain.
pub(super) fn not_delivered(outcome: Outcome, node: &str, undelivered: &Undelivered) -> Outcome {
    let Undelivered {
        directory,
        local,
        missing_bytes,
        trouble,
    } = undelivered;
    let (directory, local) = (directory.display(), local.display());
    let message = format!(
        "{} of the job's output did not get to {directory}: {trouble}. Node {node} keeps it in \
         {local} and goes on trying",
        format_bytes(*missing_bytes)
    );
    let details = |error: ErrorRecord| {
        error
            .with("outputDirectory", directory.to_string())
            .with("outputMissingBytes", missing_bytes.to_string())
            .with("outputError", trouble)
            .with("outputKeptIn", local.to_string())
    };
    match outcome {
        Outcome::Completed => Outcome::Failed {
            exit_code: Some(0),
            error: details(ErrorRecord::new(OUTPUT_NOT_DELIVERED, message).with("node", node)),
        },
        Outcome::Failed { exit_code, error } => Outcome::Failed {
            exit_code,
            error: details(error.with(OUTPUT_NOT_DELIVERED, message)),
        },
        // They say nothing about an error of the job; where the rest is, its directories tell.
        other @ (Outcome::Stopped | Outcome::Lost { .. }) => other,
    }
}

/// The code of jobs whose output did not get to where it belongs.
const OUTPUT_NOT_DELIVERED: &str = "OutputNotDelivered";

/// What a process's end amounts to: nothing wrong, or a cause.
pub(super) fn cause_of_failure(outcome: &ProcessOutcome) -> Option<FailureCause> {
    match outcome {
        ProcessOutcome::Ended(record) if record.cause == ExitCause::Exited(0) => None,
        ProcessOutcome::Ended(record) if record.cause == ExitCause::Fenced => {
            Some(FailureCause::Lost(LostReason::Fenced))
        }
        ProcessOutcome::Ended(record) => Some(FailureCause::Exit(record.cause.clone())),
        ProcessOutcome::Lost(reason) => Some(FailureCause::Lost(*reason)),
        ProcessOutcome::Tombstone => Some(FailureCause::NotStarted(
            "the job was stopped before it could start".into(),
        )),
    }
}

impl Failure {
    /// The outcome of the whole node.
    pub(super) fn outcome(&self, node: &str, limits: &LimitsHit) -> Outcome {
        if let FailureCause::Lost(reason) = self.cause {
            return Outcome::Lost {
                reason: format!("on node {node}: {reason}"),
                error: None,
            };
        }
        Outcome::Failed {
            exit_code: self.exit_code(),
            error: self.error(node, limits),
        }
    }

    /// As a shell counts: a signal is 128 and its number.
    fn exit_code(&self) -> Option<i32> {
        match self.cause {
            FailureCause::Exit(ExitCause::Exited(code)) => Some(code),
            FailureCause::Exit(ExitCause::Signalled(signal)) => Some(128 + signal),
            _ => None,
        }
    }

    fn error(&self, node: &str, limits: &LimitsHit) -> ErrorRecord {
        let (code, message) = self.code_and_message(limits);
        let step = match &self.step {
            Step::Preparation => "preparation".to_owned(),
            Step::Process(name) => format!("process {name}"),
        };
        let mut error = ErrorRecord::new(code, message)
            .with("node", node)
            .with("step", step)
            .with("command", &self.command)
            .with("status", self.status());
        if limits.processes {
            error = error.with(
                "limit",
                "the job ran into its limit of processes and threads",
            );
        }
        if let Some(full) = &limits.full {
            error = error.with("directory", format!("{}: {}", full.id, full.path));
        }
        if !self.last_lines.is_empty() {
            error = error.with("stderr", &self.last_lines);
        }
        error
    }

    /// The codes and texts of capabilities §5.1 where it has them.
    fn code_and_message(&self, limits: &LimitsHit) -> (&'static str, String) {
        if limits.out_of_memory {
            let limit = limits.memory_limit_bytes.map_or_else(String::new, |bytes| {
                format!(
                    " (limit {}; raise lote.resources.memory)",
                    format_bytes(bytes)
                )
            });
            return (
                "JobOutOfMemory",
                format!("The job was killed because it ran out of memory{limit}"),
            );
        }
        if let (Some(full), FailureCause::Exit(_)) = (&limits.full, &self.cause) {
            let message = format!(
                "The job failed, and there is no room left in its directory '{}': remove files \
                 there, or give it more room",
                full.id
            );
            return ("DiskFull", message);
        }
        match (&self.cause, &self.step) {
            (FailureCause::Exit(ExitCause::SetupFailed(failure)), _) => (
                setup_code(failure.step),
                format!("The job could not be started: {failure}"),
            ),
            (FailureCause::NotStarted(reason), _) => (
                "FailedStartingProcess",
                format!("The job could not be started: {reason}"),
            ),
            (_, Step::Preparation) => (
                "JobPreparationFailed",
                "Job preparation task failed with non-zero exit code".to_owned(),
            ),
            _ => ("JobFailed", "Job failed with non-zero exit code".to_owned()),
        }
    }

    fn status(&self) -> String {
        match &self.cause {
            FailureCause::Exit(ExitCause::Exited(code)) => format!("exit code {code}"),
            FailureCause::Exit(ExitCause::Signalled(signal)) => {
                let name = nix::sys::signal::Signal::try_from(*signal)
                    .map_or("unknown", |signal| signal.as_str());
                format!("killed by signal {signal} ({name})")
            }
            FailureCause::Exit(ExitCause::SetupFailed(_)) | FailureCause::NotStarted(_) => {
                "never ran".into()
            }
            FailureCause::Exit(ExitCause::Fenced) => LostReason::Fenced.to_string(),
            FailureCause::Lost(reason) => reason.to_string(),
        }
    }
}

fn setup_code(step: SetupStep) -> &'static str {
    match step {
        SetupStep::CreateDirectory | SetupStep::OpenOutput => "OutputDirectoryFailed",
        SetupStep::EnterDirectory => "WorkingDirectoryFailed",
        SetupStep::Execute => "CommandNotExecutable",
        _ => "FailedStartingProcess",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::SetupFailure;

    fn failure(step: Step, cause: FailureCause) -> Failure {
        Failure {
            step,
            command: "python train.py".into(),
            cause,
            last_lines: "boom".into(),
        }
    }

    fn exit(cause: ExitCause) -> FailureCause {
        FailureCause::Exit(cause)
    }

    fn process() -> Step {
        Step::Process("rank-0".into())
    }

    fn code(outcome: &Outcome) -> (&str, Option<i32>) {
        match outcome {
            Outcome::Failed { exit_code, error } => (&error.code, *exit_code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn codes_and_texts_are_those_of_the_specification() {
        let outcome =
            failure(process(), exit(ExitCause::Exited(3))).outcome("n1", &LimitsHit::default());
        insta::assert_json_snapshot!(outcome);
        let outcome = failure(Step::Preparation, exit(ExitCause::Exited(2)))
            .outcome("n1", &LimitsHit::default());
        assert_eq!(code(&outcome), ("JobPreparationFailed", Some(2)));
    }

    #[test]
    fn out_of_memory_is_said_whatever_the_process_did_about_it() {
        let limits = LimitsHit {
            memory_limit_bytes: Some(64 << 20),
            out_of_memory: true,
            ..LimitsHit::default()
        };
        let outcome = failure(process(), exit(ExitCause::Signalled(9))).outcome("n1", &limits);
        assert_eq!(code(&outcome), ("JobOutOfMemory", Some(137)));
        let Outcome::Failed { error, .. } = outcome else {
            panic!()
        };
        assert!(error.message.contains("64.0 MiB"), "{}", error.message);
    }

    #[test]
    fn a_job_that_failed_for_want_of_room_says_where() {
        let limits = LimitsHit {
            full: Some(FullDirectory {
                id: "MODEL".into(),
                path: "/mnt/models".into(),
            }),
            ..LimitsHit::default()
        };
        let outcome = failure(process(), exit(ExitCause::Exited(1))).outcome("n1", &limits);
        assert_eq!(code(&outcome), ("DiskFull", Some(1)));
        let Outcome::Failed { error, .. } = outcome else {
            panic!()
        };
        let said = error.details.iter().find(|one| one.name == "directory");
        assert_eq!(
            said.map(|one| one.value.as_str()),
            Some("MODEL: /mnt/models")
        );
    }

    #[test]
    fn a_command_that_cannot_be_executed_has_no_exit_code() {
        let setup = SetupFailure {
            step: SetupStep::Execute,
            subject: "nothing".into(),
            errno: 2,
            message: "No such file or directory".into(),
        };
        let outcome = failure(process(), exit(ExitCause::SetupFailed(setup)))
            .outcome("n1", &LimitsHit::default());
        assert_eq!(code(&outcome), ("CommandNotExecutable", None));
    }

    fn undelivered() -> Undelivered {
        Undelivered {
            directory: "/mnt/nfs/s/stdouterr".into(),
            local: "/data/spool/u.1/files".into(),
            missing_bytes: 2048,
            trouble: "stdout.txt: no space".into(),
        }
    }

    #[test]
    fn a_job_whose_output_has_not_arrived_has_failed() {
        let outcome = not_delivered(Outcome::Completed, "n1", &undelivered());
        assert_eq!(code(&outcome), ("OutputNotDelivered", Some(0)));
        insta::assert_json_snapshot!(outcome);
    }

    #[test]
    fn an_error_of_the_job_comes_before_that_of_its_output() {
        let failed =
            failure(process(), exit(ExitCause::Exited(3))).outcome("n1", &LimitsHit::default());
        let outcome = not_delivered(failed, "n1", &undelivered());
        assert_eq!(code(&outcome), ("JobFailed", Some(3)));
        let Outcome::Failed { error, .. } = outcome else {
            panic!()
        };
        let mut names = error.details.iter().map(|detail| detail.name.as_str());
        assert!(names.any(|name| name == "OutputNotDelivered"));
        assert_eq!(
            not_delivered(Outcome::Stopped, "n1", &undelivered()),
            Outcome::Stopped
        );
    }

    #[test]
    fn a_restarted_machine_is_a_loss_and_no_failure() {
        let outcome = failure(process(), FailureCause::Lost(LostReason::MachineRestarted))
            .outcome("n1", &LimitsHit::default());
        assert!(matches!(outcome, Outcome::Lost { reason, .. } if reason.contains("n1")));
    }
}
