//! What is done with the disks of an export; decided from what was found on them.

use std::path::{Path, PathBuf};

use super::ledger::DiskEntry;
use super::tool::Tool;

/// What `blkid` found on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing that it knows.
    Nothing,
    /// A file system, a member of an array, a table of partitions.
    Something {
        /// What, in its words.
        kind: String,
        /// The file system's UUID, if it has one.
        uuid: Option<String>,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Mount what is there.
    Mount,
    /// Make a file system, after whatever is there was wiped.
    Format {
        /// Whether there is something to wipe.
        wipe: bool,
    },
}

/// The disk must stay as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has this, and nobody said that it may be erased.
    InUse(String),
    /// The export's file system was on it, and something else is now.
    Replaced(String),
    /// The export's file system was on it, and nothing is now.
    Lost,
}

/// Decides about the device that holds the file system: a disk, or the array of several.
pub(super) fn decide(
    remembered: &DiskEntry,
    found: &Contents,
    may_erase: bool,
) -> Result<Step, Refusal> {
    match found {
        Contents::Something {
            uuid: Some(uuid), ..
        } if *uuid == remembered.uuid => Ok(Step::Mount),
        Contents::Something { kind, .. } if remembered.is_formatted => {
            Err(Refusal::Replaced(kind.clone()))
        }
        Contents::Nothing if remembered.is_formatted => Err(Refusal::Lost),
        Contents::Nothing => Ok(Step::Format { wipe: false }),
        Contents::Something { .. } if may_erase => Ok(Step::Format { wipe: true }),
        Contents::Something { kind, .. } => Err(Refusal::InUse(kind.clone())),
    }
}

/// Reads what `blkid -p -o export` says. It ends with 2 where it finds nothing; anything else,
/// such as several file systems at once, is something.
pub(super) fn contents(exit_code: Option<i32>, text: &str) -> Contents {
    let member = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    if exit_code == Some(2) && member("TYPE").is_none() && member("PTTYPE").is_none() {
        return Contents::Nothing;
    }
    let table = member("PTTYPE").map(|kind| format!("a table of partitions ({kind})"));
    let kind = member("TYPE").map(|kind| format!("a file system or part of one ({kind})"));
    Contents::Something {
        kind: kind
            .or(table)
            .unwrap_or_else(|| "something that blkid cannot tell".to_owned()),
        uuid: member("UUID"),
    }
}

pub(super) const BLKID: Tool = Tool {
    program: "blkid",
    package: "util-linux",
};
pub(super) const WIPEFS: Tool = Tool {
    program: "wipefs",
    package: "util-linux",
};
pub(super) const MKFS: Tool = Tool {
    program: "mkfs.ext4",
    package: "e2fsprogs",
};
pub(super) const MDADM: Tool = Tool {
    program: "mdadm",
    package: "mdadm",
};

/// Arguments of `blkid`: from the disk itself, never from a cache.
pub(super) fn blkid(device: &Path) -> Vec<String> {
    words(&["--probe", "--output", "export"], &[device])
}

/// Arguments of `wipefs` that remove every signature.
pub(super) fn wipefs(devices: &[PathBuf]) -> Vec<String> {
    words(&["--all", "--quiet"], devices)
}

/// Arguments of `mkfs.ext4`. The file system is as large as the export may be, which is what holds
/// it to that on every kernel; nothing of it is kept for root, who writes nothing there.
pub(super) fn mkfs(device: &Path, uuid: &str, size_bytes: u64) -> Vec<String> {
    let mut arguments = words(
        &["-q", "-F", "-m", "0", "-L", "lote-export", "-U", uuid],
        &[device],
    );
    arguments.push(format!("{}k", size_bytes / 1024));
    arguments
}

/// How large the file system is to be: the limit with what ext4 needs for itself, or the device.
pub(super) fn file_system_size(limit_bytes: u64, device_bytes: u64) -> u64 {
    // Tables of inodes and the journal take less than 1/50 of large file systems.
    let overhead = (limit_bytes / 50).saturating_add(64 << 20);
    let wanted = limit_bytes.saturating_add(overhead);
    // Whole blocks.
    wanted.min(device_bytes) / 4096 * 4096
}

/// Where the array of an export's disks is.
pub(super) fn array(number: u16) -> PathBuf {
    PathBuf::from(format!("/dev/md/lote-export-{number}"))
}

/// Arguments of `mdadm` that make a striped array of disks without any signature.
pub(super) fn create_array(array: &Path, disks: &[PathBuf]) -> Vec<String> {
    let count = format!("--raid-devices={}", disks.len());
    let mut arguments = words(&["--create"], &[array]);
    arguments.extend(words(
        &["--run", "--quiet", "--level=0", "--homehost=any", &count],
        disks,
    ));
    arguments
}

