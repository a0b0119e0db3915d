//! Typed reads and writes on top of [`Store`]. Errors name the key and the type.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{ListRequest, Revision, Store, Versioned};
use crate::error::StoreError;
use crate::transaction::{Transaction, Write};

/// A key with its value as a Rust type; the other members are those of [`Versioned`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// The key.
    pub key: String,
    /// The value.
    pub value: T,
    /// The revision that created the key.
    pub create_revision: Revision,
    /// The revision that wrote this value.
    pub mod_revision: Revision,
    /// How often the key was written since it was created.
    pub version: u64,
}

/// Like [`crate::Listing`], with typed values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonListing<T> {
    /// The entries in byte order of their keys.
    pub items: Vec<Entry<T>>,
    /// The revision of the whole store that was read.
    pub revision: Revision,
    /// Whether the limit left keys out.
    pub more: bool,
}

impl<T: DeserializeOwned> TryFrom<Versioned> for Entry<T> {
    type Error = StoreError;

    fn try_from(versioned: Versioned) -> Result<Self, StoreError> {
        let Versioned {
            key,
            value,
            create_revision,
            mod_revision,
            version,
        } = versioned;
        match serde_json::from_slice(&value) {
            Ok(value) => Ok(Self {
                key,
                value,
                create_revision,
                mod_revision,
                version,
            }),
            Err(source) => Err(StoreError::Decode {
                key,
                expected: std::any::type_name::<T>(),
                source,
            }),
        }
    }
}

/// Reads one key as JSON. Fails with [`StoreError::Decode`] besides the errors of [`Store::get`].
pub async fn get_json<T: DeserializeOwned>(
    store: &dyn Store,
    key: &str,
) -> Result<Option<Entry<T>>, StoreError> {
    store.get(key).await?.map(Entry::try_from).transpose()
}

/// Lists keys with their values as JSON, whatever `keys_only` says. One value that does not fit
/// the type fails the whole call with [`StoreError::Decode`].
pub async fn list_json<T: DeserializeOwned>(
    store: &dyn Store,
    request: ListRequest,
) -> Result<JsonListing<T>, StoreError> {
    let listing = store
        .list(ListRequest {
            keys_only: false,
            ..request
        })
        .await?;
    let items = listing
        .items
        .into_iter()
        .map(Entry::try_from)
        .collect::<Result<_, _>>()?;
    Ok(JsonListing {
        items,
        revision: listing.revision,
        more: listing.more,
    })
}

impl Write {
    /// A put of a value as JSON, without a lease. Fails with [`StoreError::Encode`].
    pub fn put_json(key: impl Into<String>, value: &impl Serialize) -> Result<Self, StoreError> {
        let key = key.into();
        match serde_json::to_vec(value) {
            Ok(value) => Ok(Self::put(key, value)),
            Err(source) => Err(StoreError::Encode { key, source }),
        }
    }
}

impl Transaction {
    /// Adds a put of a value as JSON. Fails with [`StoreError::Encode`].
    pub fn put_json(
        self,
        key: impl Into<String>,
        value: &impl Serialize,
    ) -> Result<Self, StoreError> {
        Ok(self.write(Write::put_json(key, value)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_value_of_another_shape_names_the_key() {
        let versioned = Versioned {
            key: "jobs/a".to_owned(),
            value: "{\"n\": true}".into(),
            create_revision: 1,
            mod_revision: 1,
            version: 1,
        };
        let error = Entry::<BTreeMap<String, u32>>::try_from(versioned).unwrap_err();
        assert!(error.to_string().contains("`jobs/a`"), "{error}");
    }

    #[test]
    fn a_value_that_json_lacks_names_the_key() {
        let map = BTreeMap::from([(vec![1], 1)]);
        let error = Write::put_json("jobs/a", &map).unwrap_err();
        assert!(matches!(error, StoreError::Encode { key, .. } if key == "jobs/a"));
    }
}
