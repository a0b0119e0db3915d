//! The small process that forks shims for the daemon.

use std::fs;
use std::io::{self, BufReader, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use zeroize::Zeroize;

use super::launcher::SPECIFICATION_BYTES_MAX;
use super::sys::{self, Forked};
use super::{record, shim};

/// The hidden subcommand under which the daemon's executable is the spawner.
pub const SPAWNER_SUBCOMMAND: &str = "__spawner";

/// An answer is one error number, zero for success.
pub(super) const ANSWER_BYTES: usize = 4;
/// Shims must survive when the machine runs out of memory: they are tiny, and
/// without them nobody knows how a job ended.
const SHIM_OOM_SCORE_ADJUSTMENT: &str = "-900";

/// Runs the spawner until the daemon's end of standard input (a socket) closes.
///
/// To be called first thing in `main`, before any thread exists.
pub fn spawner_main() -> ExitCode {
    match prepare().and_then(serve) {
        Ok(Role::Spawner) => ExitCode::SUCCESS,
        Ok(Role::Shim(code)) => code,
        Err(error) => {
            eprintln!("lote spawner: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What this process is when the serving ends; a fork changes it.
enum Role {
    Spawner,
    Shim(ExitCode),
}

fn prepare() -> io::Result<UnixStream> {
    sys::close_inherited_descriptors()?;
    sys::default_all_signals();
    sys::forget_children(true)?;
    // Shims inherit the mask and fetch their signals one by one. The spawner
    // itself ends with its socket, not by signals.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    nix::unistd::setsid().ok();
    nix::sys::prctl::set_name(c"lote-spawner")?;
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setgroups(&[])?;
        fs::write("/proc/self/oom_score_adj", SHIM_OOM_SCORE_ADJUSTMENT).ok();
    }
    // Read once here instead of once per shim.
    record::boot_id();
    Ok(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn serve(socket: UnixStream) -> io::Result<Role> {
    let mut requests = BufReader::with_capacity(64 << 10, socket.try_clone()?);
    let mut frame = Vec::new();
    while read_frame(&mut requests, &mut frame)? {
        let answered = match sys::fork_with_handle() {
            Ok(Forked::Child) => {
                drop((requests, socket));
                return Ok(Role::Shim(shim::run(&frame)));
            }
            Ok(Forked::Parent(handle)) => answer(&socket, 0, &[handle.as_fd()]),
            Err(error) => answer(&socket, error.raw_os_error().unwrap_or(nix::libc::EIO), &[]),
        };
        // A later shim must not carry another job's secrets in its memory.
        frame.zeroize();
        match answered {
            // The daemon is gone; the next read ends the loop.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            result => result?,
        }
    }
    Ok(Role::Spawner)
}

/// Reads the next specification; `false` at the end.
fn read_frame(requests: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match requests.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        // The daemon was killed with answers unread.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
        result => result?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > SPECIFICATION_BYTES_MAX {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "a specification is too large",
        ));
    }
    frame.resize(length, 0);
    requests.read_exact(frame).map(|()| true)
}

fn answer(socket: &UnixStream, errno: i32, handles: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(handles));
    }
    let bytes = errno.to_le_bytes();
    sendmsg(
        socket,
        &[IoSlice::new(&bytes)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}
