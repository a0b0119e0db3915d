//! A run of bytes on its way to the server.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::rpc::Credential;

/// Bytes of a file. What it was cut from and it share one place in memory, and give it back when the last part is gone.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    /// Who wrote it.
    pub(crate) who: Arc<Credential>,
    /// Its share of the memory for all files; none in tests.
    pub(super) memory: Option<Arc<OwnedSemaphorePermit>>,
}

impl Piece {
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.data.len() as u64
    }

    /// What is left of it when newer data covers a range.
    pub(super) fn without(self, covered: &Range<u64>) -> impl Iterator<Item = Self> + use<> {
        let own = self.range();
        let before = own.start..own.end.min(covered.start);
        let after = own.start.max(covered.end)..own.end;
        let untouched = !overlap(&own, covered);
        let kept = if untouched {
            vec![own]
        } else {
            vec![before, after]
        };
        kept.into_iter()
            .filter(|part| part.start < part.end)
            .map(move |part| self.part(&part))
    }

    fn part(&self, part: &Range<u64>) -> Self {
        let index = |position: u64| usize::try_from(position - self.offset).unwrap_or(usize::MAX);
        Self {
            offset: part.start,
            data: self.data.slice(index(part.start)..index(part.end)),
            who: Arc::clone(&self.who),
            memory: self.memory.clone(),
        }
    }
}

pub(super) fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(covered: Range<u64>) -> Vec<(u64, Vec<u8>)> {
        let piece = Piece {
            offset: 10,
            data: Bytes::from_static(b"0123456789"),
            who: Arc::new(Credential::root()),
            memory: None,
        };
        piece
            .without(&covered)
            .map(|part| (part.offset, part.data.to_vec()))
            .collect()
    }

    #[test]
    fn newer_data_covers_a_part() {
        assert_eq!(left(0..12), [(12, b"23456789".to_vec())]);
        assert_eq!(left(18..30), [(10, b"01234567".to_vec())]);
        assert_eq!(left(12..18), [(10, b"01".to_vec()), (18, b"89".to_vec())]);
        assert_eq!(left(10..20), []);
        assert_eq!(left(0..10), [(10, b"0123456789".to_vec())]);
        assert_eq!(left(20..21), [(10, b"0123456789".to_vec())]);
    }
}
