//! Small files of the cgroup file system, with errors that name them.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use super::CgroupError;

/// Writes a value to an existing file.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let written = OpenOptions::new().write(true).open(path);
    let written = written.and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|source| error(&format!("write {value:?} to"), path, source))
}

/// Reads a file; `None` if this kernel does not have it.
pub(super) fn read(path: &Path) -> Result<Option<String>, CgroupError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(error("read", path, source)),
    }
}

/// Creates a directory; one that exists is no error.
pub(super) fn create_directory(path: &Path) -> Result<(), CgroupError> {
    match std::fs::create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(error("create the cgroup", path, source))
        }
        _ => Ok(()),
    }
}

/// A whole file that is one number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number behind `key` in a file of `key number` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| number(line.strip_prefix(key)?.strip_prefix(' ')?))
}

pub(super) fn error(action: &str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io {
        action: action.into(),
        path: path.into(),
        source,
    }
}
