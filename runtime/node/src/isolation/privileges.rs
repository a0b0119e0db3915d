//! Giving up privileges, once and for all.

use std::os::fd::AsFd;

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, clear_ambient_capability_set,
    move_into_link_name_space, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_gid, set_thread_groups, set_thread_uid,
};

use super::Identity;

/// Turns the calling thread, as root, into the unprivileged user. (Thread, not
/// process: it is called where the process has only one, sharing its memory with
/// a shim whose identity must stay.)
pub(crate) fn become_identity(identity: Identity) -> Result<()> {
    if identity.uid == 0 || identity.gid == 0 {
        return Err(Errno::INVAL);
    }
    bound_to(CapabilitySet::empty())?;
    set_thread_groups(&[])?;
    set_thread_gid(rustix::fs::Gid::from_raw(identity.gid))?;
    set_thread_uid(rustix::fs::Uid::from_raw(identity.uid))
}

/// What root of a container may do to what belongs to the container: change owners, modes and
/// users, as programs that install packages do. Nothing to mount, to load, to trace or to set up a
/// network with; of the machine nothing belongs to a container.
const OF_CONTAINER_ROOT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_CHROOT);

/// Turns the calling process, which is root, into the root of a user name space: an unprivileged
/// user outside of it. No program that it executes gains privileges.
pub(crate) fn become_root_of(user_namespace: &impl AsFd) -> Result<()> {
    let kind = Some(LinkNameSpaceType::User);
    move_into_link_name_space(user_namespace.as_fd(), kind)?;
    set_thread_groups(&[])?;
    set_thread_gid(rustix::fs::Gid::from_raw(0))?;
    set_thread_uid(rustix::fs::Uid::from_raw(0))?;
    // All of them came with the name space.
    bound_to(OF_CONTAINER_ROOT)?;
    hold_only(OF_CONTAINER_ROOT)?;
    set_no_new_privs(true)
}

/// From now on no program that is executed gains privileges, not even a set-user-id
/// one. With `capabilities`, those still held are given up as well.
pub(crate) fn drop_privileges_for_good(capabilities: bool) -> Result<()> {
    if capabilities {
        hold_only(CapabilitySet::empty())?;
    }
    set_no_new_privs(true)
}

/// From now on no program that is executed has others than these.
fn bound_to(kept: CapabilitySet) -> Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // One past the last capability this kernel knows.
            Err(Errno::INVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

/// Gives up all others.
fn hold_only(kept: CapabilitySet) -> Result<()> {
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}
