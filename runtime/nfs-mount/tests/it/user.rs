//! Doing something as another user.

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

/// An ordinary user, as jobs run.
pub(crate) const SOMEBODY: u32 = 20_001;
/// One of another workspace.
pub(crate) const OTHER: u32 = 20_002;

/// Runs it in a thread whose files are a user's; the group has the same number.
pub(crate) fn as_user<T: Send>(user: u32, what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setfsgid(Gid::from_raw(user));
            setfsuid(Uid::from_raw(user));
            what()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
