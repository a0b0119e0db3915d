//! How far one file of a spool has come. Pure: offsets in, decisions out.
//!
//! ```text
//! spool file   0 ── copied ── written ── reach ──┄ gap ┄── length
//!              │      │         │          │        └ dropped, a notice is written instead
//!              │      │         │          └ may be on its way: never dropped
//!              │      │         └ handed to the destination's file system
//!              │      └ on its disk for certain: freed here
//! ```
//!
//! A byte of the spool file belongs at the same place of the destination plus `shift`, whatever
//! happens: to write it again does no harm. `shift` changes only while `written == copied`.

use serde::{Deserialize, Serialize};

/// What must be known after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// How many bytes of the spool file have arrived for certain, or were dropped and told of.
    pub(super) copied: u64,
    /// What is added to a place in the spool file to get that in the destination. Unknown until
    /// the destination was looked at: an earlier attempt may have left something there.
    pub(super) shift: Option<i64>,
    /// What was dropped after that, in order; at most two.
    pub(super) gaps: Vec<Gap>,
}

/// Bytes that were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Its notice may have been written, so it must not grow any more.
    pub(super) told: bool,
}

impl Gap {
    pub(super) fn bytes(self) -> u64 {
        self.end - self.start
    }
}

/// What is to be done next for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write these bytes of the spool file at that place of the destination.
    Copy { from: u64, to: u64, at: u64 },
    /// Write a notice about this gap there.
    Tell { gap: Gap, at: u64 },
}

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) progress: Progress,
    pub(super) length: u64,
    pub(super) written: u64,
    reach: u64,
}

impl Track {
    /// Goes on from what is known. An earlier daemon may have written up to `window` bytes more:
    /// they are kept, to be written again in the same place.
    pub(super) fn resume(progress: Progress, window: u64) -> Self {
        let written = progress.copied;
        let gap = progress.gaps.first().map_or(u64::MAX, |gap| gap.start);
        Self {
            reach: written.saturating_add(window).min(gap),
            written,
            length: written,
            progress,
        }
    }

    /// Bytes that are neither at their place for certain nor dropped.
    pub(super) fn missing(&self) -> u64 {
        let dropped: u64 = self.progress.gaps.iter().map(|gap| gap.bytes()).sum();
        self.length.saturating_sub(self.progress.copied + dropped)
    }

    /// Whether all there is has arrived.
    pub(super) fn is_delivered(&self) -> bool {
        self.progress.shift.is_some() && self.progress.copied == self.length
    }

    /// The next step, of at most `chunk` bytes; none if there is nothing to do or it is not known
    /// where the destination begins.
    pub(super) fn next(&self, chunk: u64) -> Option<Step> {
        let at = self.place_of(self.written)?;
        let gap = self.progress.gaps.first().copied();
        if let Some(gap) = gap.filter(|gap| gap.start == self.written) {
            return Some(Step::Tell { gap, at });
        }
        let end = gap.map_or(self.length, |gap| gap.start.min(self.length));
        let to = self.written.saturating_add(chunk).min(end);
        (to > self.written).then_some(Step::Copy {
            from: self.written,
            to,
            at,
        })
    }

    /// The place in the destination of one in the spool file.
    pub(super) fn place_of(&self, offset: u64) -> Option<u64> {
        let shift = self.progress.shift?;
        offset.checked_add_signed(shift)
    }

    /// Bytes up to there are about to be written.
    pub(super) fn reach_for(&mut self, to: u64) {
        self.reach = self.reach.max(to);
    }

    /// Bytes up to there were taken by the destination's file system.
    pub(super) fn has_written(&mut self, to: u64) {
        self.written = to;
        self.reach_for(to);
    }

    /// All that was written is safe.
    pub(super) fn commit(&mut self) {
        self.progress.copied = self.written;
    }

    /// What was written since the last commit may be lost.
    pub(super) fn fail(&mut self) {
        self.written = self.progress.copied;
    }

    /// The first gap must not grow any more.
    pub(super) fn tell(&mut self) {
        if let Some(gap) = self.progress.gaps.first_mut() {
            gap.told = true;
        }
    }

    /// The notice about the first gap, of so many bytes, is safe at its place.
    pub(super) fn has_told(&mut self, notice_bytes: u64) {
        if self.progress.gaps.is_empty() {
            return;
        }
        let gap = self.progress.gaps.remove(0);
        let change = notice_bytes.cast_signed() - gap.bytes().cast_signed();
        self.progress.shift = self.progress.shift.map(|shift| shift + change);
        self.has_written(gap.end);
        self.commit();
    }

    /// The destination ends there, and that is where the next byte goes: an earlier attempt or
    /// somebody else has written there, or has made it shorter. Only after a commit.
    pub(super) fn continue_at(&mut self, destination_end: u64) {
        let shift = destination_end.cast_signed() - self.written.cast_signed();
        self.progress.shift = Some(shift);
    }

