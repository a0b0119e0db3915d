//! Who has the GPUs' device files open, as the kernel tells in `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Processes by the device file that they have open.
#[derive(Debug, Default)]
pub(crate) struct Holders(BTreeMap<PathBuf, Vec<u32>>);

impl Holders {
    /// Looks at every process but this one, which is the daemon: the real library opens device
    /// files in it too, and does not tell of itself.
    pub(crate) fn find<'a>(devices: impl Iterator<Item = &'a Path>) -> Self {
        let by_number: BTreeMap<u64, PathBuf> = devices
            .filter_map(|path| Some((device_number(path)?, path.to_owned())))
            .collect();
        let mut found = Self::default();
        if by_number.is_empty() {
            return found;
        }
        let own = std::process::id();
        for pid in all().filter(|pid| *pid != own) {
            for number in open_devices(pid) {
                if let Some(path) = by_number.get(&number) {
                    let pids = found.0.entry(path.clone()).or_default();
                    if !pids.contains(&pid) {
                        pids.push(pid);
                    }
                }
            }
        }
        found
    }

    /// The processes that have a device file open, by ascending number.
    pub(crate) fn of(&self, device: &Path) -> &[u32] {
        self.0.get(device).map_or(&[], Vec::as_slice)
    }
}

/// The major and minor number of a character device.
fn device_number(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    metadata
        .file_type()
        .is_char_device()
        .then(|| metadata.rdev())
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.into_iter()
}

/// The numbers of the character devices that a process has open. Empty for one that has ended.
fn open_devices(pid: u32) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    entries.filter_map(|entry| device_number(&entry.path()))
}

/// The name that a process gives itself, as the driver tells it.
pub(crate) fn name(pid: u32) -> Option<String> {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let program = arguments.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(program).into_owned())
}

/// Whether a process is there.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn who_has_a_device_open_is_found_and_forgotten() {
        let device = Path::new("/dev/zero");
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(fs::File::open(device).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let found = Holders::find([device, Path::new("/dev/full")].into_iter());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.of(device).contains(&child.id()));
        assert!(!found.of(Path::new("/dev/full")).contains(&child.id()));
        let found = Holders::find(std::iter::once(device));
        assert!(!found.of(device).contains(&child.id()));
    }

    #[test]
    fn this_process_does_not_tell_of_itself() {
        let device = Path::new("/dev/zero");
        let _open = fs::File::open(device).unwrap();
        let found = Holders::find(std::iter::once(device));
        assert!(!found.of(device).contains(&std::process::id()));
    }

    #[test]
    fn a_file_that_is_no_device_has_no_holders() {
        let found = Holders::find(["/proc/version", "/nowhere"].map(Path::new).into_iter());
        assert!(found.of(Path::new("/proc/version")).is_empty());
    }
}
