//! One page of a directory, sorted by name.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use nix::dir::Dir;
use serde::{Deserialize, Serialize};

use super::Directory;
use super::beneath::{open_directory, open_to_ask};
use super::identity::FsIdentity;
use super::relative::RelativePath;

/// One thing in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Its name.
    pub(crate) name: String,
    /// None for a directory.
    pub(crate) file: Option<FileFacts>,
}

/// What is told about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileFacts {
    /// Its length in bytes.
    pub(crate) length: u64,
    /// When it was last written.
    pub(crate) modified: Timestamp,
}

/// A page, and whether names follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Found>,
    /// The name to continue after.
    pub(crate) last: Option<String>,
}

impl Directory {
    /// Lists one level: the `limit` names after `after`. What is neither a file
    /// nor a directory, and links that lead out, are left out. Blocks.
    pub(crate) fn list(
        &self,
        path: &RelativePath,
        after: Option<&str>,
        limit: usize,
    ) -> io::Result<Page> {
        let _identity = FsIdentity::assume(self.owner)?;
        let root = self.open()?;
        let (names, more) = first_names(names(open_directory(&root, path)?)?, after, limit);
        let last = names.last().filter(|_| more).cloned();
        let entries = names
            .into_iter()
            .filter_map(|name| found(&root, path, name))
            .collect();
        Ok(Page { entries, last })
    }
}

/// The names in a directory. Names that are not UTF-8 cannot stand in JSON and
/// are left out.
fn names(directory: OwnedFd) -> io::Result<impl Iterator<Item = String>> {
    let entries = Dir::from_fd(directory)?.into_iter();
    let names =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned));
    Ok(names.filter(|name| name != "." && name != ".."))
}

/// The first `limit` names after `after`, and whether there are more. Never
/// holds more than that, however large the directory is.
fn first_names(
    names: impl Iterator<Item = String>,
    after: Option<&str>,
    limit: usize,
) -> (Vec<String>, bool) {
    let mut kept = BTreeSet::new();
    let mut more = false;
    for name in names.filter(|name| after.is_none_or(|after| name.as_str() > after)) {
        kept.insert(name);
        if kept.len() > limit {
            kept.pop_last();
            more = true;
        }
    }
    (kept.into_iter().collect(), more)
}

fn found(root: &OwnedFd, directory: &RelativePath, name: String) -> Option<Found> {
    let opened = open_to_ask(root, &directory.join(&name).ok()?).ok()?;
    let metadata = File::from(opened).metadata().ok()?;
    let file = metadata.is_file().then(|| facts(&metadata));
    (metadata.is_dir() || file.is_some()).then_some(Found { name, file })
}

fn facts(metadata: &Metadata) -> FileFacts {
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| Timestamp::try_from(time).ok());
    FileFacts {
        length: metadata.len(),
        modified: modified.unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        first_names(
            ["c", "a", "d", "b"].map(str::to_owned).into_iter(),
            after,
            limit,
        )
    }

    #[test]
    fn pages_follow_each_other() {
        assert_eq!(page(None, 2), (vec!["a".into(), "b".into()], true));
        assert_eq!(page(Some("b"), 2), (vec!["c".into(), "d".into()], false));
        assert_eq!(page(Some("d"), 2), (vec![], false));
        assert!(!page(None, 4).1);
    }
}