    /// The job has emptied its own output, as `> /dev/stdout` does: what comes now goes behind
    /// what was there.
    pub(super) fn restart(&mut self) {
        let end = self.place_of(self.written);
        self.progress.gaps.clear();
        (self.written, self.reach) = (0, 0);
        self.commit();
        if let Some(end) = end {
            self.continue_at(end);
        }
    }

    /// How much could be dropped, if the newest `kept` bytes stay.
    pub(super) fn droppable(&self, kept: u64) -> u64 {
        let end = self.length.saturating_sub(kept);
        end.saturating_sub(self.drop_start())
    }

    fn drop_start(&self) -> u64 {
        let gap = self.progress.gaps.last();
        gap.map_or(self.reach.max(self.written), |gap| gap.end)
    }

    /// Drops the oldest bytes that are not on their way; which.
    pub(super) fn drop_oldest(&mut self, bytes: u64) -> Gap {
        let start = self.drop_start();
        let dropped = Gap {
            start,
            end: start + bytes,
            told: false,
        };
        match self.progress.gaps.last_mut() {
            Some(last) if !last.told => last.end = dropped.end,
            _ => self.progress.gaps.push(dropped),
        }
        dropped
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the files of these tests are small"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn track(copied: u64, shift: i64, length: u64) -> Track {
        let progress = Progress {
            copied,
            shift: Some(shift),
            gaps: Vec::new(),
        };
        Track {
            length,
            ..Track::resume(progress, 0)
        }
    }

    #[test]
    fn nothing_is_copied_before_the_destination_is_known() {
        let mut track = Track {
            length: 5,
            ..Track::default()
        };
        assert_eq!(track.next(10), None);
        assert!(!track.is_delivered());
        // An earlier attempt left 100 bytes.
        track.continue_at(100);
        let step = Step::Copy {
            from: 0,
            to: 5,
            at: 100,
        };
        assert_eq!(track.next(10), Some(step));
    }

    #[test]
    fn a_failure_takes_back_what_was_not_committed() {
        let mut track = track(0, 0, 10);
        track.has_written(4);
        track.commit();
        track.has_written(8);
        track.fail();
        assert_eq!((track.written, track.missing()), (4, 6));
        // But these bytes are on their way, and stay.
        assert_eq!(track.droppable(0), 2);
    }

    #[test]
    fn the_oldest_is_dropped_and_told_of_at_its_place() {
        let mut track = track(10, 0, 100);
        assert_eq!(track.droppable(20), 70);
        assert_eq!(track.drop_oldest(30).start, 10);
        assert_eq!(track.drop_oldest(10).start, 40);
        assert_eq!(track.missing(), 50);
        let gap = Gap {
            start: 10,
            end: 50,
            told: false,
        };
        assert_eq!(track.next(5), Some(Step::Tell { gap, at: 10 }));
        track.tell();
        // It grows no more; what is dropped now is another.
        track.drop_oldest(20);
        assert_eq!(track.progress.gaps.len(), 2);
        track.has_told(7);
        assert_eq!(track.written, 50);
        assert_eq!(track.place_of(50), Some(17));
        assert!(matches!(track.next(5), Some(Step::Tell { gap, at: 17 }) if gap.bytes() == 20));
    }

    #[test]
    fn bytes_stop_before_a_gap() {
        let mut track = track(0, 0, 100);
        track.reach_for(10);
        track.drop_oldest(50);
        let step = Step::Copy {
            from: 0,
            to: 10,
            at: 0,
        };
        assert_eq!(track.next(1000), Some(step));
    }

    #[test]
    fn output_that_the_job_emptied_goes_on_behind() {
        let mut track = track(50, 8, 50);
        track.length = 6;
        track.restart();
        let step = Step::Copy {
            from: 0,
            to: 6,
            at: 58,
        };
        assert_eq!(track.next(100), Some(step));
    }

    /// A courier without files: what it knows, what it would know after a crash, and what the
    /// destination has.
    struct World {
        spool: Vec<u8>,
        original: Vec<u8>,
        destination: Vec<u8>,
        track: Track,
        durable: Progress,
        told: Vec<Gap>,
    }

    const CHUNK: u64 = 7;
    const WINDOW: u64 = 20;
    const DROPPED: u8 = 0;

    fn notice(gap: Gap) -> Vec<u8> {
        format!("<{}>", gap.bytes()).into_bytes()
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Append(usize),
        /// A step, of which so many bytes are written before a crash, if there is one.
        Step(Option<usize>),
        Commit,
        Crash,
        Fail,
        Drop(u64),
    }

