//! What can be committed, and the limits that hold for every back end.
//!
//! The limits are etcd's defaults, so that a change that one back end takes is never refused by
//! another.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::api::{LeaseId, Revision};
use crate::error::StoreError;

/// The most compares, and the most writes, of one transaction (etcd's `--max-txn-ops`).
pub const MAX_OPERATIONS: usize = 128;

/// The largest transaction in bytes (etcd's `--max-request-bytes`).
pub const MAX_REQUEST_BYTES: usize = 1536 * 1024;

/// What one operation costs besides its key and value: more than etcd's framing and the prefix of
/// its keys there ever take, so that what passes here passes there.
const OPERATION_OVERHEAD_BYTES: usize = 80;

/// A condition of a transaction: the key was last written by this revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// The revision that must have written it last; 0 if the key must be absent.
    pub mod_revision: Revision,
}

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates or replaces a key.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// The lease that it vanishes with. A put without one takes the key off its lease.
        lease: Option<LeaseId>,
    },
    /// Deletes a key; no error if it is absent.
    Delete {
        /// The key.
        key: String,
    },
    /// Deletes all keys that start with a prefix. It counts as one operation.
    DeletePrefix {
        /// The prefix, not empty.
        prefix: String,
    },
}

impl Write {
    /// A [`Write::Put`] without a lease.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        }
    }

    /// A [`Write::Delete`].
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// A [`Write::DeletePrefix`].
    pub fn delete_prefix(prefix: impl Into<String>) -> Self {
        Self::DeletePrefix {
            prefix: prefix.into(),
        }
    }

    /// The same write, its key bound to a lease. Deletions have none and stay as they are.
    #[must_use]
    pub fn with_lease(mut self, id: LeaseId) -> Self {
        if let Self::Put { lease, .. } = &mut self {
            *lease = Some(id);
        }
        self
    }

    fn key_or_prefix(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
            Self::DeletePrefix { prefix } => prefix,
        }
    }

    fn size_bytes(&self) -> usize {
        let value_bytes = match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete { .. } => 0,
            // Etcd takes the end of the range as well, which is as long.
            Self::DeletePrefix { prefix } => OPERATION_OVERHEAD_BYTES + prefix.len(),
        };
        OPERATION_OVERHEAD_BYTES + self.key_or_prefix().len() + value_bytes
    }
}

/// Writes that happen together or not at all, and what must hold for them to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// What to change, in this order; no two may touch the same key.
    pub writes: Vec<Write>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// All compares held and all writes are durable.
    Applied {
        /// The revision it made, or the newest one if it changed nothing.
        revision: Revision,
    },
    /// A compare did not hold, so nothing was changed.
    Conflict {
        /// The revision at which it was compared.
        revision: Revision,
    },
}

impl Commit {
    /// Whether the writes are in force.
    pub fn is_applied(self) -> bool {
        matches!(self, Self::Applied { .. })
    }

    /// The revision that it made, or saw.
    pub fn revision(self) -> Revision {
        match self {
            Self::Applied { revision } | Self::Conflict { revision } => revision,
        }
    }
}

impl Transaction {
    /// One that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the condition that `key` does not exist.
    #[must_use]
    pub fn require_absent(self, key: impl Into<String>) -> Self {
        self.require_revision(key, 0)
    }

    /// Adds the condition that `key` was last written by `mod_revision`.
    #[must_use]
    pub fn require_revision(mut self, key: impl Into<String>, mod_revision: Revision) -> Self {
        self.compares.push(Compare {
            key: key.into(),
            mod_revision,
        });
        self
    }

    /// Adds a write.
    #[must_use]
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Adds a put without a lease.
    #[must_use]
    pub fn put(self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.write(Write::put(key, value))
    }

    /// Adds a deletion.
    #[must_use]
    pub fn delete(self, key: impl Into<String>) -> Self {
        self.write(Write::delete(key))
    }

    /// Adds the deletion of all keys that start with `prefix`.
    #[must_use]
    pub fn delete_prefix(self, prefix: impl Into<String>) -> Self {
        self.write(Write::delete_prefix(prefix))
    }

    /// Its size in bytes, as the limit counts it.
    pub fn size_bytes(&self) -> usize {
        let compares = self
            .compares
            .iter()
            .map(|compare| OPERATION_OVERHEAD_BYTES + compare.key.len());
        compares
            .chain(self.writes.iter().map(Write::size_bytes))
            .sum()
    }

