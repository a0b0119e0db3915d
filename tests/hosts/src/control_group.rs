//! A control group per host: daemons that share a kernel must not share the groups of their jobs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lote_tests::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Long enough for the kernel to take away what was killed.
const REMOVAL: Duration = Duration::from_secs(20);

/// The controllers of cgroup v1 that the daemon uses. All of them: in a hierarchy without a group of
/// the host, the parts of a gang would share one, and the first to end could not remove it.
const CONTROLLERS: [&str; 8] = [
    "cpu", "cpuacct", "memory", "pids", "freezer", "cpuset", "blkio", "devices",
];

/// The same path in every hierarchy that the daemon uses.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    directories: Vec<PathBuf>,
}

impl ControlGroup {
    /// Makes `{label}` below the root of each hierarchy, and `{name}` below that.
    pub(crate) fn create(label: &str, name: &str) -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("the mounts are listed");
        let mut directories = Vec::new();
        for root in mountinfo.lines().filter_map(hierarchy) {
            let parent = root.join(label);
            let directory = parent.join(name);
            fs::create_dir_all(&directory).expect("a control group can be made");
            hand_down_cpuset(&root, &parent);
            hand_down_cpuset(&parent, &directory);
            // Only cgroup v2 has this file; what it has not, jobs do without.
            for ancestor in [&root, &parent] {
                for controller in ["+cpu", "+memory", "+pids", "+cpuset", "+io"] {
                    fs::write(ancestor.join("cgroup.subtree_control"), controller).ok();
                }
            }
            directories.push(directory);
        }
        Self { directories }
    }

    /// The files that a process writes its id into to enter.
    pub(crate) fn entrances(&self) -> Vec<PathBuf> {
        self.directories
            .iter()
            .map(|directory| directory.join("cgroup.procs"))
            .collect()
    }

    /// Every process in it and below.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for directory in &self.directories {
            collect(directory, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Ends everything in it at once, as a power cut does.
    pub(crate) fn kill(&self) {
        wait_for("the processes of a host to end", REMOVAL, || {
            let processes = self.processes();
            for pid in &processes {
                kill(Pid::from_raw(*pid), Signal::SIGKILL).ok();
            }
            processes.is_empty().then_some(())
        });
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        self.kill();
        for directory in &self.directories {
            remove(directory);
            // The last host takes the common parent along.
            if let Some(parent) = directory.parent() {
                fs::remove_dir(parent).ok();
            }
        }
    }
}

/// The mount point of a hierarchy that the daemon uses.
fn hierarchy(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let point = PathBuf::from(mount.split(' ').nth(4)?);
    let mut fields = filesystem.split(' ');
    match fields.next()? {
        "cgroup2" => Some(point),
        "cgroup" => {
            let options = fields.nth(1)?;
            let is_used = options.split(',').any(|it| CONTROLLERS.contains(&it));
            is_used.then_some(point)
        }
        _ => None,
    }
}

/// A new group of cgroup v1 has no processors and no memory, and no process may enter it then.
fn hand_down_cpuset(from: &Path, to: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let has_none = fs::read_to_string(to.join(file)).is_ok_and(|it| it.trim().is_empty());
        if let (true, Ok(whole)) = (has_none, fs::read_to_string(from.join(file))) {
            fs::write(to.join(file), whole.trim()).ok();
        }
    }
}

fn collect(directory: &Path, found: &mut Vec<i32>) {
    let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    found.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
    for child in children(directory) {
        collect(&child, found);
    }
}

fn remove(directory: &Path) {
    for child in children(directory) {
        remove(&child);
    }
    fs::remove_dir(directory).ok();
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let entries = entries.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_in_mounts_of_both_versions() {
        let v1 = "34 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        assert_eq!(hierarchy(v1), Some("/sys/fs/cgroup/memory".into()));
        let v2 = "35 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(hierarchy(v2), Some("/sys/fs/cgroup/unified".into()));
        let unused = "34 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd";
        assert_eq!(hierarchy(unused), None);
        assert_eq!(hierarchy("22 1 0:21 / /proc rw - proc proc rw"), None);
    }
}
