//! The rows of the file: a few bytes of `postcard` in front of the value.

use bytes::Bytes;
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use super::failure::EngineError;
use crate::api::{Event, Revision, Versioned};

/// The format of the file; a change of any row here makes the next one.
pub(super) const FORMAT: u64 = 1;

/// Key → [`RowHeader`] and value.
pub(super) const DATA: TableDefinition<&str, &[u8]> = TableDefinition::new("data");
/// Revision → its events, each an [`EventHeader`] and, for a put, the value. One row for every
/// revision, so that its last key is the newest revision.
pub(super) const HISTORY: TableDefinition<Revision, &[u8]> = TableDefinition::new("history");
/// Lease and key, for each key that is on a lease.
pub(super) const LEASED: TableDefinition<(u64, &str), ()> = TableDefinition::new("leased");
/// Numbers about the file, named by the constants below.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// In [`META`]: the format of the file.
pub(super) const META_FORMAT: &str = "format";
/// In [`META`]: how often the file was opened.
pub(super) const META_OPENS: &str = "opens";

/// What stands before a value in [`DATA`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RowHeader {
    pub(super) create_revision: Revision,
    pub(super) mod_revision: Revision,
    pub(super) version: u64,
    /// 0 for none.
    pub(super) lease: u64,
}

/// What stands for an event in [`HISTORY`]; its revision is the key of the row.
#[derive(Serialize, Deserialize)]
enum EventHeader<'a> {
    Put {
        key: &'a str,
        create_revision: Revision,
        version: u64,
        value_bytes: usize,
    },
    Delete {
        key: &'a str,
    },
}

/// Writes a row of [`DATA`] into `row`, which it clears first.
pub(super) fn encode_row(
    row: &mut Vec<u8>,
    header: &RowHeader,
    value: &[u8],
) -> Result<(), EngineError> {
    row.clear();
    append(row, header, "data")?;
    row.extend_from_slice(value);
    Ok(())
}

/// Splits a row of [`DATA`] into its header and the value.
pub(super) fn decode_row(row: &[u8]) -> Result<(RowHeader, &[u8]), EngineError> {
    postcard::take_from_bytes(row).map_err(|source| EngineError::Row {
        table: "data",
        source,
    })
}

/// Writes the events of one revision as a row of [`HISTORY`].
pub(super) fn encode_events(events: &[Event]) -> Result<Vec<u8>, EngineError> {
    let mut row = Vec::new();
    for event in events {
        let (header, value) = split_event(event);
        append(&mut row, &header, "history")?;
        row.extend_from_slice(value);
    }
    Ok(row)
}

fn split_event(event: &Event) -> (EventHeader<'_>, &[u8]) {
    match event {
        Event::Put(Versioned {
            key,
            value,
            create_revision,
            version,
            ..
        }) => {
            let header = EventHeader::Put {
                key,
                create_revision: *create_revision,
                version: *version,
                value_bytes: value.len(),
            };
            (header, value)
        }
        Event::Delete { key, .. } => (EventHeader::Delete { key }, &[]),
    }
}

/// Reads those events of a row of [`HISTORY`] whose keys start with `prefix`.
pub(super) fn decode_events(
    mut row: &[u8],
    revision: Revision,
    prefix: &str,
) -> Result<Vec<Event>, EngineError> {
    let damaged = |source| EngineError::Row {
        table: "history",
        source,
    };
    let mut events = Vec::new();
    while !row.is_empty() {
        let (header, rest) = postcard::take_from_bytes(row).map_err(damaged)?;
        let value_bytes = value_bytes(&header);
        let value = rest
            .get(..value_bytes)
            .ok_or_else(|| damaged(postcard::Error::DeserializeUnexpectedEnd))?;
        row = &rest[value_bytes..];
        if header_key(&header).starts_with(prefix) {
            events.push(join_event(&header, value, revision));
        }
    }
    Ok(events)
}

fn header_key<'a>(header: &EventHeader<'a>) -> &'a str {
    match header {
        EventHeader::Put { key, .. } | EventHeader::Delete { key } => key,
    }
}

fn value_bytes(header: &EventHeader<'_>) -> usize {
    match header {
        EventHeader::Put { value_bytes, .. } => *value_bytes,
        EventHeader::Delete { .. } => 0,
    }
}

fn join_event(header: &EventHeader<'_>, value: &[u8], mod_revision: Revision) -> Event {
    match header {
        EventHeader::Put {
            key,
            create_revision,
            version,
            ..
        } => Event::Put(Versioned {
            key: (*key).to_owned(),
            value: Bytes::copy_from_slice(value),
            create_revision: *create_revision,
            mod_revision,
            version: *version,
        }),
        EventHeader::Delete { key } => Event::Delete {
            key: (*key).to_owned(),
            mod_revision,
        },
    }
}

fn append(
    row: &mut Vec<u8>,
    header: &impl Serialize,
    table: &'static str,
) -> Result<(), EngineError> {
    let grown = postcard::to_extend(header, std::mem::take(row))
        .map_err(|source| EngineError::Row { table, source })?;
    *row = grown;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event() -> impl Strategy<Value = Event> {
        let value = proptest::collection::vec(any::<u8>(), 0..40);
        ("[ab]/?[^\\x00]{0,4}", any::<Option<(u64, u64)>>(), value).prop_map(|(key, put, value)| {
            match put {
                Some((create_revision, version)) => Event::Put(Versioned {
                    key,
                    value: value.into(),
                    create_revision,
                    mod_revision: 7,
                    version,
                }),
                None => Event::Delete {
                    key,
                    mod_revision: 7,
                },
            }
        })
    }

    proptest! {
        #[test]
        fn events_come_back_as_they_were(events in proptest::collection::vec(event(), 0..6)) {
            let row = encode_events(&events).unwrap();
            prop_assert_eq!(decode_events(&row, 7, "").unwrap(), events.clone());
            let under_a: Vec<_> =
                events.into_iter().filter(|event| event.key().starts_with("a/")).collect();
            prop_assert_eq!(decode_events(&row, 7, "a/").unwrap(), under_a);
        }

        #[test]
        fn damaged_rows_are_errors_not_panics(row in proptest::collection::vec(any::<u8>(), 0..60)) {
            // Random bytes may be valid; only that no call panics is asked for.
            let _ = decode_events(&row, 1, "");
            let _ = decode_row(&row);
        }
    }

    #[test]
    fn a_cut_row_is_an_error() {
        let put = Versioned {
            key: "a".to_owned(),
            value: Bytes::from_static(b"value"),
            create_revision: 1,
            mod_revision: 1,
            version: 1,
        };
        let row = encode_events(&[Event::Put(put)]).unwrap();
        assert!(matches!(
            decode_events(&row[..row.len() - 1], 1, ""),
            Err(EngineError::Row {
                table: "history",
                ..
            })
        ));
    }
}