    /// Checks everything that can be checked without the store: that no key is empty
    /// ([`StoreError::EmptyKey`]), that the limits hold ([`StoreError::TooManyOperations`],
    /// [`StoreError::RequestTooLarge`]) and that no two writes touch the same key
    /// ([`StoreError::DuplicateKey`]). Every back end does this first.
    pub fn validate(&self) -> Result<(), StoreError> {
        let count = self.compares.len().max(self.writes.len());
        if count > MAX_OPERATIONS {
            return Err(StoreError::TooManyOperations {
                count,
                limit: MAX_OPERATIONS,
            });
        }
        let bytes = self.size_bytes();
        if bytes > MAX_REQUEST_BYTES {
            return Err(StoreError::RequestTooLarge {
                bytes,
                limit: MAX_REQUEST_BYTES,
            });
        }
        let compared = self.compares.iter().map(|compare| compare.key.as_str());
        if compared
            .chain(self.writes.iter().map(Write::key_or_prefix))
            .any(str::is_empty)
        {
            return Err(StoreError::EmptyKey);
        }
        self.validate_no_overlap()
    }

    /// In byte order, the keys under a prefix follow the prefix without a gap. So one pass that
    /// remembers the last prefix finds every overlap.
    fn validate_no_overlap(&self) -> Result<(), StoreError> {
        let mut seen = BTreeMap::new();
        for write in &self.writes {
            let is_prefix = matches!(write, Write::DeletePrefix { .. });
            if seen.insert(write.key_or_prefix(), is_prefix).is_some() {
                return Err(StoreError::DuplicateKey {
                    key: write.key_or_prefix().to_owned(),
                });
            }
        }
        let mut last_prefix = None;
        for (key, is_prefix) in seen {
            if last_prefix.is_some_and(|prefix| key.starts_with(prefix)) {
                return Err(StoreError::DuplicateKey {
                    key: key.to_owned(),
                });
            }
            if is_prefix {
                last_prefix = Some(key);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_touch_one_key_twice_are_refused() {
        for (writes, duplicate) in [
            (Transaction::new().put("a", "1").put("a", "2"), "a"),
            (Transaction::new().put("a", "1").delete("a"), "a"),
            (Transaction::new().delete_prefix("a").put("a", "1"), "a"),
            (
                Transaction::new()
                    .put("ab/c", "1")
                    .put("ab", "1")
                    .delete_prefix("ab/"),
                "ab/c",
            ),
            (
                Transaction::new().delete_prefix("a/b").delete_prefix("a/"),
                "a/b",
            ),
        ] {
            let error = writes.validate().unwrap_err();
            assert!(
                matches!(&error, StoreError::DuplicateKey { key } if key == duplicate),
                "{error}"
            );
        }
    }

    #[test]
    fn writes_of_different_keys_are_accepted() {
        let transaction = Transaction::new()
            .put("a", "1")
            .delete_prefix("a/")
            .delete("a0")
            .delete_prefix("b")
            .put("c", "1");
        transaction.validate().unwrap();
    }

    #[test]
    fn the_limits_are_inclusive() {
        let puts = |count: usize| Transaction {
            writes: (0..count)
                .map(|index| Write::put(format!("k{index}"), ""))
                .collect(),
            ..Transaction::default()
        };
        puts(MAX_OPERATIONS).validate().unwrap();
        assert!(matches!(
            puts(MAX_OPERATIONS + 1).validate(),
            Err(StoreError::TooManyOperations {
                count: 129,
                limit: 128
            })
        ));
        let value = |bytes: usize| Transaction::new().put("k", vec![0; bytes]);
        let room = MAX_REQUEST_BYTES - OPERATION_OVERHEAD_BYTES - 1;
        value(room).validate().unwrap();
        assert!(matches!(
            value(room + 1).validate(),
            Err(StoreError::RequestTooLarge { .. })
        ));
    }

    #[test]
    fn an_empty_key_is_refused_everywhere() {
        for transaction in [
            Transaction::new().put("", "1"),
            Transaction::new().delete(""),
            Transaction::new().delete_prefix(""),
            Transaction::new().require_absent("").put("a", "1"),
        ] {
            assert!(matches!(transaction.validate(), Err(StoreError::EmptyKey)));
        }
    }
}
