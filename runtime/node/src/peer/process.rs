//! One started command, found again by its run record.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lote_model::id::NodeName;
use lote_model::problem::explain;
use lote_rsh::protocol::{Start, StartId};

use super::member::{Member, RemoteStart};
use crate::launch::{
    Attached, ExitCause, ExitRecord, LaunchError, Outcome, Supervised, attach, is_pipe, make_pipes,
    remove_pipes,
};

/// What the names of records of remote starts begin with. No process of a plan can have such a
/// name: theirs have no underscore.
const PREFIX: &str = "remote_";

/// Every process has its starts counted; a remote start happens once.
const FIRST: &str = ".0";

/// How often a launch is tried when the spawner ended under it.
const LAUNCH_TRIES: u32 = 3;

/// A command that was started, now or before.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) record: PathBuf,
    pub(super) state: State,
}

/// Whether it runs.
#[derive(Debug)]
pub(super) enum State {
    Running(Supervised),
    Ended(Outcome),
}

/// How a command ended, for who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its exit code; 128 and the number of the signal that ended it.
    Code(u8),
    /// It did not run to its end, for this reason.
    Reason(String),
}

/// The record of a start.
pub(super) fn record_of(records: &Path, id: StartId) -> PathBuf {
    let mut name = String::from(PREFIX);
    for byte in id {
        let _ = write!(name, "{byte:02x}");
    }
    records.join(name + FIRST)
}

/// The records of all starts, with their ids.
pub(super) fn records_in(records: &Path) -> impl Iterator<Item = (StartId, PathBuf)> {
    let entries = std::fs::read_dir(records).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        Some((id_of(name.to_str()?)?, entry.path()))
    })
}

/// The records of remote starts that a job has, also of those whose launch may still be on its
/// way: their pipes are there before.
pub(crate) fn all_records(records: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(records).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let ours = names.filter(|name| name.starts_with(PREFIX));
    let mut found: Vec<PathBuf> = ours
        .filter_map(|name| {
            let stem = if is_pipe(&name) {
                name.rsplit_once('.')?.0
            } else {
                &name
            };
            id_of(stem).map(|id| record_of(records, id))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn id_of(name: &str) -> Option<StartId> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(FIRST)?;
    let mut id = StartId::default();
    if digits.len() != id.len() * 2 || !digits.is_ascii() {
        return None;
    }
    for (position, byte) in id.iter_mut().enumerate() {
        let pair = digits.get(position * 2..position * 2 + 2)?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(id)
}

/// Starts the command unless it has been started before.
pub(super) async fn ensure(
    member: &Member,
    from: &NodeName,
    start: &Start,
) -> Result<Process, String> {
    let record = record_of(&member.parts.records, start.id);
    let found = match attach(&record) {
        Ok(Attached::Running(running)) => Some(State::Running(running)),
        Ok(Attached::Finished(outcome)) => Some(State::Ended(outcome)),
        Ok(Attached::NeverStarted) => None,
        Err(error) => return Err(explain(&error)),
    };
    let state = match found {
        Some(state) => state,
        None => State::Running(launch(member, from, start, record.clone()).await?),
    };
    Ok(Process { record, state })
}

async fn launch(
    member: &Member,
    from: &NodeName,
    start: &Start,
    record: PathBuf,
) -> Result<Supervised, String> {
    if !Member::has_room(&member.parts.records) {
        return Err("the job has started too many commands from other nodes here".into());
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let command = text(&start.command).ok_or("the command is not UTF-8")?;
    // What is not text cannot be passed on; programs that need such variables are rare.
    let pairs = start.environment.iter().filter_map(|pair| text(pair));
    let environment = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    });
    let spec = (member.parts.specify)(RemoteStart {
        record,
        from,
        command,
        environment: environment.collect(),
        has_input: start.has_input,
    });
    make_pipes(&spec).map_err(|error| format!("cannot make pipes for its output: {error}"))?;
    let launcher = &member.parts.launcher;
    let mut launched = launcher.launch(&spec).await;
    for _ in 1..LAUNCH_TRIES {
        match launched {
            // The record keeps a second launch from starting a second process.
            Err(LaunchError::SpawnerEnded) => launched = launcher.launch(&spec).await,
            _ => break,
        }
    }
    launched.map_err(|error| explain(&error))
}

impl Process {
    /// Waits for the end.
    pub(super) async fn ended(&self) -> Result<Outcome, String> {
        match &self.state {
            State::Running(running) => running.wait().await.map_err(|error| explain(&error)),
            State::Ended(outcome) => Ok(outcome.clone()),
        }
    }

    /// It, if it was running when it was found.
    pub(super) fn running(&self) -> Option<&Supervised> {
        match &self.state {
            State::Running(running) => Some(running),
            State::Ended(_) => None,
        }
    }

    /// Its streams are not needed any more. The record stays as long as the job, so that a start
    /// that is asked for again is known.
    pub(super) fn forget_streams(&self) {
        remove_pipes(&self.record);
    }
}

/// What an end means to who asked.
pub(super) fn ending(outcome: Result<Outcome, String>, node: &NodeName) -> Ending {
    let reason = |what: String| Ending::Reason(format!("on node {node}: {what}"));
    match outcome {
        Ok(Outcome::Ended(ExitRecord { cause, .. })) => match cause {
            ExitCause::Exited(code) => Ending::Code(u8::try_from(code & 0xff).unwrap_or(1)),
            ExitCause::Signalled(signal) => {
                Ending::Code(u8::try_from(128 + signal).unwrap_or(u8::MAX))
            }
            ExitCause::SetupFailed(failure) => reason(format!("cannot start it: {failure}")),
            ExitCause::Fenced => {
                reason("it was ended, because the node is cut off from the others".into())
            }
        },
        Ok(Outcome::Lost(lost)) => reason(lost.to_string()),
        Ok(Outcome::Tombstone) => reason("the job ends, so nothing is started any more".into()),
        Err(error) => reason(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_of_remote_starts_are_told_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = ([0xab; 16], [0x01; 16]);
        let first = record_of(folder.path(), one);
        let second = record_of(folder.path(), two);
        std::fs::write(&first, "").unwrap();
        for name in [
            "0.0",
            "job_prep.0",
            "remote_xy.0",
            "cgroup.json",
            "remote_é.0",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        // Of the second there are only pipes yet.
        let pipe = format!("{}.out", second.display());
        std::fs::write(pipe, "").unwrap();
        let found: Vec<_> = records_in(folder.path()).collect();
        assert_eq!(found, [(one, first.clone())]);
        assert_eq!(all_records(folder.path()), [second, first]);
    }

    #[test]
    fn codes_are_those_of_a_shell() {
        let node = NodeName::new("a");
        let exit = |cause| {
            ending(
                Ok(Outcome::Ended(ExitRecord {
                    cause,
                    pid: None,
                    started_at: jiff::Timestamp::UNIX_EPOCH,
                    ended_at: jiff::Timestamp::UNIX_EPOCH,
                    usage: crate::launch::ProcessUsage::default(),
                })),
                &node,
            )
        };
        assert_eq!(exit(ExitCause::Exited(7)), Ending::Code(7));
        assert_eq!(exit(ExitCause::Signalled(9)), Ending::Code(137));
        let Ending::Reason(reason) = exit(ExitCause::Fenced) else {
            panic!("a command that was cut off has no code");
        };
        assert!(reason.contains("node a"), "{reason}");
    }
}
