//! What of one file is where on its way to the server's disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use fuser::Errno;
use nfs3_types::nfs3::writeverf3;
use tokio::sync::OwnedSemaphorePermit;

use super::piece::{Piece, overlap};
use crate::nfs::Written;
use crate::rpc::Credential;

/// So many pieces of one file are on their way at once.
const ON_THEIR_WAY: usize = 8;

/// The data of a file between the kernel and the server's disk. A byte is in one place at most: newer data takes the
/// place of older wherever that still waits, and pieces that cover the same bytes are never on their way together, because
/// nothing keeps their order there.
#[derive(Default)]
pub(crate) struct Pending {
    /// The newest data, still growing.
    tail: Option<Tail>,
    waiting: VecDeque<Piece>,
    on_their_way: Vec<Range<u64>>,
    /// Acknowledged and not durable, with the number of the acknowledgement.
    unstable: Vec<Unstable>,
    acknowledgements: u64,
    error: Option<Errno>,
}

struct Tail {
    offset: u64,
    data: Vec<u8>,
    who: Arc<Credential>,
    memory: Option<OwnedSemaphorePermit>,
}

struct Unstable {
    piece: Piece,
    verifier: writeverf3,
    number: u64,
}

/// What is to be made durable.
#[derive(Clone, Debug)]
pub(crate) struct ToCommit {
    pub(crate) who: Arc<Credential>,
    /// Everything acknowledged up to here.
    upto: u64,
}

/// A piece that is to be sent.
#[derive(Debug)]
pub(crate) struct ToSend {
    pub(crate) piece: Piece,
    /// It is all there is: making it durable at once saves a COMMIT.
    pub(crate) is_all: bool,
}

