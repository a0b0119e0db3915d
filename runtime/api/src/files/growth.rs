//! Waiting until a file grows or appears, told by the kernel.
#![allow(
    unsafe_code,
    reason = "tokio cannot see for itself that a descriptor stays open"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// Tells when something happens to one file or directory.
pub(crate) struct Growth(AsyncFd<Handle>);

struct Handle(Inotify);

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Growth {
    /// Watches an open file or directory, whatever its name leads to by now.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // The path of an open file is a way to the file itself.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let what = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO;
        inotify.add_watch(path.as_str(), what)?;
        // SAFETY: the handle owns the descriptor that it names, and nothing closes or replaces it
        // before the `AsyncFd` that owns the handle is dropped.
        let watched = unsafe { AsyncFd::register(Handle(inotify)) };
        Ok(Self(watched.map_err(io::Error::from)?))
    }

    /// Waits until something has happened since the call before, or since the
    /// watch began. Cancelling the wait loses nothing.
    pub(crate) async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            match self.0.get_ref().0.read_events() {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn tells_of_writes_and_of_new_files() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Growth::of(&File::open(folder.path()).unwrap()).unwrap();
        let mut file = File::create(folder.path().join("a")).unwrap();
        directory.changed().await.unwrap();
        let growth = Growth::of(&File::open(folder.path().join("a")).unwrap()).unwrap();
        file.write_all(b"x").unwrap();
        growth.changed().await.unwrap();
        fs::write(folder.path().join("b"), "y").unwrap();
        directory.changed().await.unwrap();
    }
}
