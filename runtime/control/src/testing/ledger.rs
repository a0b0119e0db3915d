//! A store of plain maps, without time and without leases.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use lote_model::key;
use lote_store::{Event, Revision, StoreError, Transaction, Versioned, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::snapshot::Snapshot;

/// Keys and values with revisions.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    items: BTreeMap<String, Versioned>,
    revision: Revision,
}

impl Ledger {
    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// All keys that start with a prefix, in order.
    pub fn list(&self, prefix: &str) -> impl Iterator<Item = &Versioned> {
        let prefix = prefix.to_owned();
        let from = self.items.range(prefix.clone()..);
        from.map(|(_, item)| item)
            .take_while(move |item| item.key.starts_with(&prefix))
    }

    /// A value, if the key is there and the value fits the type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_slice(&self.items.get(key)?.value).ok()
    }

    /// What a leader knows that takes it over.
    pub fn load(&self, config: Config, now: Timestamp) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::new(config);
        snapshot.start_loading();
        let prefixes = Snapshot::PREFIXES.into_iter().chain([key::PLANS]);
        for item in prefixes.flat_map(|prefix| self.list(prefix)) {
            snapshot.load(item.clone(), now)?;
        }
        snapshot.end_loading();
        Ok(snapshot)
    }

    /// Puts one value.
    pub fn put(&mut self, key: &str, value: &impl Serialize) -> Vec<Event> {
        let value = serde_json::to_vec(value).unwrap_or_default();
        self.commit(&Transaction::new().put(key, value))
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Deletes one key.
    pub fn delete(&mut self, key: &str) -> Vec<Event> {
        self.commit(&Transaction::new().delete(key))
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// What the transaction changed, or none if a compare did not hold. Fails like the real store
    /// where the transaction breaks its limits.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<Option<Vec<Event>>, StoreError> {
        transaction.validate()?;
        let revision_of = |key: &str| self.items.get(key).map_or(0, |item| item.mod_revision);
        if transaction
            .compares
            .iter()
            .any(|compare| revision_of(&compare.key) != compare.mod_revision)
        {
            return Ok(None);
        }
        let revision = self.revision + 1;
        let mut events = Vec::new();
        for write in &transaction.writes {
            self.write(write, revision, &mut events);
        }
        if !events.is_empty() {
            self.revision = revision;
        }
        Ok(Some(events))
    }

    fn write(&mut self, write: &Write, revision: Revision, events: &mut Vec<Event>) {
        match write {
            Write::Put { key, value, .. } => {
                events.push(Event::Put(self.put_bytes(key, value, revision)));
            }
            Write::Delete { key } => self.remove(key, revision, events),
            Write::DeletePrefix { prefix } => {
                let keys: Vec<String> = self.list(prefix).map(|item| item.key.clone()).collect();
                for key in keys {
                    self.remove(&key, revision, events);
                }
            }
        }
    }

    fn put_bytes(&mut self, key: &str, value: &Bytes, revision: Revision) -> Versioned {
        let old = self.items.get(key);
        let item = Versioned {
            key: key.to_owned(),
            value: value.clone(),
            create_revision: old.map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(0, |old| old.version) + 1,
        };
        self.items.insert(key.to_owned(), item.clone());
        item
    }

    fn remove(&mut self, key: &str, revision: Revision, events: &mut Vec<Event>) {
        if self.items.remove(key).is_some() {
            events.push(Event::Delete {
                key: key.to_owned(),
                mod_revision: revision,
            });
        }
    }
}
