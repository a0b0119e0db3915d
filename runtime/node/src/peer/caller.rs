//! Which process asks, and whether it is one of the job.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixStream;

/// Whether the process that connected is in the control group with these `cgroup.procs` files.
///
/// Its user says nothing: jobs of one workspace have the same. The process is held by a handle
/// while its id is looked for, so the id cannot have become another's meanwhile.
pub(super) fn is_in_group(stream: &UnixStream, cgroup_procs: &[PathBuf]) -> io::Result<bool> {
    let Some((pid, handle)) = held(stream)? else {
        return Ok(false);
    };
    // The first file is that of the hierarchy in which the job is killed.
    let Some(procs) = cgroup_procs.first() else {
        return Ok(false);
    };
    let members = std::fs::read_to_string(procs)?;
    let id = pid.to_string();
    Ok(members.lines().any(|line| line == id) && lives(&handle)?)
}

/// The process at the other end and a handle on it; none if it has gone or cannot be seen.
fn held(stream: &UnixStream) -> io::Result<Option<(i32, OwnedFd)>> {
    match getsockopt(&stream.as_fd(), sockopt::PeerPidfd) {
        Ok(handle) => Ok(id_of(&handle)?.map(|pid| (pid, handle))),
        Err(Errno::ESRCH | Errno::ENODATA) => Ok(None),
        // A kernel before 6.5.
        Err(Errno::ENOPROTOOPT) => {
            let credentials = getsockopt(&stream.as_fd(), sockopt::PeerCredentials)?;
            let pid = Pid::from_raw(credentials.pid());
            let handle = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            Ok(handle.map(|handle| (credentials.pid(), handle)))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// The id of the process that a handle is on, if it lives.
fn id_of(handle: &OwnedFd) -> io::Result<Option<i32>> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd()))?;
    let id = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    let id = id.and_then(|id| id.trim().parse().ok());
    Ok(id.filter(|id| *id > 0))
}

/// A handle can be read from once its process has ended.
fn lives(handle: &OwnedFd) -> io::Result<bool> {
    let mut asked = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut asked, PollTimeout::ZERO)? == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_is_listed_is_in_the_group() {
        let folder = tempfile::tempdir().unwrap();
        let procs = folder.path().join("cgroup.procs");
        let (one, _other) = UnixStream::pair().unwrap();
        let own = std::process::id();
        for (listed, is_in) in [
            (format!("1\n{own}\n"), true),
            (format!("1\n{own}0\n"), false),
            (String::new(), false),
        ] {
            std::fs::write(&procs, listed).unwrap();
            let found = is_in_group(&one, std::slice::from_ref(&procs)).unwrap();
            assert_eq!(found, is_in);
        }
        assert!(!is_in_group(&one, &[]).unwrap());
    }
}
