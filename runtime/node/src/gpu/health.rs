//! Whether a GPU is well, from what the driver says of it. Pure: time is an argument.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::driver::{ActivityReading, DriverError, GpuEvent, HealthReading, LinkErrors};
use super::ledger::{Cause, Ledger};
use super::xid;

/// So many readings in a row must say so before it is a condition: clocks are held back for a
/// moment whenever the load changes.
const THROTTLED_READINGS: u32 = 5;

/// So much may be sent again over an NVLink between two looks at it without being noted: a few
/// errors are part of a fast link's life.
const REPLAYS_MAX: u64 = 100;

/// A job that has the GPU cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Breakdown {
    /// The error's number, if it has one.
    pub(crate) xid: Option<u64>,
    /// What happened and what to do.
    pub(crate) sentence: String,
}

/// What is known of the state of one GPU, or of one instance.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    pub(super) ledger: Ledger,
    /// The last XID since the daemon started.
    pub(super) last_xid: Option<u64>,
    /// Whether it did not answer when it was asked last.
    is_silent: bool,
    /// Where the counters stood; nothing before the first look.
    ecc_uncorrected: Option<u64>,
    links: BTreeMap<u32, LinkErrors>,
    hot_readings: u32,
    braked_readings: u32,
}

impl Health {
    /// The driver said something about it.
    pub(super) fn event(&mut self, event: &GpuEvent, now: Timestamp) -> Option<Breakdown> {
        match event {
            GpuEvent::Xid { number, .. } => {
                self.last_xid = Some(*number);
                self.ledger.note_xid(*number, now);
                let known = xid::lookup(*number);
                known.fails_job.then(|| Breakdown {
                    xid: Some(*number),
                    sentence: format!("XID {number}: {}; {}", known.sentence, known.advice),
                })
            }
            GpuEvent::UncorrectedEcc { .. } => {
                self.ledger
                    .note(Cause::EccUncorrected, ECC_UNCORRECTED, now);
                Some(Breakdown {
                    xid: None,
                    sentence: ECC_UNCORRECTED.to_owned(),
                })
            }
        }
    }

    /// It did not answer, or its driver did not.
    pub(super) fn error(&mut self, error: &DriverError, now: Timestamp) -> Option<Breakdown> {
        let (cause, sentence) = match error {
            DriverError::Lost => (Cause::FellOffBus, FELL_OFF_BUS),
            DriverError::ResetRequired => (Cause::ResetRequired, RESET_REQUIRED),
            // The driver's own trouble, which is another condition.
            DriverError::Gone(_) | DriverError::Unusable(_) | DriverError::Refused(_) => {
                return None;
            }
        };
        self.is_silent = true;
        if self.ledger.has(Cause::FellOffBus) || self.ledger.has(cause) {
            return None;
        }
        self.ledger.note(cause, sentence, now);
        Some(Breakdown {
            xid: None,
            sentence: sentence.to_owned(),
        })
    }

    /// Whether nothing can run on it, whatever a job does.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// It answered.
    pub(super) fn activity(
        &mut self,
        reading: &ActivityReading,
        now: Timestamp,
    ) -> Option<Breakdown> {
        if std::mem::take(&mut self.is_silent) {
            self.ledger.clear(Cause::FellOffBus);
            self.ledger.clear(Cause::ResetRequired);
        }
        if let Some(throttle) = reading.throttle {
            let count = |readings: &mut u32, is_so| {
                *readings = if is_so { *readings + 1 } else { 0 };
                *readings >= THROTTLED_READINGS
            };
            if count(&mut self.hot_readings, throttle.heat) {
                self.ledger.note(Cause::Heat, TOO_HOT, now);
            }
            if count(&mut self.braked_readings, throttle.power_brake) {
                self.ledger.note(Cause::PowerBrake, POWER_BRAKE, now);
            }
        }
        let ecc = reading.slow.as_ref().and_then(|slow| slow.ecc_uncorrected);
        self.uncorrected(ecc, now)
    }

