//! The file that jobs are archived in.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lote_model::id::NodeName;

/// One file a month and node, so that daemons that share a directory never write to the same.
pub(super) fn path(directory: &Path, node: &NodeName, now: Timestamp) -> PathBuf {
    directory.join(format!("jobs-{}-{node}.jsonl", now.strftime("%Y-%m")))
}

/// Appends whole lines, durably. What a crash left of a line is ended first.
pub(super) fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    let length = file.metadata()?.len();
    let written = end_line(&mut file, length).and_then(|()| file.write_all(lines));
    if let Err(error) = written {
        // A full disk took a part; the next try writes all of it again.
        file.set_len(length)?;
        return Err(error);
    }
    file.sync_all()?;
    File::open(directory)?.sync_all()
}

fn end_line(file: &mut File, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        Ok(())
    } else {
        file.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn lines_are_added_and_nobody_else_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let now = "2026-11-27T01:00:00Z".parse().unwrap();
        let path = path(&folder.path().join("archive"), &NodeName::new("n1"), now);
        assert!(path.ends_with("archive/jobs-2026-11-n1.jsonl"), "{path:?}");
        append(&path, b"1\n2\n").unwrap();
        append(&path, b"3\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n2\n3\n");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn half_a_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.jsonl");
        std::fs::write(&path, "1\n{\"hal").unwrap();
        append(&path, b"2\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n{\"hal\n2\n");
    }

    #[test]
    fn a_disk_that_takes_nothing_is_an_error() {
        assert!(append(Path::new("/dev/full"), b"1\n").is_err());
    }
}
