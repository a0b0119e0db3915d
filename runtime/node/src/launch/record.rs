//! The run record: what became of one process, in one small file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use jiff::Timestamp;
use rustix::fs::{CWD, FlockOperation, RenameFlags, fcntl_lock, renameat_with};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use serde::{Deserialize, Serialize};

use super::exit::{ExitRecord, LostReason};

/// Reading or writing a run record failed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system refused.
    #[error("cannot {action} the run record {path}; check the daemon's data directory")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The record.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The shim ended before it could create the record (its reason is in the
    /// daemon's log); the process was not started.
    #[error(
        "the run record {path} was never created, so nothing was started; the daemon's log says why"
    )]
    NotClaimed {
        /// The record.
        path: PathBuf,
    },
}

/// What a [`tombstone`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tombstone {
    /// The record was free; from now on no process can start under it.
    Placed,
    /// A process was started under the record before, or it had a tombstone:
    /// [`attach`](super::attach) tells.
    AlreadyClaimed,
}

/// What a record says at this moment.
#[derive(Debug, PartialEq)]
pub(super) enum RecordState {
    NeverStarted,
    Tombstone,
    Running { shim_pid: i32 },
    Ended(ExitRecord),
    Lost(LostReason),
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Started {
        shim_pid: u32,
        boot_id: String,
        at: Timestamp,
    },
    Running {
        pid: i32,
    },
    Ended(ExitRecord),
    Tombstone {
        at: Timestamp,
    },
}

/// The shim's side of a record: created, locked and written by it alone.
#[derive(Debug)]
pub(super) struct Claim {
    draft: Draft,
    path: PathBuf,
}

/// A record as its writer holds it.
#[derive(Debug)]
struct Draft {
    file: File,
    /// Its directory was created with it.
    new_directory: bool,
}

impl Claim {
    /// Makes the record appear, locked and with its first line, in one step.
    /// `None` if somebody else was first.
    pub(super) fn take(path: &Path, boot_id: &str, at: Timestamp) -> io::Result<Option<Self>> {
        let started = Entry::Started {
            shim_pid: std::process::id(),
            boot_id: boot_id.into(),
            at,
        };
        let draft = create_once(path, &started, true)?;
        Ok(draft.map(|draft| Self {
            draft,
            path: path.into(),
        }))
    }

    /// Notes the command's process id.
    pub(super) fn running(&mut self, pid: i32) -> io::Result<()> {
        append(&mut self.draft.file, &Entry::Running { pid })
    }

    /// Writes how the process ended and returns when no power failure can undo
    /// it: the contents first, then the directory entries. (File systems with a
    /// journal have then committed these with the contents, so only the first
    /// costs anything; but none has to.)
    pub(super) fn ended(&mut self, exit: ExitRecord) -> io::Result<()> {
        append(&mut self.draft.file, &Entry::Ended(exit))?;
        self.draft.file.sync_all()?;
        let directories = if self.draft.new_directory { 2 } else { 1 };
        for directory in self.path.ancestors().skip(1).take(directories) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

/// Claims a record so that no process can start under it any more. Written before
/// a job that may not have been launched yet is declared ended: a launch request
/// still on its way then finds the record taken.
pub fn tombstone(record: &Path) -> Result<Tombstone, RecordError> {
    let entry = Entry::Tombstone {
        at: Timestamp::now(),
    };
    match create_once(record, &entry, false) {
        Ok(Some(_)) => Ok(Tombstone::Placed),
        Ok(None) => Ok(Tombstone::AlreadyClaimed),
        Err(source) => Err(record_error("write", record, source)),
    }
}

/// Removes a record; one that does not exist is no error. Only for processes
/// whose end is stored elsewhere: without its record a process could start again.
pub fn remove_record(record: &Path) -> Result<(), RecordError> {
    match std::fs::remove_file(record) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(record_error("remove", record, source))
        }
        _ => Ok(()),
    }
}

/// Reads a record and tests whether its shim lives.
pub(super) fn examine(record: &Path) -> Result<RecordState, RecordError> {
    let mut file = match File::open(record) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(RecordState::NeverStarted);
        }
        Err(source) => return Err(record_error("open", record, source)),
    };
    // The lock first: a shim that ends after this look has written its last line
    // before the contents are read, so "not locked, no exit" is never too early.
    let holder = lock_holder(&file).map_err(|source| record_error("test", record, source))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)
        .map_err(|source| record_error("read", record, source))?;
    Ok(interpret(&text, holder, boot_id()))
}

/// The rule: what a record with these contents means.
fn interpret(text: &[u8], lock_holder: Option<i32>, boot_id: &str) -> RecordState {
    let mut started_here = false;
    for entry in text
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(parse)
    {
        match entry {
            Entry::Ended(exit) => return RecordState::Ended(exit),
            Entry::Tombstone { .. } => return RecordState::Tombstone,
            Entry::Started {
                boot_id: started_boot,
                ..
            } => started_here = started_boot == boot_id,
            Entry::Running { .. } => {}
        }
    }
    match lock_holder {
        Some(shim_pid) => RecordState::Running { shim_pid },
        // Records appear with their first line, so one without it lost it in a
        // power failure.
        None if started_here => RecordState::Lost(LostReason::ShimKilled),
        None => RecordState::Lost(LostReason::MachineRestarted),
    }
}

