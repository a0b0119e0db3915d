//! Keys as etcd has them and as the store's users know them.

use bytes::Bytes;
use etcd_client::KeyValue;

use crate::api::{Revision, Versioned};

/// The prefix of all keys of this store.
#[derive(Clone, Debug)]
pub(super) struct KeySpace {
    prefix: String,
}

/// A range of etcd's keys, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) start: Vec<u8>,
    pub(super) end: Vec<u8>,
}

impl KeySpace {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// The key as etcd has it.
    pub(super) fn outside(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    /// The key as users know it. What another program put under the prefix is shown as it is.
    pub(super) fn inside(&self, key: &[u8]) -> String {
        let key = key.strip_prefix(self.prefix.as_bytes()).unwrap_or(key);
        String::from_utf8_lossy(key).into_owned()
    }

    /// All keys that start with `prefix`.
    pub(super) fn under(&self, prefix: &str) -> KeyRange {
        let start = self.outside(prefix);
        let mut end = start.clone();
        // UTF-8 has no byte of the largest value, so that the last byte can always be raised.
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1);
        }
        KeyRange { start, end }
    }

    pub(super) fn versioned(&self, entry: KeyValue) -> Versioned {
        let (create_revision, mod_revision, version) = (
            revision(entry.create_revision()),
            revision(entry.mod_revision()),
            revision(entry.version()),
        );
        let (key, value) = entry.into_key_value();
        Versioned {
            key: self.inside(&key),
            value: Bytes::from(value),
            create_revision,
            mod_revision,
            version,
        }
    }
}

/// The first key after this one.
pub(super) fn following(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// Etcd counts with a sign but never below zero.
pub(super) fn revision(number: i64) -> Revision {
    Revision::try_from(number).unwrap_or(0)
}

/// The other way round; what is too large for etcd lies in a future that never comes.
pub(super) fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_move_in_and_out_of_the_prefix() {
        let space = KeySpace::new("/lote/".to_owned());
        assert_eq!(space.outside("jobs/a"), b"/lote/jobs/a");
        assert_eq!(space.inside(b"/lote/jobs/a"), "jobs/a");
        assert_eq!(
            space.under(""),
            KeyRange {
                start: b"/lote/".to_vec(),
                end: b"/lote0".to_vec()
            }
        );
        let range = space.under("a/\u{10FFFF}");
        assert!(range.start < range.end);
        let beyond = space.outside("a/\u{10FFFF}x");
        assert!(range.start < beyond && beyond < range.end);
    }
}
