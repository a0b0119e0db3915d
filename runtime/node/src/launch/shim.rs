//! The supervisor of exactly one process.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::execution_log::ExecutionLog;
use super::exit::{ExitCause, ExitRecord, ProcessUsage, SetupFailure, SetupStep};
use super::fence::{self, Guard};
use super::pipes::{self, Held};
use super::record::{self, Claim};
use super::spec::ProcessSpec;
use super::{child, members, sys};

/// SIGKILL and SIGSTOP would hit the shim instead of being passed on; the first
/// travels under a name that no program uses.
pub(super) const KILL_MESSENGER: Signal = Signal::SIGPWR;
/// How long descendants of a process without cgroups, and all of a cgroup that is fenced, may
/// take to die before the shim leaves them behind.
const DESCENDANTS_DEATH_MAX: Duration = Duration::from_secs(5);

/// The signal to send to a shim so that its process receives `signal`.
pub(super) fn forwarded_as(signal: Signal) -> rustix::process::Signal {
    let signal = if signal == Signal::SIGKILL {
        KILL_MESSENGER
    } else {
        signal
    };
    rustix::process::Signal::from_named_raw(signal as i32).unwrap_or(rustix::process::Signal::TERM)
}

/// Runs one process from claim to exit record.
pub(super) fn run(frame: &[u8]) -> ExitCode {
    match supervise(frame) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lote shim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(frame: &[u8]) -> io::Result<()> {
    let spec: ProcessSpec = serde_json::from_slice(frame)?;
    prepare()?;
    let started_at = Timestamp::now();
    let claim = Claim::take(&spec.record, record::boot_id(), started_at);
    let claim = claim.map_err(|error| {
        io::Error::new(error.kind(), format!("{}: {error}", spec.record.display()))
    })?;
    let Some(mut claim) = claim else {
        // Another launch of this record was first; it alone runs the process.
        return Ok(());
    };
    let_go_of_daemon()?;
    let mut guard = spec.fence.as_deref().map(Guard::new).transpose()?;
    let mut pipes = Held::default();
    let (cause, pid, usage) = if guard.as_mut().is_some_and(Guard::has_passed) {
        (ExitCause::Fenced, None, ProcessUsage::default())
    } else {
        match Held::open(&spec).and_then(|held| Ok((start(&spec)?, held))) {
            Ok((pid, mut held)) => {
                // Only for people to see: no reason to leave the command alone.
                claim.running(pid.as_raw()).ok();
                log(&spec, &format!("started {} (process {pid})", spec.title));
                let (cause, usage) = wait(pid, guard.as_mut(), &spec.cgroup_procs, &mut held)?;
                pipes = held;
                (cause, Some(pid.as_raw()), usage)
            }
            Err(failure) => (
                ExitCause::SetupFailed(failure),
                None,
                ProcessUsage::default(),
            ),
        }
    };
    let ended_at = Timestamp::now();
    if spec.cgroup_procs.is_empty() {
        kill_descendants();
    }
    if cause == ExitCause::Fenced {
        kill_cgroup(&spec.cgroup_procs);
    }
    log(&spec, &format!("{} {}", spec.title, describe(&cause)));
    // Whoever waits for the end has all output by then.
    pipes.wait_until_read();
    claim.ended(ExitRecord {
        cause,
        pid,
        started_at,
        ended_at,
        usage,
    })
}

fn prepare() -> io::Result<()> {
    sys::forget_children(false)?;
    nix::unistd::setsid()?;
    nix::sys::prctl::set_name(c"lote-shim")?;
    // Daemonised descendants come to the shim instead of init: they are reaped,
    // and found when there is no cgroup to find them by.
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Puts `/dev/null`, which the spawner has as standard output, in place of the
/// socket and the daemon's log.
fn let_go_of_daemon() -> io::Result<()> {
    rustix::stdio::dup2_stdin(rustix::stdio::stdout())?;
    rustix::stdio::dup2_stderr(rustix::stdio::stdout())?;
    Ok(())
}

fn start(spec: &ProcessSpec) -> Result<Pid, SetupFailure> {
    if let Some(started) = start_inside(spec) {
        return started;
    }
    let mut failure = None;
    let forked = sys::vfork(|| {
        failure = Some(child::execute(spec, &spec.cgroup_procs));
        1
    });
    match (forked, failure) {
        (Ok(pid), None) => Ok(pid),
        (_, Some(failure)) => Err(failure),
        (Err(errno), None) => Err(SetupFailure::new(
            SetupStep::Fork,
            spec.argv.first().map_or("", String::as_str),
            errno,
        )),
    }
}

/// Starts the command inside its cgroup of version 2. `None` if there is none, or
/// the kernel cannot do it: then it has to join like any other.
fn start_inside(spec: &ProcessSpec) -> Option<Result<Pid, SetupFailure>> {
    let (first, others) = spec.cgroup_procs.split_first()?;
    let cgroup = File::open(first.parent()?).ok()?;
    // Closed by the execution of the command; what comes before is why there was none.
    let (mut reader, writer) = io::pipe().ok()?;
    let forked = sys::fork_into(cgroup.as_fd(), || {
        let failure = child::execute(spec, others);
        serde_json::to_writer(&writer, &failure).ok();
    });
    drop(writer);
    let pid = forked.ok()?;
    let mut failure = Vec::new();
    reader.read_to_end(&mut failure).ok();
    Some(if failure.is_empty() {
        Ok(pid)
    } else {
        Err(read_failure(&failure))
    })
}

fn read_failure(json: &[u8]) -> SetupFailure {
    let unreadable = |_| SetupFailure::new(SetupStep::Fork, "the command", Errno::EIO);
    serde_json::from_slice(json).unwrap_or_else(unreadable)
}

/// Waits for the command, passes signals on to it and reaps what it leaves. Kills it, and all
/// of its cgroup, once the guard says that the node is cut off.
fn wait(
    command: Pid,
    mut guard: Option<&mut Guard>,
    cgroup_procs: &[PathBuf],
    held: &mut Held,
) -> io::Result<(ExitCause, ProcessUsage)> {
    let signals = SigSet::all();
    let mut fenced = false;
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some((cause, usage)) = reap_until(command)? {
                    // Another shim of the job may have been the first to kill the cgroup.
                    let killed = cause == ExitCause::Signalled(Signal::SIGKILL as i32);
                    let fenced = fenced || killed && has_passed(&mut guard);
                    let cause = if fenced { ExitCause::Fenced } else { cause };
                    return Ok((cause, usage));
                }
            }
            Ok(fence::WAKE_UP) => {
                if has_passed(&mut guard) {
                    fenced = true;
                    forward(KILL_MESSENGER, command);
                    members::kill_all(cgroup_procs);
                }
            }
            Ok(pipes::CLOSE_INPUT) => held.close_input(),
            Ok(signal) => forward(signal, command),
            // A real-time signal, which has no name to pass it on by.
            Err(_) => {}
        }
    }
}

