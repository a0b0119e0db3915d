//! What is mounted below a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mount points below a folder, the innermost last.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("a table of mounts");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut found: Vec<PathBuf> = points
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(folder))
        .collect();
    found.sort();
    found
}

/// Unmounts all of it, also what does not answer any more.
pub fn remove_below(folder: &Path) {
    for point in below(folder).iter().rev() {
        Command::new("umount").arg("-l").arg(point).status().ok();
    }
}
