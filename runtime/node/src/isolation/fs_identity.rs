//! Touching files with a job user's rights from inside the daemon.

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::Identity;

/// While this guard lives, the current thread opens, creates and lists files
/// with the rights of another user; the kernel itself checks every access.
///
/// The guard is bound to its thread (it is not `Send`), so it cannot be held over
/// an `await`: do the file work in one piece, for example in `spawn_blocking`.
///
/// Supplementary groups are not switched. The daemon therefore drops its own at
/// start ([`drop_supplementary_groups`](FsIdentity::drop_supplementary_groups));
/// otherwise a file readable by one of root's groups would be readable here.
#[derive(Debug)]
#[must_use = "the rights are given back when the guard is dropped"]
pub struct FsIdentity {
    previous: Identity,
    thread_bound: std::marker::PhantomData<*const ()>,
}

impl FsIdentity {
    /// Takes on the rights of `identity` for file access in this thread.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if the daemon may not change its identity (not root).
    pub fn assume(identity: Identity) -> std::io::Result<Self> {
        let previous = Identity {
            uid: setfsuid(Uid::from_raw(identity.uid)).as_raw(),
            gid: setfsgid(Gid::from_raw(identity.gid)).as_raw(),
        };
        let guard = Self {
            previous,
            thread_bound: std::marker::PhantomData,
        };
        if current() == identity {
            return Ok(guard);
        }
        Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied))
    }

    /// The same for an identity that may be absent (no isolation): then nothing
    /// changes and there is no guard.
    pub fn assume_if(identity: Option<Identity>) -> std::io::Result<Option<Self>> {
        identity.map(Self::assume).transpose()
    }

    /// Drops the supplementary groups of the whole process. The daemon calls it
    /// once, before it starts threads, and only as root.
    pub fn drop_supplementary_groups() -> std::io::Result<()> {
        Ok(nix::unistd::setgroups(&[])?)
    }
}

impl Drop for FsIdentity {
    fn drop(&mut self) {
        setfsuid(Uid::from_raw(self.previous.uid));
        setfsgid(Gid::from_raw(self.previous.gid));
    }
}

/// The kernel's only way to ask: try to change to an impossible id.
fn current() -> Identity {
    Identity {
        uid: setfsuid(Uid::from_raw(u32::MAX)).as_raw(),
        gid: setfsgid(Gid::from_raw(u32::MAX)).as_raw(),
    }
}
