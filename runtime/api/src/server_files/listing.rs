//! One page of a directory, sorted by name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::dir::Dir;
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use super::INCOMPLETE;
use super::entry::{Entry, described_root, look_at};
use super::target::enter;
use crate::files::Directory;
use crate::files::beneath::open_directory;
use crate::files::relative::RelativePath;
use crate::page::PageRequest;

/// A page, and whether names follow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    /// What was found.
    pub(super) value: Vec<Entry>,
    /// The name to continue after.
    #[serde(default)]
    pub(super) last: Option<String>,
}

/// Lists one level. Blocks.
pub(super) fn list(
    directory: &Directory,
    path: &RelativePath,
    page: &PageRequest,
) -> io::Result<Listed> {
    let export = enter(directory)?;
    let opened = open_directory(&export.root, path)?;
    let (names, more) = first_names(names(opened.try_clone()?)?, page);
    let last = names.last_key_value().filter(|_| more);
    let last = last.map(|(shown, _)| shown.clone());
    // What has gone since its name was read is not there.
    let value = names
        .values()
        .filter_map(|name| look_at(&opened, name).ok())
        .collect();
    Ok(Listed { value, last })
}

/// Tells what one thing is. Blocks.
pub(super) fn itself(directory: &Directory, path: &RelativePath) -> io::Result<Listed> {
    let export = enter(directory)?;
    let entry = if path.is_root() {
        described_root(&fstat(&export.root)?)
    } else {
        let parent = open_directory(&export.root, &path.parent())?;
        look_at(&parent, OsStr::new(path.file_name()))?
    };
    Ok(Listed {
        value: vec![entry],
        last: None,
    })
}

fn names(directory: OwnedFd) -> io::Result<impl Iterator<Item = OsString>> {
    let entries = Dir::from_fd(directory)?.into_iter();
    let names = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        Some(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
    });
    Ok(names.filter(|name| name != "." && name != ".." && !is_incomplete(name)))
}

fn is_incomplete(name: &OsStr) -> bool {
    name.as_bytes().starts_with(INCOMPLETE.as_bytes())
}

/// The first names after the last page, by how they are shown, and whether there
/// are more. Never holds more than a page, however large the directory is.
fn first_names(
    names: impl Iterator<Item = OsString>,
    page: &PageRequest,
) -> (BTreeMap<String, OsString>, bool) {
    let mut kept = BTreeMap::new();
    let mut more = false;
    for name in names {
        let shown = name.to_string_lossy().into_owned();
        if page.after.as_ref().is_some_and(|after| shown <= *after) {
            continue;
        }
        kept.insert(shown, name);
        if kept.len() > page.limit {
            kept.pop_last();
            more = true;
        }
    }
    (kept, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_leave_out_what_is_incomplete() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["c", "a", ".lote-upload-x", "d", "b"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::fs::write(folder.path().join(OsStr::from_bytes(b"e\xff")), "").unwrap();
        let directory = Directory {
            path: folder.path().to_owned(),
            within: None,
            owner: None,
        };
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = PageRequest { limit: 2, after };
            let listed = list(&directory, &RelativePath::parse(".").unwrap(), &page).unwrap();
            seen.extend(listed.value);
            after = listed.last;
            if after.is_none() {
                break;
            }
        }
        let names: Vec<&str> = seen.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e\u{fffd}"]);
        assert!(seen[4].name_is_not_utf8 && !seen[0].name_is_not_utf8);
        assert_eq!(seen[0].size, Some(1));
    }
}