    /// A closer look.
    pub(super) fn reading(&mut self, reading: &HealthReading, now: Timestamp) -> Option<Breakdown> {
        for (cause, is_so, message) in [
            (Cause::PagesPending, reading.pages_pending, PAGES_PENDING),
            (Cause::RowsPending, reading.rows_pending, ROWS_PENDING),
            (Cause::RowRemapFailed, reading.rows_failed, ROWS_FAILED),
        ] {
            match is_so {
                Some(true) => self.ledger.note(cause, message, now),
                Some(false) => self.ledger.clear(cause),
                None => {}
            }
        }
        self.link_errors(&reading.links, now);
        self.uncorrected(reading.ecc_uncorrected, now)
    }

    /// The driver was loaded anew: counters may have begun again, and nobody looks back.
    pub(super) fn reset(&mut self) {
        self.ledger.reset();
        self.ecc_uncorrected = None;
        self.links.clear();
    }

    /// The counter begins anew with a reset. What it counted before the first look happened to
    /// no job that runs now.
    fn uncorrected(&mut self, counted: Option<u64>, now: Timestamp) -> Option<Breakdown> {
        let counted = counted?;
        let before = self.ecc_uncorrected.replace(counted);
        if counted == 0 {
            // Unless an event came and the counter does not count it.
            if before != Some(0) {
                self.ledger.clear(Cause::EccUncorrected);
            }
            return None;
        }
        let is_known = self.ledger.has(Cause::EccUncorrected);
        self.ledger
            .note(Cause::EccUncorrected, ECC_UNCORRECTED, now);
        let is_news = before.is_some_and(|before| counted > before) && !is_known;
        is_news.then(|| Breakdown {
            xid: None,
            sentence: ECC_UNCORRECTED.to_owned(),
        })
    }

    fn link_errors(&mut self, links: &[LinkErrors], now: Timestamp) {
        let mut ill = Vec::new();
        for link in links {
            let before = self.links.insert(link.link, *link).unwrap_or(*link);
            let recoveries = link.recoveries.saturating_sub(before.recoveries);
            let replays = link.replays.saturating_sub(before.replays);
            if recoveries > 0 || replays > REPLAYS_MAX {
                ill.push(link.link.to_string());
            }
        }
        if !ill.is_empty() {
            let message = format!(
                "NVLink {} of the GPU has many errors, which slows down what it sends; look at the \
                 connectors and at nvidia-smi nvlink -e",
                ill.join(", ")
            );
            self.ledger.note(Cause::NvLinkErrors, message, now);
        }
    }
}

const FELL_OFF_BUS: &str = "the GPU has fallen off the bus and answers nothing; restart the \
                            machine, and have the GPU replaced if this comes back";
const RESET_REQUIRED: &str = "the driver uses the GPU no more until it is reset; nvidia-smi --gpu-reset, or restart the \
     machine";
const ECC_UNCORRECTED: &str = "memory of the GPU was damaged and could not be corrected; reset the \
                               GPU, and have it replaced if this comes back";
const PAGES_PENDING: &str = "damaged pages of the GPU's memory are set aside only when it is reset: do that, or restart \
     the machine";
const ROWS_PENDING: &str = "damaged rows of the GPU's memory are replaced by spare ones only when it is reset: do that, or \
     restart the machine";
const ROWS_FAILED: &str =
    "a damaged row of the GPU's memory could not be replaced by a spare one; have the GPU replaced";
const TOO_HOT: &str = "the GPU is too hot and slows down; look at the fans and the room";
const POWER_BRAKE: &str =
    "the machine's power supply makes the GPU slow down; look at the power supplies";

#[cfg(test)]
mod tests {
    use super::super::driver::{SlowReading, Throttle};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn xid(number: u64) -> GpuEvent {
        GpuEvent::Xid {
            uuid: "GPU-0".into(),
            number,
        }
    }

    fn ecc(uncorrected: u64) -> HealthReading {
        HealthReading {
            ecc_uncorrected: Some(uncorrected),
            ..HealthReading::default()
        }
    }

    fn codes(health: &Health) -> Vec<String> {
        health.ledger.conditions().map(|found| found.code).collect()
    }

