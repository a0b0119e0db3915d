//! The rights of a job's user, for a moment, on this thread.

use std::io;
use std::marker::PhantomData;

use lote_model::id::UnixId;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

/// While it lives, this thread opens files as the given user and group. With
/// the user id the kernel takes away the right to pass over permissions.
///
/// It belongs to one thread, so it must not live across an `await`; it cannot be
/// sent, and the compiler refuses that.
#[must_use]
pub(crate) struct FsIdentity {
    assumed: bool,
    /// The identity is the thread's.
    not_send: PhantomData<*const ()>,
}

/// No user has this id, so asking for it changes nothing and tells the present one.
const NOBODY: u32 = u32::MAX;

impl FsIdentity {
    /// Takes on the identity; none keeps the daemon's own. Fails when the daemon
    /// may not do that, because it does not run as root.
    pub(crate) fn assume(id: Option<UnixId>) -> io::Result<Self> {
        let Some(UnixId(id)) = id else {
            return Ok(Self {
                assumed: false,
                not_send: PhantomData,
            });
        };
        let identity = Self {
            assumed: true,
            not_send: PhantomData,
        };
        setfsgid(Gid::from_raw(id));
        setfsuid(Uid::from_raw(id));
        let is_set = setfsuid(Uid::from_raw(NOBODY)).as_raw() == id
            && setfsgid(Gid::from_raw(NOBODY)).as_raw() == id;
        // Dropping `identity` on the way out takes back what was half done.
        if is_set {
            Ok(identity)
        } else {
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        }
    }
}

impl Drop for FsIdentity {
    fn drop(&mut self) {
        if self.assumed {
            setfsuid(Uid::effective());
            setfsgid(Gid::effective());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_private_file_of_root_is_out_of_reach() {
        if !Uid::effective().is_root() {
            assert!(FsIdentity::assume(Some(UnixId(2_000_000))).is_err());
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        {
            let _identity = FsIdentity::assume(Some(UnixId(2_000_000))).unwrap();
            assert_eq!(
                fs::read(&file).unwrap_err().kind(),
                io::ErrorKind::PermissionDenied
            );
        }
        assert!(fs::read(&file).is_ok(), "the daemon's own rights are back");
    }
}
