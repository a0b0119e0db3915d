//! What a shim does to all members of its process's cgroup, without the daemon.

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends SIGKILL to every process in the cgroup with these `cgroup.procs` files, of which the
/// first is that of version 2, where there is one, or of the freezer. `false` once there is
/// none; on version 1 a process counts until it is reaped.
pub(super) fn kill_all(cgroup_procs: &[PathBuf]) -> bool {
    let Some(directory) = cgroup_procs.first().and_then(|procs| procs.parent()) else {
        return false;
    };
    if members(directory).is_empty() {
        return false;
    }
    let all_at_once = directory.join("cgroup.kill");
    if !(all_at_once.exists() && std::fs::write(all_at_once, "1").is_ok()) {
        kill_frozen(directory);
    }
    true
}

/// Stops all first, so that none forks away before it is looked for.
fn kill_frozen(directory: &Path) {
    let freezers = [
        ("cgroup.freeze", "1", "0"),
        ("freezer.state", "FROZEN", "THAWED"),
    ];
    let write = |file: &str, value: &str| {
        let path = directory.join(file);
        if path.exists() {
            std::fs::write(path, value).ok();
        }
    };
    freezers
        .iter()
        .for_each(|(file, stop, _)| write(file, stop));
    for member in members(directory) {
        kill(member, Signal::SIGKILL).ok();
    }
    freezers.iter().for_each(|(file, _, go)| write(file, go));
}

fn members(directory: &Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let pids = text.lines().filter_map(|line| line.parse().ok());
    pids.map(Pid::from_raw).collect()
}