/// Arguments of `mdadm` that put an array together again.
pub(super) fn assemble_array(array: &Path, disks: &[PathBuf]) -> Vec<String> {
    let mut arguments = words(&["--assemble", "--quiet"], &[array]);
    arguments.extend(words(&[], disks));
    arguments
}

/// Arguments of `mdadm` that let go of an array.
pub(super) fn stop_array(array: &Path) -> Vec<String> {
    words(&["--stop", "--quiet"], &[array])
}

fn words<P: AsRef<Path>>(options: &[&str], paths: &[P]) -> Vec<String> {
    let options = options.iter().map(|&word| word.to_owned());
    let paths = paths.iter();
    let paths = paths.map(|path| path.as_ref().to_string_lossy().into_owned());
    options.chain(paths).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(is_formatted: bool) -> DiskEntry {
        DiskEntry {
            uuid: "our".into(),
            is_formatted,
        }
    }

    fn ext4(uuid: &str) -> Contents {
        let text = format!("DEVNAME=/dev/sdb\nUUID={uuid}\nBLOCK_SIZE=4096\nTYPE=ext4\n");
        contents(Some(0), &text)
    }

    #[test]
    fn a_free_disk_is_formatted_and_found_again() {
        let free = contents(Some(2), "");
        assert_eq!(free, Contents::Nothing);
        let made = decide(&remembered(false), &free, false);
        assert_eq!(made, Ok(Step::Format { wipe: false }));
        for is_formatted in [false, true] {
            let found = decide(&remembered(is_formatted), &ext4("our"), false);
            assert_eq!(found, Ok(Step::Mount));
        }
    }

    #[test]
    fn what_is_on_a_disk_stays_unless_it_may_be_erased() {
        let table = contents(Some(0), "DEVNAME=/dev/sdb\nPTUUID=x\nPTTYPE=gpt\n");
        let several = contents(Some(8), "");
        for found in [ext4("another"), table, several] {
            let kept = decide(&remembered(false), &found, false);
            assert!(matches!(kept, Err(Refusal::InUse(_))), "{found:?}");
            let erased = decide(&remembered(false), &found, true);
            assert_eq!(erased, Ok(Step::Format { wipe: true }));
        }
    }

    #[test]
    fn what_was_made_once_is_never_made_again() {
        for may_erase in [false, true] {
            let lost = decide(&remembered(true), &Contents::Nothing, may_erase);
            assert_eq!(lost, Err(Refusal::Lost));
            let replaced = decide(&remembered(true), &ext4("another"), may_erase);
            assert!(matches!(replaced, Err(Refusal::Replaced(_))));
        }
    }

    #[test]
    fn a_file_system_is_as_large_as_the_export_may_be() {
        let gib = 1_u64 << 30;
        assert_eq!(file_system_size(10 * gib, 8 * gib), 8 * gib);
        let size = file_system_size(100 * gib, 1000 * gib);
        assert!(size > 102 * gib - 4096 && size < 103 * gib, "{size}");
        assert_eq!(size % 4096, 0);
        assert_eq!(file_system_size(u64::MAX, 8192), 8192);
    }

    #[test]
    fn commands_are_as_expected() {
        let disks: Vec<PathBuf> = vec!["/dev/sdb".into(), "/dev/sdc".into()];
        let array = array(7);
        let commands = [
            ("blkid", blkid(&disks[0])),
            ("wipefs", wipefs(&disks)),
            ("mkfs.ext4", mkfs(&array, "11111111-2222", 10 << 30)),
            ("mdadm", create_array(&array, &disks)),
            ("mdadm", assemble_array(&array, &disks)),
            ("mdadm", stop_array(&array)),
        ];
        let lines: Vec<String> = commands
            .iter()
            .map(|(program, arguments)| format!("{program} {}", arguments.join(" ")))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        blkid --probe --output export /dev/sdb
        wipefs --all --quiet /dev/sdb /dev/sdc
        mkfs.ext4 -q -F -m 0 -L lote-export -U 11111111-2222 /dev/md/lote-export-7 10485760k
        mdadm --create /dev/md/lote-export-7 --run --quiet --level=0 --homehost=any --raid-devices=2 /dev/sdb /dev/sdc
        mdadm --assemble --quiet /dev/md/lote-export-7 /dev/sdb /dev/sdc
        mdadm --stop --quiet /dev/md/lote-export-7
        ");
    }
}
