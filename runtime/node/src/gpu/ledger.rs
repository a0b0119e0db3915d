//! What is wrong with one GPU, and since when. Pure: time is an argument.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lote_model::node::Condition;

use super::xid::{self, Severity};

/// A note about something that happened, rather than is so, ends after this time.
const NOTE_LASTS: SignedDuration = SignedDuration::from_hours(1);

/// Heat and power come and go; a condition that did as well would be written all the time.
const THROTTLE_LASTS: SignedDuration = SignedDuration::from_mins(1);

/// What can be wrong. At most one of each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Xid(u64),
    EccUncorrected,
    PagesPending,
    RowsPending,
    RowRemapFailed,
    Heat,
    PowerBrake,
    NvLinkErrors,
    FellOffBus,
    ResetRequired,
    ForeignProcess,
    MemoryHeld,
    /// Not fit for a job, whatever the reason.
    CheckFailed,
    /// Not fit because somebody used it.
    CheckOccupied,
}

/// When a condition ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// When its cause does.
    WithCause,
    /// When the GPU was reset, which is seen as a driver that was loaded anew.
    AtReset,
    /// So long after it was last seen.
    After(SignedDuration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    message: String,
    since: Timestamp,
    seen: Timestamp,
}

/// What is wrong with one GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger(BTreeMap<Cause, Entry>);

impl Cause {
    fn code(self) -> &'static str {
        match self {
            Self::Xid(_) => "GpuXid",
            Self::EccUncorrected => "GpuEccUncorrected",
            Self::PagesPending | Self::RowsPending => "GpuPagesPending",
            Self::RowRemapFailed => "GpuRowRemapFailed",
            Self::Heat | Self::PowerBrake => "GpuThrottled",
            Self::NvLinkErrors => "GpuNvLinkErrors",
            Self::FellOffBus | Self::ResetRequired => "GpuFellOffBus",
            Self::ForeignProcess => "GpuForeignProcess",
            Self::MemoryHeld => "GpuMemoryHeld",
            Self::CheckFailed | Self::CheckOccupied => "GpuCheckFailed",
        }
    }

    fn severity(self) -> Severity {
        match self {
            Self::Xid(number) => xid::lookup(number).severity,
            Self::Heat | Self::PowerBrake | Self::NvLinkErrors => Severity::Note,
            _ => Severity::Quarantine,
        }
    }

    fn ends(self) -> Ends {
        match self {
            Self::Xid(number) if xid::lookup(number).severity == Severity::Note => {
                Ends::After(NOTE_LASTS)
            }
            // The first two also when it answers again, if it was seen not to.
            Self::FellOffBus | Self::ResetRequired | Self::Xid(_) | Self::CheckFailed => {
                Ends::AtReset
            }
            Self::NvLinkErrors => Ends::After(NOTE_LASTS),
            Self::Heat | Self::PowerBrake => Ends::After(THROTTLE_LASTS),
            _ => Ends::WithCause,
        }
    }
}

impl Ledger {
    /// It is so, or happens again. What is known already keeps its time.
    pub(super) fn note(&mut self, cause: Cause, message: impl Into<String>, now: Timestamp) {
        let message = message.into();
        let entry = self.0.entry(cause).or_insert_with(|| Entry {
            message: String::new(),
            since: now,
            seen: now,
        });
        entry.message = message;
        entry.seen = now;
    }

    /// An error that the driver numbers.
    pub(super) fn note_xid(&mut self, number: u64, now: Timestamp) {
        let known = xid::lookup(number);
        let message = format!("XID {number}: {}; {}", known.sentence, known.advice);
        if number == xid::FELL_OFF_BUS {
            self.note(Cause::FellOffBus, message, now);
        } else {
            self.note(Cause::Xid(number), message, now);
        }
    }

    /// It is so no more.
    pub(super) fn clear(&mut self, cause: Cause) {
        self.0.remove(&cause);
    }

    /// Whether it is so.
    pub(super) fn has(&self, cause: Cause) -> bool {
        self.0.contains_key(&cause)
    }

