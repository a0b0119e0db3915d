//! Project quotas of ext4 and xfs: every file below a directory counts for one project, and the
//! kernel refuses what would make it too large.
#![allow(
    unsafe_code,
    reason = "quotactl_fd and the ioctls for projects have no safe interface"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

use super::mount_table;

/// Above the numbers that people give to projects.
const PROJECT_FIRST: u32 = 0x4C6F_0000;

/// The kind of quota, of three (users, groups, projects).
const PROJECTS: libc::c_int = 2;

/// Quotas are counted in these.
const BLOCK_BYTES: u64 = 1024;

/// Files below get the project of the directory that they are made in.
const INHERIT: u32 = 0x200;

/// `struct fsxattr` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_on_write_extent_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqinfo` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Information {
    grace_of_blocks: u64,
    grace_of_inodes: u64,
    flags: u32,
    valid: u32,
}

nix::ioctl_read!(get_attributes, b'X', 31, Attributes);
nix::ioctl_write_ptr!(set_attributes, b'X', 32, Attributes);

/// The project of an export.
pub(super) fn project(number: u16) -> u32 {
    PROJECT_FIRST + u32::from(number)
}

/// Whether the file system of a directory counts by project and refuses what is too much. One
/// that only counts answers as well, so the options of its mount decide.
pub(super) fn is_enforced(directory: &impl AsFd) -> bool {
    let device = rustix::fs::fstat(directory).map(|found| found.st_dev);
    let device = device.map(|it| format!("{}:{}", rustix::fs::major(it), rustix::fs::minor(it)));
    let mounts = mount_table::read().unwrap_or_default();
    let is_mounted_so = mounts
        .iter()
        .any(|mount| mount.has_project_quota && device.as_ref() == Ok(&mount.device));
    is_mounted_so && answers(directory)
}

fn answers(directory: &impl AsFd) -> bool {
    let mut info = Information::default();
    quotactl(directory, libc::Q_GETINFO, 0, (&raw mut info).cast()).is_ok()
}

/// Counts everything below a directory from now on for a project, which may take so much.
pub(super) fn limit(directory: &impl AsFd, project: u32, bytes: u64) -> io::Result<()> {
    let descriptor = directory.as_fd().as_raw_fd();
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes one structure of this layout.
    unsafe { get_attributes(descriptor, &raw mut attributes) }?;
    if attributes.project != project || attributes.flags & INHERIT == 0 {
        attributes.project = project;
        attributes.flags |= INHERIT;
        // SAFETY: the kernel reads one structure of this layout.
        unsafe { set_attributes(descriptor, &raw const attributes) }?;
    }
    let mut wanted = nothing();
    wanted.dqb_bhardlimit = bytes / BLOCK_BYTES;
    wanted.dqb_valid = libc::QIF_BLIMITS;
    quotactl(
        directory,
        libc::Q_SETQUOTA,
        project,
        (&raw mut wanted).cast(),
    )
}

/// How much a project takes, in bytes.
pub(super) fn usage(directory: &impl AsFd, project: u32) -> io::Result<u64> {
    let mut found = nothing();
    quotactl(
        directory,
        libc::Q_GETQUOTA,
        project,
        (&raw mut found).cast(),
    )?;
    Ok(found.dqb_curspace)
}

fn nothing() -> libc::dqblk {
    // SAFETY: a structure of integers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

fn quotactl(
    directory: &impl AsFd,
    command: libc::c_int,
    project: u32,
    argument: *mut libc::c_void,
) -> io::Result<()> {
    let command = libc::QCMD(command, PROJECTS);
    // SAFETY: the argument points to the structure that belongs to the command, which outlives
    // the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            directory.as_fd().as_raw_fd(),
            command,
            project,
            argument,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_large_as_the_kernels() {
        assert_eq!(size_of::<Attributes>(), 28);
        assert_eq!(project(7), 0x4C6F_0007);
    }

    #[test]
    fn a_file_system_in_memory_has_none() {
        let Ok(directory) = std::fs::File::open("/proc") else {
            return;
        };
        assert!(!is_enforced(&directory));
        assert!(limit(&directory, project(1), 1 << 20).is_err());
        assert!(usage(&directory, project(1)).is_err());
    }
}