    impl World {
        fn new(earlier: &[u8]) -> Self {
            let mut track = Track::default();
            track.continue_at(earlier.len() as u64);
            Self {
                spool: Vec::new(),
                original: Vec::new(),
                destination: earlier.to_vec(),
                durable: track.progress.clone(),
                track,
                told: Vec::new(),
            }
        }

        fn act(&mut self, event: Event) {
            match event {
                Event::Append(count) => {
                    let start = self.original.len();
                    let bytes = (start..start + count).map(|at| b'a' + (at % 26) as u8);
                    self.original.extend(bytes);
                    self.spool.extend_from_slice(&self.original[start..]);
                    self.track.length = self.spool.len() as u64;
                }
                Event::Step(crash) => drop(self.step(crash)),
                Event::Commit => self.commit(),
                Event::Crash => self.crash(),
                Event::Fail => self.track.fail(),
                Event::Drop(bytes) => self.drop_some(bytes),
            }
        }

        fn commit(&mut self) {
            self.track.commit();
            self.durable = self.track.progress.clone();
        }

        fn crash(&mut self) {
            self.track = Track::resume(self.durable.clone(), WINDOW + CHUNK);
            self.track.length = self.spool.len() as u64;
        }

        fn drop_some(&mut self, bytes: u64) {
            let bytes = bytes.min(self.track.droppable(0));
            if bytes > 0 {
                let gap = self.track.drop_oldest(bytes);
                self.durable = self.track.progress.clone();
                self.spool[gap.start as usize..gap.end as usize].fill(DROPPED);
            }
        }

        fn write(&mut self, bytes: &[u8], at: u64, crash: Option<usize>) -> bool {
            let bytes = &bytes[..crash.unwrap_or(bytes.len()).min(bytes.len())];
            let (start, end) = (at as usize, at as usize + bytes.len());
            assert!(start <= self.destination.len(), "a hole");
            self.destination.resize(self.destination.len().max(end), 0);
            self.destination[start..end].copy_from_slice(bytes);
            if crash.is_some() {
                self.crash();
            }
            crash.is_none()
        }

        /// Whether there was one.
        fn step(&mut self, crash: Option<usize>) -> bool {
            match self.track.next(CHUNK) {
                None => return false,
                Some(Step::Copy { from, to, at }) => {
                    self.track.reach_for(to);
                    let bytes = self.spool[from as usize..to as usize].to_vec();
                    assert!(!bytes.contains(&DROPPED), "a dropped byte is copied");
                    if self.write(&bytes, at, crash) {
                        self.track.has_written(to);
                        if self.track.written - self.track.progress.copied >= WINDOW {
                            self.commit();
                        }
                    }
                }
                Some(Step::Tell { gap, at }) => {
                    self.commit();
                    self.track.tell();
                    self.durable = self.track.progress.clone();
                    let notice = notice(gap);
                    if self.write(&notice, at, crash) {
                        self.track.has_told(notice.len() as u64);
                        self.durable = self.track.progress.clone();
                        self.told.push(gap);
                    }
                }
            }
            true
        }

        /// What must be there: everything once and in order, with a notice where bytes are missing.
        fn expected(&self, earlier: &[u8]) -> Vec<u8> {
            let (mut expected, mut at) = (earlier.to_vec(), 0);
            for gap in &self.told {
                let (start, end) = (gap.start as usize, gap.end as usize);
                expected.extend_from_slice(&self.original[at..start]);
                expected.extend(notice(*gap));
                at = end;
            }
            expected.extend_from_slice(&self.original[at..]);
            expected
        }
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (1_usize..40).prop_map(Event::Append),
            6 => Just(Event::Step(None)),
            1 => (0_usize..10).prop_map(|bytes| Event::Step(Some(bytes))),
            2 => Just(Event::Commit),
            1 => Just(Event::Crash),
            1 => Just(Event::Fail),
            1 => (1_u64..30).prop_map(Event::Drop),
        ]
    }

    proptest! {
        #[test]
        fn everything_arrives_once_and_in_order_whatever_happens(
            events in prop::collection::vec(event(), 0..120)
        ) {
            let mut world = World::new(b"earlier");
            for event in events {
                world.act(event);
            }
            while world.step(None) {}
            world.commit();
            let expected = world.expected(b"earlier");
            prop_assert_eq!(
                String::from_utf8_lossy(&world.destination),
                String::from_utf8_lossy(&expected)
            );
            prop_assert!(world.track.is_delivered());
            prop_assert_eq!(world.track.missing(), 0);
        }
    }

    #[test]
    fn what_an_earlier_daemon_may_have_written_is_never_dropped() {
        let progress = Progress {
            copied: 10,
            shift: Some(0),
            gaps: Vec::new(),
        };
        let mut track = Track::resume(progress, 25);
        track.length = 100;
        assert_eq!(track.droppable(0), 65);
    }
}
