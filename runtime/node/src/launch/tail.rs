//! The end of a file, for error messages.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::isolation::{FsIdentity, Identity};

/// The last lines of a file that fit into `bytes_max`, opened with the rights of
/// `identity`. Bytes that are not UTF-8 are replaced. A line that is longer than
/// all the room is cut at its start.
///
/// Blocks: call it where that is allowed.
///
/// # Errors
///
/// What opening and reading give; `InvalidInput` if it is not a regular file (a
/// pipe of the job's would block for ever).
pub fn tail(path: &Path, bytes_max: u64, identity: Option<Identity>) -> io::Result<String> {
    let _rights = FsIdentity::assume_if(identity)?;
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let start = metadata.len().saturating_sub(bytes_max);
    // One byte more, to see whether the cut is between two lines.
    file.seek(SeekFrom::Start(start.saturating_sub(1)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(whole_lines(&bytes, start > 0)).into_owned())
}

/// Leaves out the line that the cut went through, if any other line remains.
fn whole_lines(bytes: &[u8], cut: bool) -> &[u8] {
    if !cut {
        return bytes;
    }
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) if end + 1 < bytes.len() => &bytes[end + 1..],
        _ => bytes.get(1..).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(text: &str, bytes_max: u64) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, text).unwrap();
        tail(&path, bytes_max, None).unwrap()
    }

    #[test]
    fn gives_whole_lines_that_fit() {
        assert_eq!(tail_of("one\ntwo\nthree\n", 100), "one\ntwo\nthree\n");
        assert_eq!(tail_of("one\ntwo\nthree\n", 10), "two\nthree\n");
        assert_eq!(tail_of("one\ntwo\nthree\n", 9), "three\n");
    }

    #[test]
    fn cuts_a_line_that_is_too_long() {
        assert_eq!(tail_of("abcdefgh", 3), "fgh");
        assert_eq!(tail_of("x\nabcdefgh\n", 3), "gh\n");
    }

    #[test]
    fn refuses_what_is_not_a_file() {
        let directory = tempfile::tempdir().unwrap();
        assert!(tail(directory.path(), 10, None).is_err());
    }
}
