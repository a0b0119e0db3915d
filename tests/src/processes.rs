//! What the kernel says about processes and control groups.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Processes whose command line or environment contains `marker`, zombies
/// excluded, this one excluded.
pub fn mentioning(marker: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    all()
        .into_iter()
        .filter(|&pid| pid != own)
        .filter(|pid| {
            let contains = |file: &str| {
                let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes
                    .windows(marker.len())
                    .any(|window| window == marker.as_bytes())
            };
            contains("cmdline") || contains("environ")
        })
        .collect()
}

/// Every process, with the words of its command line.
pub fn command_lines() -> Vec<(i32, String)> {
    let words = |pid| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&words).replace('\0', " ")))
    };
    all().into_iter().filter_map(words).collect()
}

/// Ends every process that [`mentioning`] finds. Only for markers that no
/// process of anybody else can contain, such as the path of a test's own folder.
pub fn kill_all_mentioning(marker: &str) {
    for pid in mentioning(marker) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
}

/// Ends the process that wrote this file, if there is one and it is that program.
pub fn kill_of_pid_file(path: &Path, program: &str) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let Ok(pid) = text.trim().parse::<i32>() else {
        return;
    };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim_end() == program {
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
}

/// Sends a signal to a child that has not been waited for.
pub fn signal(child: &Child, signal: Signal) -> nix::Result<()> {
    let pid = i32::try_from(child.id()).expect("process ids are small");
    kill(Pid::from_raw(pid), signal)
}

/// Whether a child was started and has not ended.
pub fn is_running(child: Option<&mut Child>) -> bool {
    child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
}

/// The processor time of a process so far, in seconds.
pub fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    // utime and stime, counted from the state; in hundredths on every Linux.
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<u32>().ok())
        .map(f64::from)
        .sum::<f64>()
        / 100.0
}

/// The same of its threads that still run, as exactly as the scheduler knows: the clock of the
/// other misses what is short.
pub fn scheduled_seconds(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let line = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        line.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum()).as_secs_f64()
}

/// The resident memory of a process in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// How many files, sockets included, a process has open.
pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Control groups with `name` in their path, in every hierarchy.
pub fn cgroups_mentioning(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(Path::new("/sys/fs/cgroup"), name, 6, &mut found);
    found
}

fn collect(directory: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(entry.path());
        }
        if depth > 0 {
            collect(&entry.path(), name, depth - 1, found);
        }
    }
}

fn all() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
