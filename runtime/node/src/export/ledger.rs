//! What of the exports must not change while they exist: numbers, places, file systems.
//!
//! The number of an export is part of every file handle that clients hold, so it is given once,
//! written down before it is used, and given to nobody else for as long as there are others.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use lote_model::id::FileServerUid;
use serde::{Deserialize, Serialize};

use crate::directories::{PathError, cannot};

/// Its file, in the server's directory.
pub(super) const FILE: &str = "exports.json";

/// All exports of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ledger {
    /// The number that was given last.
    #[serde(default)]
    last_number: u16,
    #[serde(default)]
    exports: BTreeMap<FileServerUid, Entry>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// Its number: part of its file handles, and of its project quota.
    pub(super) number: u16,
    /// The directory that is exported, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<PathBuf>,
    /// Its file system, if it has disks of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disk: Option<DiskEntry>,
}

/// A file system that was made for an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiskEntry {
    /// Its UUID, chosen before it is made.
    pub(super) uuid: String,
    /// Whether it was made: from then on no disk is formatted for this export any more.
    pub(super) is_formatted: bool,
}

impl Ledger {
    /// Reads the file; none is an empty ledger.
    pub(super) fn load(path: &Path) -> Result<Self, PathError> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(cannot("read", path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(cannot("read", path)(error)),
        }
    }

    /// Writes the file, durably.
    pub(super) fn save(&self, path: &Path) -> Result<(), PathError> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from);
        let written = text.and_then(|text| lote_vault::file::replace(path, &text, 0o600));
        written.map_err(cannot("write", path))
    }

    /// The entry of an export.
    pub(super) fn get(&self, uid: &FileServerUid) -> Option<&Entry> {
        self.exports.get(uid)
    }

    /// Which exports it has.
    pub(super) fn uids(&self) -> Vec<FileServerUid> {
        self.exports.keys().cloned().collect()
    }

    /// The entry of an export, with a number of its own if it is new. `None` when all 65,535
    /// numbers are taken.
    pub(super) fn enter(&mut self, uid: &FileServerUid) -> Option<&mut Entry> {
        if !self.exports.contains_key(uid) {
            let number = self.next_number()?;
            self.last_number = number;
            let entry = Entry {
                number,
                ..Entry::default()
            };
            self.exports.insert(uid.clone(), entry);
        }
        self.exports.get_mut(uid)
    }

    /// Round and round, so that a number comes back as late as can be: old handles have it.
    fn next_number(&self) -> Option<u16> {
        let taken: HashSet<u16> = self.exports.values().map(|known| known.number).collect();
        let after = (self.last_number..=u16::MAX).skip(1);
        let mut candidates = after.chain(1..=self.last_number);
        candidates.find(|number| !taken.contains(number))
    }

    /// Removes an export.
    pub(super) fn forget(&mut self, uid: &FileServerUid) -> bool {
        self.exports.remove(uid).is_some()
    }

    /// Another export, of those that count, whose directory is this one, above it or below it.
    pub(super) fn overlapping(
        &self,
        uid: &FileServerUid,
        path: &Path,
        counts: impl Fn(&FileServerUid) -> bool,
    ) -> Option<&FileServerUid> {
        let overlaps = |other: &Path| other.starts_with(path) || path.starts_with(other);
        let exports = self.exports.iter();
        let mut others = exports.filter(|(known, _)| *known != uid && counts(known));
        let found = others.find(|(_, entry)| entry.path.as_deref().is_some_and(overlaps));
        found.map(|(uid, _)| uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> FileServerUid {
        FileServerUid::new(text)
    }

    fn number(ledger: &mut Ledger, text: &str) -> u16 {
        ledger.enter(&uid(text)).unwrap().number
    }

    #[test]
    fn a_number_stays_and_is_not_given_again_soon() {
        let mut ledger = Ledger::default();
        assert_eq!(number(&mut ledger, "a"), 1);
        assert_eq!(number(&mut ledger, "b"), 2);
        assert_eq!(number(&mut ledger, "a"), 1);
        assert!(ledger.forget(&uid("a")));
        assert_eq!(number(&mut ledger, "c"), 3);
        ledger.last_number = u16::MAX;
        assert_eq!(number(&mut ledger, "d"), 1);
        assert_eq!(number(&mut ledger, "e"), 4);
        assert_eq!(ledger.last_number, 4);
    }

    #[test]
    fn there_are_no_more_numbers_than_that() {
        let mut ledger = Ledger {
            last_number: 0,
            exports: (1..=u16::MAX)
                .map(|number| {
                    let entry = Entry {
                        number,
                        ..Entry::default()
                    };
                    (uid(&number.to_string()), entry)
                })
                .collect(),
        };
        assert!(ledger.enter(&uid("new")).is_none());
        assert!(ledger.enter(&uid("7")).is_some());
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exports.json");
        let mut ledger = Ledger::load(&path).unwrap();
        assert_eq!(ledger, Ledger::default());
        let entry = ledger.enter(&uid("a")).unwrap();
        entry.path = Some("/srv/a".into());
        entry.disk = Some(DiskEntry {
            uuid: "u".into(),
            is_formatted: true,
        });
        ledger.save(&path).unwrap();
        assert_eq!(Ledger::load(&path).unwrap(), ledger);
        std::fs::write(&path, "{").unwrap();
        let error = Ledger::load(&path).unwrap_err();
        assert!(error.to_string().contains("exports.json"), "{error}");
    }

    #[test]
    fn directories_inside_each_other_overlap() {
        let mut ledger = Ledger::default();
        ledger.enter(&uid("a")).unwrap().path = Some("/srv/a".into());
        let other = |path: &str| ledger.overlapping(&uid("b"), Path::new(path), |_| true);
        for path in ["/srv", "/srv/a", "/srv/a/b"] {
            assert_eq!(other(path), Some(&uid("a")), "{path}");
        }
        assert_eq!(other("/srv/ab"), None);
        let srv = Path::new("/srv/a");
        assert_eq!(ledger.overlapping(&uid("a"), srv, |_| true), None);
        assert_eq!(ledger.overlapping(&uid("b"), srv, |_| false), None);
    }
}
