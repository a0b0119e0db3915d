//! Storage accounts that clients ask about: names and keys from the operator's
//! configuration. Lote stores nothing in them; it only tells the keys.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// Accounts with their keys. Shown without the keys.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct StorageAccounts(BTreeMap<String, String>);

impl StorageAccounts {
    /// The names of all accounts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// An account by its name, compared without case: the name as configured,
    /// and the key.
    pub fn find(&self, name: &str) -> Option<(&str, &str)> {
        self.0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(name, key)| (name.as_str(), key.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, K: Into<String>> FromIterator<(N, K)> for StorageAccounts {
    fn from_iter<T: IntoIterator<Item = (N, K)>>(accounts: T) -> Self {
        let accounts = accounts.into_iter();
        Self(
            accounts
                .map(|(name, key)| (name.into(), key.into()))
                .collect(),
        )
    }
}

impl fmt::Debug for StorageAccounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_to_those_who_ask_and_not_printed() {
        let accounts: StorageAccounts = [("Data", "s3cret")].into_iter().collect();
        assert_eq!(accounts.find("data"), Some(("Data", "s3cret")));
        assert_eq!(accounts.find("other"), None);
        assert_eq!(format!("{accounts:?}"), "{\"Data\"}");
    }
}
