//! Giving up privileges, once and for all.

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_gid,
    set_thread_groups, set_thread_uid,
};

use super::Identity;

/// Turns the calling thread, as root, into the unprivileged user. (Thread, not
/// process: it is called where the process has only one, sharing its memory with
/// a shim whose identity must stay.)
pub(crate) fn become_identity(identity: Identity) -> Result<()> {
    if identity.uid == 0 || identity.gid == 0 {
        return Err(Errno::INVAL);
    }
    empty_bounding_set()?;
    set_thread_groups(&[])?;
    set_thread_gid(rustix::fs::Gid::from_raw(identity.gid))?;
    set_thread_uid(rustix::fs::Uid::from_raw(identity.uid))
}

/// From now on no program that is executed gains privileges, not even a set-user-id
/// one. With `capabilities`, those still held are given up as well.
pub(crate) fn drop_privileges_for_good(capabilities: bool) -> Result<()> {
    if capabilities {
        let none = CapabilitySet::empty();
        clear_ambient_capability_set()?;
        set_capabilities(
            None,
            CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            },
        )?;
    }
    set_no_new_privs(true)
}

fn empty_bounding_set() -> Result<()> {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            // One past the last capability this kernel knows.
            Err(Errno::INVAL) => break,
            result => result?,
        }
    }
    Ok(())
}