    /// The driver was loaded anew: what a reset ends is looked for again from the beginning.
    pub(super) fn reset(&mut self) {
        self.0.retain(|cause, _| cause.ends() != Ends::AtReset);
    }

    /// Forgets what was seen last too long ago.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.0.retain(|cause, entry| match cause.ends() {
            Ends::After(time) => now.duration_since(entry.seen) < time,
            Ends::AtReset | Ends::WithCause => true,
        });
    }

    /// Whether it keeps jobs from the GPU.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> bool {
        self.0
            .keys()
            .any(|cause| cause.severity() >= Severity::Quarantine)
    }

    /// What is said about the GPU.
    pub(super) fn conditions(&self) -> impl Iterator<Item = Condition> {
        self.0.iter().map(|(cause, entry)| Condition {
            code: cause.code().to_owned(),
            message: entry.message.clone(),
            blocks_jobs: cause.severity() >= Severity::Quarantine,
            since: entry.since,
        })
    }

    /// What is said about the node, because it reaches further than the GPU. `gpu` is how the
    /// GPU is called.
    pub(super) fn drains<'a>(&'a self, gpu: &'a str) -> impl Iterator<Item = Condition> + 'a {
        let far = self.0.iter();
        far.filter(|(cause, _)| cause.severity() == Severity::Drain)
            .map(move |(cause, entry)| Condition {
                code: cause.code().to_owned(),
                message: format!("{gpu}: {}", entry.message),
                blocks_jobs: true,
                since: entry.since,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn codes(ledger: &Ledger) -> Vec<(String, bool)> {
        let conditions = ledger.conditions();
        conditions
            .map(|found| (found.code, found.blocks_jobs))
            .collect()
    }

    #[test]
    fn an_error_of_an_application_is_a_note_that_ends_by_itself() {
        let mut ledger = Ledger::default();
        ledger.note_xid(31, at(0));
        ledger.note_xid(31, at(1_800));
        assert_eq!(codes(&ledger), [("GpuXid".into(), false)]);
        assert_eq!(ledger.conditions().next().unwrap().since, at(0));
        ledger.expire(at(1_800 + 3_599));
        assert!(ledger.has(Cause::Xid(31)));
        ledger.expire(at(1_800 + 3_600));
        assert!(codes(&ledger).is_empty());
    }

    #[test]
    fn an_error_of_the_gpu_lasts_until_it_is_reset() {
        let mut ledger = Ledger::default();
        ledger.note_xid(119, at(0));
        ledger.expire(at(1_000_000));
        assert!(ledger.blocks());
        let said = ledger.conditions().next().unwrap().message;
        assert!(
            said.starts_with("XID 119: ") && said.contains("reset"),
            "{said}"
        );
        ledger.reset();
        assert!(!ledger.blocks());
    }

    #[test]
    fn what_has_a_cause_that_can_be_read_outlives_a_reset_that_did_not_help() {
        let mut ledger = Ledger::default();
        ledger.note(Cause::RowsPending, "m", at(0));
        ledger.note(Cause::PagesPending, "m", at(0));
        ledger.reset();
        let both = [
            ("GpuPagesPending".to_owned(), true),
            ("GpuPagesPending".to_owned(), true),
        ];
        assert_eq!(codes(&ledger), both);
        ledger.clear(Cause::RowsPending);
        ledger.clear(Cause::PagesPending);
        assert!(!ledger.blocks());
    }

    #[test]
    fn off_the_bus_is_one_condition_however_it_is_seen() {
        let mut ledger = Ledger::default();
        ledger.note_xid(79, at(0));
        ledger.note(Cause::FellOffBus, "the driver says so", at(3));
        assert_eq!(codes(&ledger), [("GpuFellOffBus".into(), true)]);
    }

    #[test]
    fn only_what_reaches_further_than_the_gpu_drains_the_node() {
        let mut ledger = Ledger::default();
        ledger.note_xid(119, at(0));
        assert_eq!(ledger.drains("GPU 0").count(), 0);
        ledger.note_xid(167, at(0));
        let drain = ledger.drains("GPU 0").next().unwrap();
        assert!(drain.blocks_jobs && drain.message.starts_with("GPU 0: XID 167"));
    }
}
