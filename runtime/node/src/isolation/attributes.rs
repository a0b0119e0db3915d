//! Attributes of mounts for which no crate has a call.
#![allow(
    unsafe_code,
    reason = "mount_setattr, of which ids and read-only trees are made, has no safe interface"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use rustix::io::{Errno, Result};

/// The kernel's `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const READ_ONLY: u64 = 0x1;
const NO_SUID: u64 = 0x2;
const NO_DEVICES: u64 = 0x4;
const IDS_MAPPED: u64 = 0x10_0000;

/// Makes a tree that is attached nowhere yet read-only, with all that is mounted in it.
pub(super) fn make_read_only(tree: &impl AsFd) -> Result<()> {
    let attributes = MountAttributes {
        set: READ_ONLY | NO_SUID,
        ..MountAttributes::default()
    };
    set(tree.as_fd(), libc::AT_RECURSIVE, &attributes)
}

/// Shows the files of a tree that is attached nowhere yet as those of the ids that the user name
/// space gives them outside, read-only and without set-user-id programs and device files.
///
/// # Errors
///
/// `EINVAL` if its file system or this kernel cannot do it.
pub(crate) fn map_ids(tree: &impl AsFd, user_namespace: &impl AsFd) -> Result<()> {
    let descriptor = user_namespace.as_fd().as_raw_fd();
    let attributes = MountAttributes {
        set: IDS_MAPPED | READ_ONLY | NO_SUID | NO_DEVICES,
        user_namespace: u64::from(descriptor.unsigned_abs()),
        ..MountAttributes::default()
    };
    set(tree.as_fd(), 0, &attributes)
}

fn set(tree: BorrowedFd<'_>, flags: libc::c_int, attributes: &MountAttributes) -> Result<()> {
    let flags = flags | libc::AT_EMPTY_PATH;
    // SAFETY: the kernel reads a string without characters and a structure of the size given,
    // both of which outlive the call, and writes nothing.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()
            .raw_os_error()
            .map_or(Errno::IO, Errno::from_raw_os_error)),
    }
}
