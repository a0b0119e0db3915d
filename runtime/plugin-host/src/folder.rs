//! The folder of an operator's plugins, as files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::allow::AllowList;
use crate::error::{Identity, PluginError, Problem};
use crate::host::{MAX_COMPONENT_BYTES, digest};

/// What can be seen of a folder and a list without reading them. Two that are equal are of
/// the same files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look(Vec<(PathBuf, Option<Seen>)>);

/// Inode, size, and when it was written, in seconds and nanoseconds.
type Seen = (u64, u64, i64, i64);

/// Looks at the components of a folder, and at the list.
pub(crate) fn look(folder: Option<&Path>, list: Option<&Path>) -> Look {
    let files = components(folder)
        .into_iter()
        .chain(list.map(Path::to_owned));
    let seen = |path: PathBuf| {
        let found = fs::metadata(&path).ok();
        let seen = found.map(|it| (it.ino(), it.size(), it.mtime(), it.mtime_nsec()));
        (path, seen)
    };
    Look(files.map(seen).collect())
}

/// In the order of their names, so that two daemons with the same files agree.
pub(crate) fn components(folder: Option<&Path>) -> Vec<PathBuf> {
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    files.sort();
    files
}

/// Reads a component, but not one that is too large anyway. Nothing is done with one that is
/// not on the list, if there is a list.
pub(crate) fn read(path: &Path, allowed: Option<&AllowList>) -> Result<Vec<u8>, PluginError> {
    let bytes = read_file(path)?;
    let Some(list) = allowed else {
        return Ok(bytes);
    };
    let digest = digest(&bytes);
    if list.has(&digest) {
        return Ok(bytes);
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let problem = Problem::NotAllowed {
        list: list.path().to_owned(),
        digest: digest.clone(),
        file: file.into_owned(),
    };
    Err(PluginError::new(unknown(path, digest), problem))
}

fn unknown(path: &Path, digest: String) -> Identity {
    Identity {
        name: path.display().to_string(),
        version: String::new(),
        digest,
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, PluginError> {
    let problem = match fs::metadata(path).map(|found| usize::try_from(found.len())) {
        Ok(Ok(bytes)) if bytes <= MAX_COMPONENT_BYTES => match fs::read(path) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => Problem::Unreadable {
                reason: error.to_string(),
            },
        },
        Ok(bytes) => Problem::TooLarge {
            bytes: bytes.unwrap_or(usize::MAX),
            max: MAX_COMPONENT_BYTES,
        },
        Err(error) => Problem::Unreadable {
            reason: error.to_string(),
        },
    };
    Err(PluginError::new(unknown(path, String::new()), problem))
}