fn has_passed(guard: &mut Option<&mut Guard>) -> bool {
    guard.as_mut().is_some_and(|guard| guard.has_passed())
}

fn forward(signal: Signal, command: Pid) {
    let signal = if signal == KILL_MESSENGER {
        Signal::SIGKILL
    } else {
        signal
    };
    // It has not been reaped, so the id is still its own.
    killpg(command, signal).ok();
}

/// Reaps whatever has ended; how the command ended, once it has.
fn reap_until(command: Pid) -> io::Result<Option<(ExitCause, ProcessUsage)>> {
    while let Some((status, usage)) = sys::reap()? {
        match status {
            WaitStatus::Exited(pid, code) if pid == command => {
                return Ok(Some((ExitCause::Exited(code), usage)));
            }
            WaitStatus::Signaled(pid, signal, _) if pid == command => {
                return Ok(Some((ExitCause::Signalled(signal as i32), usage)));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Kills every child, whose children then become ours, until there are none.
fn kill_descendants() {
    let deadline = Instant::now() + DESCENDANTS_DEATH_MAX;
    loop {
        match sys::reap() {
            Ok(Some(_)) => {}
            Err(Errno::ECHILD) => return,
            Ok(None) | Err(_) if Instant::now() > deadline => return,
            Ok(None) | Err(_) => {
                kill_children();
                // A child's end is the only signal awaited here; a look now and
                // then finds those that were handed to us meanwhile.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Kills the cgroup until it is empty; what was handed to us is reaped, or it would still count.
fn kill_cgroup(cgroup_procs: &[PathBuf]) {
    let deadline = Instant::now() + DESCENDANTS_DEATH_MAX;
    while members::kill_all(cgroup_procs) && Instant::now() < deadline {
        while let Ok(Some(_)) = sys::reap() {}
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill_children() {
    let pid = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in children.unwrap_or_default().split_whitespace() {
        if let Ok(child) = child.parse() {
            // Children are reaped by nobody else, so the id is still theirs.
            kill(Pid::from_raw(child), Signal::SIGKILL).ok();
        }
    }
}

/// Adds a line to the launcher's log of the job. Never fails the process: the log
/// may lie on a disk that is full.
fn log(spec: &ProcessSpec, message: &str) {
    if let Some(path) = &spec.execution_log {
        let log = ExecutionLog {
            path,
            spooled: spec.spooled,
            identity: spec.identity,
            umask: spec.umask,
        };
        log.add(message).ok();
    }
}

/// The end of a process in words, for the log.
fn describe(cause: &ExitCause) -> String {
    match cause {
        ExitCause::Exited(code) => format!("exited with code {code}"),
        ExitCause::Signalled(number) => match Signal::try_from(*number) {
            Ok(signal) => format!("was ended by {signal}"),
            Err(_) => format!("was ended by signal {number}"),
        },
        ExitCause::SetupFailed(failure) => format!("was not started: {failure}"),
        ExitCause::Fenced => "was ended because the node is cut off from the others".into(),
    }
}
