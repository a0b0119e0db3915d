//! The history of events, one row per revision, kept so that a watch can start in the past and
//! survive a restart of the daemon.

use std::collections::VecDeque;

use redb::{ReadableTable, Table};

use super::codec::{decode_events, encode_events};
use super::failure::EngineError;
use crate::api::{Event, Revision, WatchBatch};

/// How many revisions more than asked for are kept before the surplus is deleted together: few
/// large deletions touch fewer pages than one at each commit.
const TRIM_CHUNK: u64 = 256;

/// The most revisions deleted in one go. It bounds the first commit after the limit was lowered.
const TRIM_MAX: u64 = 1024;

/// How many revisions, and about how many bytes of them, a watch reads at once.
const READ_REVISIONS: u64 = 128;
const READ_BYTES: usize = 1 << 20;

/// The newest revision in the table, 0 if there is none yet.
pub(super) fn newest(
    history: &impl ReadableTable<Revision, &'static [u8]>,
) -> Result<Revision, EngineError> {
    Ok(history.last()?.map_or(0, |(revision, _)| revision.value()))
}

/// Adds the events of a revision.
pub(super) fn append(
    history: &mut Table<'_, Revision, &'static [u8]>,
    revision: Revision,
    events: &[Event],
) -> Result<(), EngineError> {
    history.insert(revision, encode_events(events)?.as_slice())?;
    Ok(())
}

/// Deletes the oldest revisions if there are clearly more than `keep`.
pub(super) fn trim(
    history: &mut Table<'_, Revision, &'static [u8]>,
    newest: Revision,
    keep: u64,
) -> Result<(), EngineError> {
    let Some(oldest) = history.first()?.map(|(revision, _)| revision.value()) else {
        return Ok(());
    };
    let first_kept = first_kept(oldest, newest, keep);
    if first_kept > oldest {
        history.retain_in(oldest..first_kept, |_, _| false)?;
    }
    Ok(())
}

fn first_kept(oldest: Revision, newest: Revision, keep: u64) -> Revision {
    let surplus = (newest + 1 - oldest).saturating_sub(keep);
    if surplus < TRIM_CHUNK {
        oldest
    } else {
        oldest + surplus.min(TRIM_MAX)
    }
}

/// A piece of the history.
pub(super) enum Chunk {
    /// The batches under the prefix, and the revision to go on from.
    Read {
        batches: VecDeque<WatchBatch>,
        next: Revision,
    },
    /// The piece is gone.
    Compacted { oldest: Revision },
}

/// Reads a bounded piece of the history from a revision on.
pub(super) fn read(
    history: &impl ReadableTable<Revision, &'static [u8]>,
    from: Revision,
    prefix: &str,
) -> Result<Chunk, EngineError> {
    let mut chunk = (VecDeque::new(), from);
    let mut bytes = 0;
    for row in history.range(from..from.saturating_add(READ_REVISIONS))? {
        let (revision, row) = row?;
        let (revision, row) = (revision.value(), row.value());
        if revision != chunk.1 || bytes > READ_BYTES {
            break;
        }
        bytes += row.len();
        let events = decode_events(row, revision, prefix)?;
        if !events.is_empty() {
            chunk.0.push_back(WatchBatch { revision, events });
        }
        chunk.1 = revision + 1;
    }
    match history.first()?.map(|(revision, _)| revision.value()) {
        Some(oldest) if oldest > from => Ok(Chunk::Compacted { oldest }),
        _ => Ok(Chunk::Read {
            batches: chunk.0,
            next: chunk.1,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn trimming_keeps_enough_and_not_much_more(
            oldest in 1..5_000_u64, length in 0..5_000_u64, keep in 1..3_000_u64,
        ) {
            let newest = oldest + length;
            let first = first_kept(oldest, newest, keep);
            let (before, after) = (newest + 1 - oldest, newest + 1 - first);
            prop_assert!(after >= before.min(keep));
            prop_assert!(after < keep + TRIM_CHUNK || before - after == TRIM_MAX);
        }
    }
}