/// The process id of a command that has been started under the record.
pub(super) fn running_pid(record: &Path) -> Option<i32> {
    let text = std::fs::read(record).ok()?;
    text.split_inclusive(|byte| *byte == b'\n')
        .filter_map(parse)
        .find_map(|entry| match entry {
            Entry::Running { pid } => Some(pid),
            _ => None,
        })
}

/// A whole line, or nothing: the last one may be half written.
fn parse(line: &[u8]) -> Option<Entry> {
    line.ends_with(b"\n")
        .then(|| serde_json::from_slice(line).ok())
        .flatten()
}

fn append(file: &mut File, entry: &Entry) -> io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Writes a file beside `path` and renames it, which fails if `path` exists.
fn create_once(path: &Path, entry: &Entry, lock: bool) -> io::Result<Option<Draft>> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let name = PathBuf::from(name);
    let mut draft = create_draft(&name)?;
    if lock {
        fcntl_lock(&draft.file, FlockOperation::NonBlockingLockExclusive)?;
    }
    append(&mut draft.file, entry)?;
    match renameat_with(CWD, &name, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Some(draft)),
        Err(error) => {
            std::fs::remove_file(&name)?;
            if error == rustix::io::Errno::EXIST {
                Ok(None)
            } else {
                Err(error.into())
            }
        }
    }
}

fn create_draft(name: &Path) -> io::Result<Draft> {
    let open = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(name)
    };
    match (open(), name.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
            Ok(Draft {
                file: open()?,
                new_directory: true,
            })
        }
        (opened, _) => Ok(Draft {
            file: opened?,
            new_directory: false,
        }),
    }
}

/// The process that holds the record's lock. A record lock of `fcntl` dies with
/// its process and is not inherited by a fork, so it is proof of life, and the
/// kernel names the holder: no stored process id has to be trusted.
fn lock_holder(file: &File) -> io::Result<Option<i32>> {
    let probe = Flock::from(FlockType::WriteLock);
    let found = fcntl_getlk(file, &probe)?;
    Ok(found
        .and_then(|lock| lock.pid)
        .map(rustix::process::Pid::as_raw_pid))
}

fn record_error(action: &'static str, path: &Path, source: io::Error) -> RecordError {
    RecordError::Io {
        action,
        path: path.into(),
        source,
    }
}

/// Names this boot of the machine; process ids mean nothing beyond it.
pub(super) fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        text.unwrap_or_default().trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::exit::{ExitCause, ProcessUsage};
    use super::*;

    const BOOT: &str = "this-boot";

    fn line(entry: &Entry) -> String {
        serde_json::to_string(entry).unwrap() + "\n"
    }

    fn started(boot_id: &str) -> String {
        let at = Timestamp::UNIX_EPOCH;
        line(&Entry::Started {
            shim_pid: 5,
            boot_id: boot_id.into(),
            at,
        })
    }

    fn exit(cause: ExitCause) -> ExitRecord {
        let at = Timestamp::UNIX_EPOCH;
        ExitRecord {
            cause,
            pid: Some(6),
            started_at: at,
            ended_at: at,
            usage: ProcessUsage::default(),
        }
    }

    #[test]
    fn a_held_lock_means_running_whatever_is_written() {
        let text = started(BOOT) + &line(&Entry::Running { pid: 6 });
        let expected = RecordState::Running { shim_pid: 5 };
        assert_eq!(interpret(text.as_bytes(), Some(5), BOOT), expected);
    }

    #[test]
    fn a_free_lock_without_an_exit_means_lost() {
        let lost = |boot: &str| interpret(started(boot).as_bytes(), None, BOOT);
        assert_eq!(lost(BOOT), RecordState::Lost(LostReason::ShimKilled));
        assert_eq!(
            lost("other"),
            RecordState::Lost(LostReason::MachineRestarted)
        );
        let nothing = interpret(b"", None, BOOT);
        assert_eq!(nothing, RecordState::Lost(LostReason::MachineRestarted));
    }

    #[test]
    fn an_exit_counts_even_while_its_shim_is_still_ending() {
        let ended = exit(ExitCause::Exited(3));
        let text = started(BOOT) + &line(&Entry::Ended(ended.clone()));
        assert_eq!(
            interpret(text.as_bytes(), Some(5), BOOT),
            RecordState::Ended(ended.clone())
        );
        assert_eq!(
            interpret(text.as_bytes(), None, "other"),
            RecordState::Ended(ended)
        );
    }

    proptest! {
        /// However a power failure cuts the file, an exit is told in full or not
        /// at all.
        #[test]
        fn a_cut_record_never_invents_an_exit(code in any::<i32>(), cut in any::<prop::sample::Index>()) {
            let ended = exit(ExitCause::Exited(code));
            let text = started(BOOT) + &line(&Entry::Ended(ended.clone()));
            let kept = cut.index(text.len() + 1);
            let state = interpret(&text.as_bytes()[..kept], None, BOOT);
            let expected = match kept {
                n if n == text.len() => RecordState::Ended(ended),
                n if n < started(BOOT).len() => RecordState::Lost(LostReason::MachineRestarted),
                _ => RecordState::Lost(LostReason::ShimKilled),
            };
            prop_assert_eq!(state, expected);
        }
    }
}
