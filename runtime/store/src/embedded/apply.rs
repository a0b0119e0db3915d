//! One transaction after the other against the tables of one write transaction of the engine.

use bytes::Bytes;
use redb::{ReadableTable, Table, WriteTransaction};

use super::codec::{DATA, HISTORY, LEASED, RowHeader, decode_row, encode_row};
use super::failure::EngineError;
use super::history;
use crate::api::{Event, LeaseId, Revision, Versioned, WatchBatch};
use crate::transaction::{Commit, Compare, Transaction, Write};

/// The tables, open for writing, and the revisions made so far.
pub(super) struct Applier<'txn> {
    data: Table<'txn, &'static str, &'static [u8]>,
    history: Table<'txn, Revision, &'static [u8]>,
    leased: Table<'txn, (u64, &'static str), ()>,
    revision: Revision,
    made: Vec<WatchBatch>,
    row: Vec<u8>,
}

impl<'txn> Applier<'txn> {
    /// Opens the tables; `revision` is the newest one.
    pub(super) fn new(
        transaction: &'txn WriteTransaction,
        revision: Revision,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            data: transaction.open_table(DATA)?,
            history: transaction.open_table(HISTORY)?,
            leased: transaction.open_table(LEASED)?,
            revision,
            made: Vec::new(),
            row: Vec::new(),
        })
    }

    /// Applies a transaction, which must be valid and name only leases that are alive.
    pub(super) fn apply(&mut self, transaction: &Transaction) -> Result<Commit, EngineError> {
        if !self.all_hold(&transaction.compares)? {
            return Ok(Commit::Conflict {
                revision: self.revision,
            });
        }
        let mut events = Vec::with_capacity(transaction.writes.len());
        for write in &transaction.writes {
            match write {
                Write::Put { key, value, lease } => events.push(self.put(key, value, *lease)?),
                Write::Delete { key } => events.extend(self.delete(key)?),
                Write::DeletePrefix { prefix } => self.delete_prefix(prefix, &mut events)?,
            }
        }
        self.make_revision(events)?;
        Ok(Commit::Applied {
            revision: self.revision,
        })
    }

    /// Deletes the keys of a lease, as one revision.
    pub(super) fn end_lease(&mut self, lease: LeaseId) -> Result<(), EngineError> {
        let next = lease.0.saturating_add(1);
        self.delete_leased(Some((lease.0, ""))..Some((next, "")))
    }

    /// Deletes the keys of all leases, as one revision.
    pub(super) fn end_all_leases(&mut self) -> Result<(), EngineError> {
        self.delete_leased(None..None)
    }

    /// Trims the history to about `keep` revisions, and closes the tables. Returns what was made.
    pub(super) fn finish(mut self, keep: u64) -> Result<Vec<WatchBatch>, EngineError> {
        if !self.made.is_empty() {
            history::trim(&mut self.history, self.revision, keep)?;
        }
        Ok(self.made)
    }

    fn all_hold(&self, compares: &[Compare]) -> Result<bool, EngineError> {
        for Compare { key, mod_revision } in compares {
            let found = self.header(key)?.map_or(0, |header| header.mod_revision);
            if found != *mod_revision {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn header(&self, key: &str) -> Result<Option<RowHeader>, EngineError> {
        match self.data.get(key)? {
            Some(row) => Ok(Some(decode_row(row.value())?.0)),
            None => Ok(None),
        }
    }

    fn put(
        &mut self,
        key: &str,
        value: &Bytes,
        lease: Option<LeaseId>,
    ) -> Result<Event, EngineError> {
        let mod_revision = self.revision + 1;
        let before = self.header(key)?;
        let header = RowHeader {
            create_revision: before.map_or(mod_revision, |before| before.create_revision),
            mod_revision,
            version: before.map_or(1, |before| before.version + 1),
            lease: lease.map_or(0, |lease| lease.0),
        };
        self.move_lease(key, before.map_or(0, |before| before.lease), header.lease)?;
        encode_row(&mut self.row, &header, value)?;
        self.data.insert(key, self.row.as_slice())?;
        Ok(Event::Put(Versioned {
            key: key.to_owned(),
            value: value.clone(),
            create_revision: header.create_revision,
            mod_revision,
            version: header.version,
        }))
    }

    fn delete(&mut self, key: &str) -> Result<Option<Event>, EngineError> {
        let lease = match self.data.remove(key)? {
            Some(row) => decode_row(row.value())?.0.lease,
            None => return Ok(None),
        };
        self.move_lease(key, lease, 0)?;
        Ok(Some(Event::Delete {
            key: key.to_owned(),
            mod_revision: self.revision + 1,
        }))
    }

    fn delete_prefix(&mut self, prefix: &str, events: &mut Vec<Event>) -> Result<(), EngineError> {
        let mut keys = Vec::new();
        for row in self.data.range(prefix..)? {
            let key = row?.0;
            if !key.value().starts_with(prefix) {
                break;
            }
            keys.push(key.value().to_owned());
        }
        for key in keys {
            events.extend(self.delete(&key)?);
        }
        Ok(())
    }

    /// Keeps the table of leased keys true; 0 is no lease.
    fn move_lease(&mut self, key: &str, from: u64, to: u64) -> Result<(), EngineError> {
        if from == to {
            return Ok(());
        }
        if from != 0 {
            self.leased.remove((from, key))?;
        }
        if to != 0 {
            self.leased.insert((to, key), ())?;
        }
        Ok(())
    }

    fn delete_leased(
        &mut self,
        leases: std::ops::Range<Option<(u64, &str)>>,
    ) -> Result<(), EngineError> {
        let mut keys = Vec::new();
        let start = leases.start.unwrap_or((0, ""));
        for row in self.leased.range(start..)? {
            let row = row?.0;
            if leases.end.is_some_and(|end| row.value() >= end) {
                break;
            }
            keys.push(row.value().1.to_owned());
        }
        let mut events = Vec::with_capacity(keys.len());
        for key in keys {
            events.extend(self.delete(&key)?);
        }
        self.make_revision(events)
    }

    /// Ends a transaction: one that changed nothing makes no revision.
    fn make_revision(&mut self, events: Vec<Event>) -> Result<(), EngineError> {
        if events.is_empty() {
            return Ok(());
        }
        self.revision += 1;
        history::append(&mut self.history, self.revision, &events)?;
        self.made.push(WatchBatch {
            revision: self.revision,
            events,
        });
        Ok(())
    }
}
