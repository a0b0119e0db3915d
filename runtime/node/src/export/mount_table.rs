//! What is mounted where, as the kernel says it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub(super) target: PathBuf,
    /// `major:minor` of its device.
    pub(super) device: String,
    /// Whether mounts below it are seen in other name spaces.
    pub(super) is_shared: bool,
    /// Whether its file system enforces quotas by project.
    pub(super) has_project_quota: bool,
}

/// The mounts that this process sees.
pub(super) fn read() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Whether something is mounted exactly there.
pub(super) fn find<'a>(mounts: &'a [Mount], target: &Path) -> Option<&'a Mount> {
    // The last one covers those before it.
    mounts.iter().rev().find(|mount| mount.target == target)
}

/// The first thing that is mounted below a directory, but not on it.
pub(super) fn below<'a>(mounts: &'a [Mount], directory: &Path) -> Option<&'a Path> {
    let mut targets = mounts.iter().map(|mount| mount.target.as_path());
    targets.find(|target| target.starts_with(directory) && *target != directory)
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n')
        .filter_map(mount)
        .collect()
}

/// `36 35 98:0 /root /target options shared:1 - type source options`
fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let device = String::from_utf8(words.nth(2)?.to_vec()).ok()?;
    let target = unescape(words.nth(1)?);
    let mut words = words.skip(1);
    let mut is_shared = false;
    for word in words.by_ref().take_while(|word| *word != b"-") {
        is_shared |= word.starts_with(b"shared:");
    }
    let mut options = words.nth(2)?.split(|byte| *byte == b',');
    Some(Mount {
        target: target.into(),
        device,
        is_shared,
        has_project_quota: options.any(|option| option == b"prjquota"),
    })
}

/// Spaces and the like are written as `\040`.
fn unescape(text: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits
            .and_then(|digits| OsStr::from_bytes(digits).to_str())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = code {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"25 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 25 0:26 / /srv/my\\040files rw,nosuid shared:7 master:2 - tmpfs tmpfs rw\n\
        31 30 7:0 / /srv/my\\040files/a rw - ext4 /dev/loop0 rw,prjquota\n";

    #[test]
    fn mounts_are_read_with_strange_names() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 3);
        let files = find(&mounts, Path::new("/srv/my files")).unwrap();
        assert_eq!((files.device.as_str(), files.is_shared), ("0:26", true));
        assert!(!find(&mounts, Path::new("/")).unwrap().is_shared);
        assert_eq!(find(&mounts, Path::new("/srv")), None);
    }

    #[test]
    fn what_is_mounted_below_is_found() {
        let mounts = parse(TEXT);
        let found = below(&mounts, Path::new("/srv/my files"));
        assert_eq!(found, Some(Path::new("/srv/my files/a")));
        assert_eq!(below(&mounts, Path::new("/srv/my files/a")), None);
        let quotas: Vec<bool> = mounts.iter().map(|mount| mount.has_project_quota).collect();
        assert_eq!(quotas, [false, false, true]);
    }

    #[test]
    fn this_machine_has_a_root() {
        let mounts = read().unwrap();
        assert!(find(&mounts, Path::new("/")).is_some());
    }
}
