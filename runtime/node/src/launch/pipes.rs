//! Standard streams of a process whose other end is the daemon's, today's or a later one's.
//!
//! They are named pipes, which the shim holds open both ways: so nothing breaks while there is no
//! daemon, and the kernel keeps what is written meanwhile until its room is used up, when the
//! process has to wait.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::exit::{SetupFailure, SetupStep};
use super::shim::KILL_MESSENGER;
use super::spec::ProcessSpec;
use super::sys;
use crate::isolation::Identity;

/// Tells a shim that nothing more comes for standard input. No program is sent it by a shim.
pub(super) const CLOSE_INPUT: Signal = Signal::SIGURG;

/// How long what a process wrote last is kept for a daemon that does not come.
const KEPT_MAX: Duration = Duration::from_mins(5);

/// How often it is looked whether somebody has read it: often at first, when the daemon is there.
const LOOK_FIRST: Duration = Duration::from_micros(100);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(50);

/// Makes the named pipes of a specification, with the user as owner so that `/dev/stdout` can be
/// opened. Existing ones are left as they are.
pub(crate) fn make_pipes(spec: &ProcessSpec) -> io::Result<()> {
    for path in paths(spec) {
        match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(Identity { uid, gid }) = spec.identity {
            chown(path, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

/// Removes them, when nobody needs them any more.
pub(crate) fn remove_pipes(record: &Path) {
    for ending in ENDINGS {
        std::fs::remove_file(pipe_of(record, ending)).ok();
    }
}

/// The names of the pipes of a record: input, output, errors.
pub(super) const ENDINGS: [&str; 3] = [".in", ".out", ".err"];

/// Whether a file in a directory of run records is such a pipe.
pub(crate) fn is_pipe(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn pipe_of(record: &Path, ending: &str) -> PathBuf {
    let mut path = record.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

impl ProcessSpec {
    /// Gives it named pipes beside its record.
    pub(crate) fn with_pipes(mut self, has_input: bool) -> Self {
        let [input, output, errors] = Self::pipes_of(&self.record);
        self.piped = true;
        self.stdin = has_input.then_some(input);
        (self.stdout, self.stderr) = (output, errors);
        self
    }
}

impl ProcessSpec {
    /// The named pipes of a record: input, output, errors.
    pub(crate) fn pipes_of(record: &Path) -> [PathBuf; 3] {
        ENDINGS.map(|ending| pipe_of(record, ending))
    }
}

fn paths(spec: &ProcessSpec) -> impl Iterator<Item = &Path> {
    let all = [Some(&spec.stdout), Some(&spec.stderr), spec.stdin.as_ref()];
    all.into_iter().flatten().map(PathBuf::as_path)
}

/// The shim's hold on the pipes of its process.
#[derive(Debug, Default)]
pub(super) struct Held {
    outputs: Vec<File>,
    input: Option<File>,
}

impl Held {
    /// Opens the pipes, before the process is started.
    pub(super) fn open(spec: &ProcessSpec) -> Result<Self, SetupFailure> {
        if !spec.piped {
            return Ok(Self::default());
        }
        let outputs = [&spec.stdout, &spec.stderr].into_iter();
        Ok(Self {
            outputs: outputs
                .map(|path| both_ways(path))
                .collect::<Result<_, _>>()?,
            input: spec.stdin.as_deref().map(both_ways).transpose()?,
        })
    }

    /// The process finds the end of its input once the daemon has closed it too.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// Waits until what the process wrote has been read, or nobody can be expected to read it.
    pub(super) fn wait_until_read(&self) {
        let deadline = Instant::now() + KEPT_MAX;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let Ok(signals) = SignalFd::with_flags(&SigSet::all(), flags) else {
            return;
        };
        let mut pause = LOOK_FIRST;
        while self.has_unread() && Instant::now() < deadline {
            sleep_or_signal(&signals, pause);
            while let Ok(Some(signal)) = signals.read_signal() {
                if i32::try_from(signal.ssi_signo) == Ok(KILL_MESSENGER as i32) {
                    return;
                }
            }
            // What was handed to this shim would count to the cgroup until it is reaped.
            while let Ok(Some(_)) = sys::reap() {}
            pause = (pause * 2).min(LOOK_AT_LEAST_EVERY);
        }
    }

    fn has_unread(&self) -> bool {
        let unread = |file: &File| rustix::io::ioctl_fionread(file).unwrap_or(0) > 0;
        self.outputs.iter().any(unread)
    }
}

fn sleep_or_signal(signals: &SignalFd, pause: Duration) {
    let mut waited = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    // Whole milliseconds only; shorter pauses are slept.
    match u16::try_from(pause.as_millis()) {
        Ok(0) => std::thread::sleep(pause),
        Ok(millis) => drop(poll(&mut waited, PollTimeout::from(millis))),
        Err(_) => drop(poll(&mut waited, PollTimeout::MAX)),
    }
}

/// Open for reading and writing, which waits for nobody at the other end.
fn both_ways(path: &Path) -> Result<File, SetupFailure> {
    open(OpenOptions::new().read(true).write(true), path)
}

/// The process's end for reading. The shim holds the other.
pub(super) fn reading_end(path: &Path) -> Result<File, SetupFailure> {
    open(OpenOptions::new().read(true), path)
}

/// The process's end for writing. The shim holds the other.
pub(super) fn writing_end(path: &Path) -> Result<File, SetupFailure> {
    open(OpenOptions::new().write(true), path)
}

fn open(options: &mut OpenOptions, path: &Path) -> Result<File, SetupFailure> {
    let opened = options.custom_flags(nix::libc::O_NOFOLLOW).open(path);
    opened.map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(nix::libc::EIO);
        let errno = nix::errno::Errno::from_raw(errno);
        SetupFailure::new(SetupStep::OpenOutput, path.to_string_lossy(), errno)
    })
}