    #[test]
    fn an_error_of_the_gpu_fails_the_job_and_one_of_the_program_does_not() {
        let mut health = Health::default();
        assert_eq!(health.event(&xid(31), at(0)), None);
        assert!(!health.ledger.blocks());
        let breakdown = health.event(&xid(119), at(1)).unwrap();
        assert_eq!(breakdown.xid, Some(119));
        assert!(
            breakdown.sentence.contains("reset"),
            "{}",
            breakdown.sentence
        );
        assert!(health.ledger.blocks());
        assert_eq!(health.last_xid, Some(119));
    }

    #[test]
    fn a_gpu_off_the_bus_fails_its_job_once_and_is_well_when_it_answers() {
        let mut health = Health::default();
        assert!(health.error(&DriverError::Lost, at(0)).is_some());
        assert_eq!(health.error(&DriverError::Lost, at(1)), None);
        assert_eq!(codes(&health), ["GpuFellOffBus"]);
        assert!(health.is_silent());
        assert_eq!(health.activity(&ActivityReading::default(), at(2)), None);
        assert!(codes(&health).is_empty() && !health.is_silent());
    }

    #[test]
    fn an_xid_79_lasts_although_the_gpu_still_answers() {
        let mut health = Health::default();
        assert_eq!(health.event(&xid(79), at(0)).unwrap().xid, Some(79));
        health.activity(&ActivityReading::default(), at(1));
        assert_eq!(codes(&health), ["GpuFellOffBus"]);
        health.reset();
        assert!(codes(&health).is_empty());
    }

    #[test]
    fn old_uncorrected_errors_block_the_gpu_and_new_ones_fail_the_job() {
        let mut health = Health::default();
        assert_eq!(health.reading(&ecc(2), at(0)), None);
        assert_eq!(codes(&health), ["GpuEccUncorrected"]);
        assert_eq!(health.reading(&ecc(0), at(1)), None);
        assert!(codes(&health).is_empty());
        let slow = ActivityReading {
            slow: Some(SlowReading {
                ecc_uncorrected: Some(1),
                ..SlowReading::default()
            }),
            ..ActivityReading::default()
        };
        assert!(health.activity(&slow, at(2)).is_some());
        assert_eq!(health.activity(&slow, at(3)), None);
        assert!(health.ledger.blocks());
    }

    #[test]
    fn what_waits_for_a_reset_blocks_until_it_was_made() {
        let mut health = Health::default();
        let pending = HealthReading {
            rows_pending: Some(true),
            ..HealthReading::default()
        };
        health.reading(&pending, at(0));
        health.reset();
        assert_eq!(codes(&health), ["GpuPagesPending"]);
        let done = HealthReading {
            rows_pending: Some(false),
            rows_failed: Some(true),
            ..HealthReading::default()
        };
        health.reading(&done, at(1));
        assert_eq!(codes(&health), ["GpuRowRemapFailed"]);
    }

    #[test]
    fn heat_is_noted_when_it_lasts_and_the_power_limit_is_not() {
        let mut health = Health::default();
        let reading = |heat, power_limit| ActivityReading {
            throttle: Some(Throttle {
                heat,
                power_limit,
                power_brake: false,
            }),
            ..ActivityReading::default()
        };
        for second in 0..20 {
            health.activity(&reading(second % 4 > 0, true), at(second));
        }
        assert!(codes(&health).is_empty());
        for second in 20..25 {
            health.activity(&reading(true, true), at(second));
        }
        assert_eq!(codes(&health), ["GpuThrottled"]);
        assert!(!health.ledger.blocks());
    }

    #[test]
    fn links_are_noted_by_what_they_count_anew() {
        let mut health = Health::default();
        let links = |recoveries, replays| HealthReading {
            links: vec![LinkErrors {
                link: 3,
                recoveries,
                replays,
            }],
            ..HealthReading::default()
        };
        health.reading(&links(5, 10_000), at(0));
        health.reading(&links(5, 10_100), at(60));
        assert!(codes(&health).is_empty());
        health.reading(&links(6, 10_100), at(120));
        assert_eq!(codes(&health), ["GpuNvLinkErrors"]);
        let message = health.ledger.conditions().next().unwrap().message;
        assert!(message.contains("NVLink 3"), "{message}");
    }
}
