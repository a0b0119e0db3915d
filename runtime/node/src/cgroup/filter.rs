//! The filter that keeps a cgroup of v2 to its devices.
//!
//! The crate `libcgroups` writes the program and hands it to the kernel. It is bound to the
//! cgroup itself and not to who bound it, so it stays when the daemon ends.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use libcgroups::v2::devices::bpf::prog;
use libcgroups::v2::devices::program::Program;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType};

use super::devices::{DeviceKind, DeviceRule};
use super::files;
use super::{CgroupError, job};

/// What the kernel is told of the program's licence; it takes a C string.
const LICENSE: &str = "Apache\0";

/// Where a filter is tried, below the jobs' directory; with the process's id, because daemons may
/// share that directory.
const PROBE: &str = "device-filter-probe";

/// How many programs are kept. Checking one costs the kernel as much as half a job's start, and
/// most jobs have the same devices.
const PROGRAMS_MAX: usize = 64;

type Programs = Vec<(Vec<DeviceRule>, Arc<OwnedFd>)>;

/// The programs loaded last, the latest at the end. For the whole process, because a program
/// belongs to no layout.
static PROGRAMS: Mutex<Programs> = Mutex::new(Vec::new());

/// Whether the kernel takes a filter at a new cgroup below `jobs`.
pub(super) fn probe(jobs: &Path) -> Result<(), CgroupError> {
    let directory = jobs.join(format!("{PROBE}-{}", std::process::id()));
    files::create_directory(&directory)?;
    let attached = attach(&directory, &[]);
    let removed = job::remove_tree(&directory);
    attached.and(removed)
}

/// Lets the processes of a cgroup open nothing but these devices. Filters that an earlier try
/// has left there are replaced.
pub(super) fn attach(directory: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    let failed = |action: &str, cause: &dyn std::fmt::Display| CgroupError::Filter {
        path: directory.into(),
        action: format!("{action}: {cause}"),
    };
    let cgroup = File::open(directory).map_err(|error| files::error("open", directory, error))?;
    let program = program(rules)?;
    let earlier = prog::query(cgroup.as_raw_fd());
    let earlier = earlier.map_err(|error| failed("look for filters", &error))?;
    let earlier: Vec<OwnedFd> = earlier.iter().map(|program| owned(program.fd)).collect();
    prog::attach(program.as_raw_fd(), cgroup.as_raw_fd())
        .map_err(|error| failed("attach", &error))?;
    for program in earlier {
        prog::detach2(program.as_raw_fd(), cgroup.as_raw_fd())
            .map_err(|error| failed("detach an earlier one", &error))?;
    }
    Ok(())
}

/// The program for these rules, checked by the kernel.
fn program(rules: &[DeviceRule]) -> Result<Arc<OwnedFd>, CgroupError> {
    // One that panicked has left the list as it was.
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = programs.iter().position(|(known, _)| known == rules) {
        let entry = programs.remove(known);
        let program = Arc::clone(&entry.1);
        programs.push(entry);
        return Ok(program);
    }
    let failed = |action: &str, cause: String| CgroupError::Filter {
        path: "/sys/fs/cgroup".into(),
        action: format!("{action}: {cause}"),
    };
    let code = code(rules).map_err(|cause| failed("write a program", cause))?;
    let loaded = prog::load(LICENSE, code.bytecodes());
    let loaded = loaded.map_err(|error| failed("load a program", error.to_string()))?;
    let program = Arc::new(owned(loaded));
    if programs.len() >= PROGRAMS_MAX {
        programs.remove(0);
    }
    programs.push((rules.to_vec(), Arc::clone(&program)));
    Ok(program)
}

#[expect(
    unsafe_code,
    reason = "the crate answers bare descriptors, which nobody would close"
)]
fn owned(descriptor: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the kernel has just opened it for the caller, who got it from the crate, which
    // keeps no copy.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// A program that refuses all but these devices.
fn code(rules: &[DeviceRule]) -> Result<Program, String> {
    let rules: Vec<LinuxDeviceCgroup> = rules
        .iter()
        .map(allowing)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    Program::from_rules(&rules, false).map_err(|error| error.to_string())
}

fn allowing(rule: &DeviceRule) -> Result<LinuxDeviceCgroup, oci_spec::OciSpecError> {
    let kind = match rule.kind {
        DeviceKind::Character => LinuxDeviceType::C,
        DeviceKind::Block => LinuxDeviceType::B,
    };
    let builder = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(kind)
        .major(i64::from(rule.major))
        .access("rwm");
    match rule.minor {
        Some(minor) => builder.minor(i64::from(minor)).build(),
        None => builder.build(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> impl Strategy<Value = DeviceRule> {
        // Few numbers, so that devices and rules meet.
        let kind = prop_oneof![Just(DeviceKind::Character), Just(DeviceKind::Block)];
        let minor = proptest::option::of(0_u32..3);
        (kind, 0_u32..3, minor).prop_map(|(kind, major, minor)| DeviceRule { kind, major, minor })
    }

    fn allows(rules: &[DeviceRule], kind: DeviceKind, major: u32, minor: u32) -> bool {
        rules.iter().any(|rule| {
            (rule.kind, rule.major) == (kind, major) && rule.minor.is_none_or(|m| m == minor)
        })
    }

    proptest! {
        /// In an interpreter: what the kernel does with it is tested with real cgroups.
        #[test]
        fn the_program_lets_through_what_the_rules_name(rules in proptest::collection::vec(rule(), 0..6)) {
            let program = code(&rules).unwrap();
            for (kind, typ) in [
                (DeviceKind::Character, LinuxDeviceType::C),
                (DeviceKind::Block, LinuxDeviceType::B),
            ] {
                for (major, minor) in (0..4).flat_map(|major| (0..4).map(move |minor| (major, minor))) {
                    for access in ["r", "w", "m", "rw", "rwm"] {
                        let answer = program.execute(typ, major, minor, access.to_owned()).unwrap();
                        prop_assert_eq!(answer == 1, allows(&rules, kind, major, minor));
                    }
                }
            }
        }
    }
}
