//! The calls for which there is no safe wrapper.
#![allow(
    unsafe_code,
    reason = "fork, vfork, wait4 and signal dispositions have no safe interface"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::exit::ProcessUsage;

/// Room for the set-up of a process, which recurses nowhere; only the pages that
/// are touched exist.
const CHILD_STACK_BYTES: usize = 256 << 10;

/// The kernel's flag; the library's constant of this name is cut to 32 bits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The highest signal number, real-time ones included.
const SIGNAL_MAX: i32 = 64;

/// Which side of a fork this is.
pub(super) enum Forked {
    Child,
    /// With a handle on the child that stays valid whatever becomes of its id.
    Parent(OwnedFd),
}

/// Forks. Only for a process with a single thread.
pub(super) fn fork_with_handle() -> io::Result<Forked> {
    let mut handle: libc::c_int = -1;
    let flags = libc::c_long::from(libc::CLONE_PIDFD | libc::SIGCHLD);
    let none = 0 as libc::c_long;
    // SAFETY: without CLONE_VM this is a plain fork: the child runs on a copy of
    // this stack. The process has one thread, so no lock is held by another. The
    // kernel writes one int to `handle`, which outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut handle, none, none) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        // SAFETY: the kernel has just opened this descriptor for us alone.
        _ => Ok(Forked::Parent(unsafe { OwnedFd::from_raw_fd(handle) })),
    }
}

/// Runs `child` in a new process that borrows this one's memory until it executes
/// another program or ends; this process stands still as long. Cheaper than a
/// fork, and what `child` writes (why it failed) is simply there afterwards.
pub(super) fn vfork(child: impl FnMut() -> isize) -> nix::Result<Pid> {
    let mut stack = vec![0; CHILD_STACK_BYTES];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: CLONE_VFORK suspends this process, so the shared memory has one
    // user at a time and `stack` and `child` outlive the child's use of them. The
    // child has a stack of its own and never returns into this function's frame.
    unsafe { nix::sched::clone(Box::new(child), &mut stack, flags, Some(libc::SIGCHLD)) }
}

/// Runs `child` in a new process that is born in a cgroup of version 2, while this
/// process stands still until the child executes another program or ends. Only for
/// a process with a single thread.
///
/// Joining a cgroup later takes a lock that waits for every processor to pass
/// through the scheduler, 10 to 20 ms on an idle machine; being born in it does
/// not. The kernel offers this to version 2 only, from 5.7 on.
pub(super) fn fork_into(cgroup: BorrowedFd<'_>, child: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: a structure of integers; zero means "not asked for" in each.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP | u64::from(libc::CLONE_VFORK.unsigned_abs());
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    let size_bytes = size_of::<libc::clone_args>();
    // SAFETY: without CLONE_VM and a stack this is a fork: the child runs on a copy
    // of this stack. The process has one thread, so no lock is held by another.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_bytes) };
    match i32::try_from(pid) {
        Ok(0) => {
            let end = ExitOnDrop;
            child();
            drop(end);
            unreachable!("the process has ended");
        }
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends a forked process, also by a panic: it must not go on as its parent.
struct ExitOnDrop;

impl Drop for ExitOnDrop {
    fn drop(&mut self) {
        // SAFETY: ends this process at once and runs nothing of the parent's.
        unsafe { libc::_exit(1) }
    }
}

/// A child that ended, with what it used; `None` if all that exist still run.
/// `ECHILD` if there are none.
pub(super) fn reap() -> nix::Result<Option<(WaitStatus, ProcessUsage)>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to writable memory of the right type.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    if nix::errno::Errno::result(pid)? == 0 {
        return Ok(None);
    }
    // SAFETY: zeroed is a valid rusage, and the kernel has filled it in.
    let usage = unsafe { usage.assume_init() };
    Ok(Some((
        WaitStatus::from_raw(Pid::from_raw(pid), status)?,
        process_usage(&usage),
    )))
}

fn process_usage(usage: &libc::rusage) -> ProcessUsage {
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds need no more than 52 bits"
    )]
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    ProcessUsage {
        user_seconds: seconds(usage.ru_utime),
        system_seconds: seconds(usage.ru_stime),
        resident_peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }
}

/// Closes every descriptor except standard input, output and error.
pub(super) fn close_inherited_descriptors() -> io::Result<()> {
    // SAFETY: called before this process has opened anything, so nothing that
    // owns a descriptor exists.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives every signal its default action; ignored ones would stay ignored in the
/// programs that are executed.
pub(super) fn default_all_signals() {
    // The kernel's structure with every member zero: default action, no flags, an
    // empty mask. Its size is that of four words on every architecture.
    let default = [0_u64; 4];
    let none = 0 as libc::c_long;
    for signal in 1..=libc::c_long::from(SIGNAL_MAX) {
        // SAFETY: the kernel reads `default` only, and default actions run no
        // code here. Not through the library, which refuses to touch 32 and 33.
        // SIGKILL and SIGSTOP cannot be changed; that they fail is as it should be.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, none, 8) };
    }
}

/// Children vanish when they end instead of waiting to be asked about (`true`),
/// or are kept (`false`).
pub(super) fn forget_children(forget: bool) -> nix::Result<()> {
    let flags = if forget {
        SaFlags::SA_NOCLDWAIT
    } else {
        SaFlags::empty()
    };
    let action = SigAction::new(SigHandler::SigDfl, flags, SigSet::empty());
    // SAFETY: only the default action is set, so no handler code runs.
    unsafe { sigaction(Signal::SIGCHLD, &action) }.map(drop)
}
