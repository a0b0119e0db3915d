//! What a job's control group uses at the moment.

use std::path::{Path, PathBuf};

/// Processor time in seconds and memory in bytes, as far as the kernel counts them there. A group
/// has one directory per hierarchy.
pub(super) fn usage(directories: &[PathBuf]) -> (Option<f64>, Option<u64>) {
    let first = |read: fn(&Path) -> Option<f64>| directories.iter().find_map(|path| read(path));
    let memory = |path: &PathBuf| {
        let names = ["memory.current", "memory.usage_in_bytes"];
        names.iter().find_map(|name| number(&path.join(name)))
    };
    (first(cpu_seconds), directories.iter().find_map(memory))
}

fn cpu_seconds(directory: &Path) -> Option<f64> {
    if let Some(nanoseconds) = number(&directory.join("cpuacct.usage")) {
        return Some(as_float(nanoseconds) / 1e9);
    }
    let text = std::fs::read_to_string(directory.join("cpu.stat")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    Some(as_float(line?.trim().parse().ok()?) / 1e6)
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 104 days of nanoseconds"
)]
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchies_are_read() {
        let root = tempfile::tempdir().unwrap();
        let group = |name: &str, files: &[(&str, &str)]| {
            let directory = root.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            for (file, text) in files {
                std::fs::write(directory.join(file), text).unwrap();
            }
            directory
        };
        let unified = group(
            "unified",
            &[
                ("cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
                ("memory.current", "4096\n"),
            ],
        );
        let cpu = group(
            "cpu",
            &[
                ("cpuacct.usage", "1500000000\n"),
                ("cpu.stat", "nr_periods 0\n"),
            ],
        );
        let memory = group("memory", &[("memory.usage_in_bytes", "8192\n")]);
        assert_eq!(usage(&[unified]), (Some(2.5), Some(4096)));
        assert_eq!(usage(&[memory, cpu]), (Some(1.5), Some(8192)));
        assert_eq!(usage(&[]), (None, None));
    }
}