impl Pending {
    /// Takes data of the kernel. Consecutive writes of one user are put together up to `largest` bytes.
    ///
    /// # Errors
    ///
    /// What went wrong with earlier data; `flush` will tell it too.
    pub(crate) fn put(
        &mut self,
        offset: u64,
        data: &[u8],
        who: &Arc<Credential>,
        memory: Option<OwnedSemaphorePermit>,
        largest: usize,
    ) -> Result<(), Errno> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let range = offset..offset + data.len() as u64;
        let continues = self.tail.as_ref().is_some_and(|tail| {
            tail.offset + tail.data.len() as u64 == offset
                && tail.data.len() + data.len() <= largest
                && *tail.who == **who
        });
        if !continues {
            self.close_tail();
        }
        self.cover(&range);
        match &mut self.tail {
            Some(tail) => {
                tail.data.extend_from_slice(data);
                match (&mut tail.memory, memory) {
                    (Some(has), Some(more)) => has.merge(more),
                    (none, more) => *none = more,
                }
            }
            None => {
                self.tail = Some(Tail {
                    offset,
                    data: data.to_vec(),
                    who: Arc::clone(who),
                    memory,
                });
            }
        }
        Ok(())
    }

    fn close_tail(&mut self) {
        if let Some(tail) = self.tail.take() {
            self.waiting.push_back(Piece {
                offset: tail.offset,
                data: Bytes::from(tail.data),
                who: tail.who,
                memory: tail.memory.map(Arc::new),
            });
        }
    }

    /// Newer data takes the place of older.
    fn cover(&mut self, range: &Range<u64>) {
        if self
            .waiting
            .iter()
            .any(|piece| overlap(&piece.range(), range))
        {
            let waiting = std::mem::take(&mut self.waiting);
            self.waiting = waiting
                .into_iter()
                .flat_map(|piece| piece.without(range))
                .collect();
        }
        if self
            .unstable
            .iter()
            .any(|unstable| overlap(&unstable.piece.range(), range))
        {
            let unstable = std::mem::take(&mut self.unstable);
            self.unstable = unstable
                .into_iter()
                .flat_map(|one| {
                    one.piece.without(range).map(move |piece| Unstable {
                        piece,
                        verifier: one.verifier,
                        number: one.number,
                    })
                })
                .collect();
        }
    }

    /// The next piece that may be sent. Data that still grows is sent when it is as large as a piece may be, or when
    /// somebody waits for it (`all`).
    pub(crate) fn next_to_send(&mut self, largest: usize, all: bool) -> Option<ToSend> {
        if self.on_their_way.len() >= ON_THEIR_WAY {
            return None;
        }
        let is_large = self
            .tail
            .as_ref()
            .is_some_and(|tail| tail.data.len() >= largest);
        if self.waiting.is_empty() && (all || is_large) {
            self.close_tail();
        }
        let range = self.waiting.front()?.range();
        if self.on_their_way.iter().any(|sent| overlap(sent, &range)) {
            return None;
        }
        let piece = self.waiting.pop_front()?;
        let is_all = all
            && self.tail.is_none()
            && self.waiting.is_empty()
            && self.on_their_way.is_empty()
            && self.unstable.is_empty();
        self.on_their_way.push(range);
        Some(ToSend { piece, is_all })
    }

    /// Notes what became of a piece that was sent.
    pub(crate) fn sent(&mut self, piece: Piece, outcome: Result<Written, Errno>) {
        let range = piece.range();
        if let Some(index) = self.on_their_way.iter().position(|sent| *sent == range) {
            self.on_their_way.swap_remove(index);
        }
        match outcome {
            Ok(Written::Durable) => {}
            Ok(Written::Unstable(verifier)) => {
                self.acknowledgements += 1;
                let number = self.acknowledgements;
                // What came meanwhile is newer, and must not be overwritten if this has to be sent again.
                let tail = self.tail.iter().map(Tail::range);
                let newer: Vec<Range<u64>> =
                    self.waiting.iter().map(Piece::range).chain(tail).collect();
                let mut parts = vec![piece];
                for range in newer {
                    parts = parts
                        .into_iter()
                        .flat_map(|part| part.without(&range))
                        .collect();
                }
                self.unstable
                    .extend(parts.into_iter().map(|piece| Unstable {
                        piece,
                        verifier,
                        number,
                    }));
            }
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }

    /// What can be made durable now, if there is anything.
    pub(crate) fn to_commit(&self) -> Option<ToCommit> {
        let first = self.unstable.first()?;
        Some(ToCommit {
            who: Arc::clone(&first.piece.who),
            upto: self.acknowledgements,
        })
    }

    /// Notes the answer to a COMMIT: what another start of the server acknowledged is to be sent again.
    pub(crate) fn committed(&mut self, what: &ToCommit, outcome: Result<writeverf3, Errno>) {
        let unstable = std::mem::take(&mut self.unstable);
        let (covered, later): (Vec<_>, Vec<_>) = unstable
            .into_iter()
            .partition(|one| one.number <= what.upto);
        self.unstable = later;
        match outcome {
            Ok(verifier) => {
                let lost = covered.into_iter().filter(|one| one.verifier != verifier);
                for one in lost {
                    self.waiting.push_front(one.piece);
                }
            }
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }

    /// Whether the server does not know all that the kernel has handed over.
    pub(crate) fn is_behind(&self) -> bool {
        self.tail.is_some() || !self.waiting.is_empty() || !self.on_their_way.is_empty()
    }

    /// Whether everything is on the server's disk.
    pub(crate) fn is_durable(&self) -> bool {
        !self.is_behind() && self.unstable.is_empty()
    }

    /// Bytes that are acknowledged and not durable.
    pub(crate) fn unstable_bytes(&self) -> usize {
        self.unstable.iter().map(|one| one.piece.data.len()).sum()
    }

    /// Tells once what went wrong.
    pub(crate) fn take_error(&mut self) -> Result<(), Errno> {
        self.error.take().map_or(Ok(()), Err)
    }
}

impl Tail {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.data.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LARGEST: usize = 16;

    fn put(pending: &mut Pending, offset: u64, data: &[u8]) {
        let who = Arc::new(Credential::root());
        pending.put(offset, data, &who, None, LARGEST).unwrap();
    }

    #[test]
    fn small_writes_become_large_ones() {
        let mut pending = Pending::default();
        for offset in 0..15 {
            put(&mut pending, offset, b"x");
            assert!(pending.next_to_send(LARGEST, false).is_none());
        }
        put(&mut pending, 15, b"x");
        let sent = pending.next_to_send(LARGEST, false).unwrap();
        assert_eq!(sent.piece.range(), 0..16);
        assert!(!sent.is_all);
    }

    #[test]
    fn a_small_file_needs_no_commit() {
        let mut pending = Pending::default();
        put(&mut pending, 0, b"small");
        let sent = pending.next_to_send(LARGEST, true).unwrap();
        assert!(sent.is_all);
        pending.sent(sent.piece, Ok(Written::Durable));
        assert!(pending.is_durable());
    }

    #[test]
    fn an_error_is_told_to_the_next_write_and_to_flush_once() {
        let mut pending = Pending::default();
        put(&mut pending, 0, b"a");
        let sent = pending.next_to_send(LARGEST, true).unwrap();
        pending.sent(sent.piece, Err(Errno::ENOSPC));
        let who = Arc::new(Credential::root());
        let write = pending.put(1, b"b", &who, None, LARGEST);
        assert_eq!(write, Err(Errno::ENOSPC));
        assert_eq!(pending.take_error(), Err(Errno::ENOSPC));
        assert_eq!(pending.take_error(), Ok(()));
    }

    /// A server that forgets what is not durable when it restarts, and answers in any order.
    #[derive(Default)]
    struct Server {
        disk: Vec<u8>,
        memory: Vec<u8>,
        start: u8,
    }

    impl Server {
        fn write(&mut self, piece: &Piece, durable: bool) -> Written {
            let range = piece.range();
            let end = usize::try_from(range.end).unwrap();
            let start = usize::try_from(range.start).unwrap();
            if self.memory.len() < end {
                self.memory.resize(end, 0);
            }
            self.memory[start..end].copy_from_slice(&piece.data);
            if durable {
                self.disk.clone_from(&self.memory);
                return Written::Durable;
            }
            Written::Unstable(self.verifier())
        }

        fn verifier(&self) -> writeverf3 {
            writeverf3([self.start; 8])
        }

        fn restart(&mut self) {
            self.memory.clone_from(&self.disk);
            self.start += 1;
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8, u8),
        Send(bool),
        Answer(u8),
        Commit,
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..64u8, 1..24u8, any::<u8>()).prop_map(|(at, len, byte)| Step::Put(at, len, byte)),
            4 => any::<bool>().prop_map(Step::Send),
            4 => any::<u8>().prop_map(Step::Answer),
            1 => Just(Step::Commit),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever order the server answers in, and whenever it restarts, its disk holds in the end what was written.
        #[test]
        fn what_was_written_is_on_disk_in_the_end(steps in proptest::collection::vec(step(), 1..120)) {
            let mut pending = Pending::default();
            let mut server = Server::default();
            let mut file = Vec::new();
            let mut away: Vec<ToSend> = Vec::new();
            for step in steps {
                match step {
                    Step::Put(at, len, byte) => {
                        let data = vec![byte; usize::from(len)];
                        let end = usize::from(at) + data.len();
                        if file.len() < end {
                            file.resize(end, 0);
                        }
                        file[usize::from(at)..end].copy_from_slice(&data);
                        put(&mut pending, u64::from(at), &data);
                    }
                    Step::Send(all) => away.extend(pending.next_to_send(LARGEST, all)),
                    Step::Answer(which) if !away.is_empty() => {
                        let sent = away.remove(usize::from(which) % away.len());
                        let written = server.write(&sent.piece, sent.is_all);
                        pending.sent(sent.piece, Ok(written));
                    }
                    Step::Answer(_) => {}
                    Step::Commit => {
                        if let Some(what) = pending.to_commit() {
                            server.disk.clone_from(&server.memory);
                            pending.committed(&what, Ok(server.verifier()));
                        }
                    }
                    Step::Restart => server.restart(),
                }
            }
            while !pending.is_durable() {
                away.extend(pending.next_to_send(LARGEST, true));
                if let Some(sent) = away.pop() {
                    let written = server.write(&sent.piece, sent.is_all);
                    pending.sent(sent.piece, Ok(written));
                } else if let Some(what) = pending.to_commit() {
                    server.disk.clone_from(&server.memory);
                    pending.committed(&what, Ok(server.verifier()));
                }
            }
            prop_assert_eq!(server.disk, file);
        }
    }
}
